"""The Python door: `denoise`, `train`, `predict`, `compare`, `diagnose` and more.

What takes long has a twin ending in ``_job``: the same work as a generator of
`Progress` events, which is what the shell and the panel run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import (
    DenoiseSettings,
    DiagnoseSettings,
    DistillSettings,
    LookSettings,
    NoiseSettings,
    OpenSettings,
    PredictSettings,
    ShippedSettings,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.config.keeping import KeepSettings
from napari_blindspot.facts import Result, describe
from napari_blindspot.jobs import (
    denoise_job,
    distill_job,
    open_with,
    predict_job,
    predict_lazily,
    preview_plane,
    train_job,
)
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.model import Model
from napari_blindspot.model_file import load_model
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.quality import Comparison
from napari_blindspot.reporting.comparing import compare, compare_job
from napari_blindspot.reporting.diagnosis import diagnose_job
from napari_blindspot.reporting.findings import Diagnosis
from napari_blindspot.reporting.report import write_report
from napari_blindspot.training.at_once import ready_student

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel

    OnProgress = Callable[[Progress], object]

__all__ = [
    "Comparison",
    "Diagnosis",
    "Result",
    "compare",
    "compare_job",
    "denoise",
    "denoise_job",
    "describe",
    "diagnose",
    "diagnose_job",
    "distill",
    "distill_job",
    "estimate_noise",
    "predict",
    "predict_job",
    "preview",
    "shipped_student",
    "train",
    "train_job",
    "write_report",
]


def denoise(
    source: Any,
    out: str | Path | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Result:
    """Train on a stack and denoise it.

    One network is trained for all channels and time points of the stack; every
    channel keeps its own scale and noise model. With `channel` it is trained on one
    channel alone; with ``channels="joint"`` it denoises all channels together, so
    that one tells about the others.

    Parameters
    ----------
    source
        Whatever `open_stack` takes.
    out
        ``.ome.zarr``, ``.zarr``, ``.tif`` or ``.ome.tif`` to write; default: an array
        in memory.
    on_progress
        Called with every `Progress` event, e.g. ``print``.
    cancel
        A token that stops the run from another thread.
    **settings
        The fields of `config.DenoiseSettings`: ``quality`` or ``minutes`` or
        ``steps``, ``uncertainty``, ``axes``, ``voxel_size``, ``channel``,
        ``scene``, ``region``, ``context``, ``hole``, ``train_hole``, ``student``,
        ``strength``, ``method``, ``noise``, ``gain``,
        ``offset``, ``read_noise``, ``sigma``, ``outliers``, ``low_counts``, ``dark``,
        ``offset_map``, ``variance_map``, ``gain_map``, ``fixed_pattern``,
        ``noise_per_plane``, ``channels``, ``covariance``, ``unknown``,
        ``stop_gradient``, ``start``, ``model``, ``dtype``, ``device``, ``threads``,
        ``seed``, ``overwrite``.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If the stack, an argument or the output cannot be used.
    RunError
        If the run could not go on (disk full, out of memory).
    Cancelled
        If `cancel` was used.
    """
    parsed = parse_settings(DenoiseSettings, **settings)
    return run(denoise_job(source, parsed, _path(out), cancel), on_progress)


def train(
    sources: Any,
    *,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Model:
    """Train one network on a stack, or on a list of stacks from one microscope.

    Parameters
    ----------
    sources
        Whatever `open_stack` takes, or a list of `Stack`.
    on_progress, cancel
        As in `denoise`.
    checkpoint, resume, overwrite
        File that keeps the state of the training, also when it is cancelled and at its
        end; whether to go on with it if it is there, for the same stacks and settings,
        or to begin anew. Remove it when the model is saved.
    **settings
        The fields of `config.TrainSettings`. With ``steps=0`` nothing is learnt: the
        model answers from the start weights, which ``start`` chooses, and a blind
        filter that is fitted to the stack.

    Returns
    -------
    Model

    Raises
    ------
    InputError, RunError, Cancelled
        As `denoise`; also if `checkpoint` is there unasked, or of another training.
    """
    several = isinstance(sources, (list, tuple)) and not _is_one_source(sources)
    told = {"checkpoint": checkpoint, "resume": resume, "overwrite": overwrite}
    keep = parse_settings(KeepSettings, **told)
    parsed = parse_settings(TrainSettings, **settings)
    job = train_job(sources if several else [sources], parsed, cancel, keep=keep)
    return run(job, on_progress)


def distill(
    model: Model | str | Path,
    source: Any,
    *,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Model:
    """Teach a small plain network what a trained one says of a stack.

    The student answers several times faster and is used like any other model; it has
    no blind spot to turn and gives no uncertainty.

    Parameters
    ----------
    model
        A trained model or a model file.
    source, on_progress, cancel
        As in `denoise`.
    **settings
        The fields of `config.DistillSettings`: ``student`` (``"tiny"``, ``"small"`` or
        ``"full"``), ``minutes`` or ``steps``, ``seed`` and how the stack is opened.

    Returns
    -------
    Model

    Raises
    ------
    InputError, RunError, Cancelled
        As `denoise`.
    """
    if not isinstance(model, Model):
        model = load_model(model)
    parsed = parse_settings(DistillSettings, **settings)
    return run(distill_job(model, source, parsed, cancel), on_progress)


def shipped_student(source: Any, **settings: Any) -> Model:
    """Return a student that comes with the package, told the noise of a stack.

    Nothing is trained: it has learnt from generated volumes alone, and only the scale
    and the noise of the stack are measured. It answers at once, for noise that
    neighbours do not share, without an uncertainty. What more there is without training
    says ``train(source, steps=0)``: the start weights of the larger network, with its
    blind filter fitted to the stack.

    Parameters
    ----------
    source
        Whatever `open_stack` takes.
    **settings
        The fields of `config.ShippedSettings`: ``student`` (its size; by default the
        smallest that is shipped), ``context``, how the stack is opened, and what is
        known of the noise.

    Returns
    -------
    Model
        Used like any other student, by `predict` and `preview`.

    Raises
    ------
    InputError
        If the stack or an argument cannot be used.
    ModelFileError
        If there is no student of that size, or its weights are missing or altered.
    """
    parsed = parse_settings(ShippedSettings, **settings)
    return ready_student(open_with(source, parsed), parsed)


def preview(
    source: Any,
    model: Model | str | Path,
    region: str | Mapping[str, slice | int] | None = None,
    **settings: Any,
) -> NDArray[np.float32]:
    """Denoise a part of one plane at once, reading no more of the stack than it needs.

    Only what is measured first reads more: ``noise_per_plane`` the middle of all
    planes, ``fixed_pattern``, ``gain_map`` and ``hole="auto"`` parts of some.

    Parameters
    ----------
    source
        Whatever `open_stack` takes.
    model
        A model or a model file; a student answers fastest.
    region
        Which plane and which part of it, such as ``"z=12,y=0:512,x=0:512"`` or a
        mapping of axis to slice or index; default: the whole middle plane of the
        first channel.
    **settings
        The fields of `config.LookSettings`, e.g. ``hole`` and ``strength``; nothing is
        written, so there are none of an output.

    Returns
    -------
    ndarray
        (Y, X) float32, the values that a full run gives there.

    Raises
    ------
    InputError
        If the region holds more than one plane, the model does not fit, or a setting
        has no meaning here, such as ``uncertainty``.
    """
    if not isinstance(model, Model):
        model = load_model(model)
    parsed = parse_settings(LookSettings, **settings)
    return preview_plane(source, model, region, parsed)


def predict(
    model: Model | str | Path,
    source: Any,
    out: str | Path | None = None,
    *,
    lazy: bool = False,
    client: Any = None,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Result:
    """Denoise a stack with a trained model.

    Parameters
    ----------
    model
        A model or a model file.
    source, out, on_progress, cancel
        As in `denoise`.
    lazy
        Compute nothing now: the result's image is a dask array whose chunks are
        denoised when they are computed, in this process, on its threads one at a time.
        For scripts; in napari only with asynchronous slicing.
    client
        A `distributed.Client`: its workers read the source, which must be a path, and
        write the output, an OME-Zarr.
    **settings
        The fields of `config.PredictSettings`.

    Returns
    -------
    Result

    Raises
    ------
    InputError, RunError, Cancelled
        As `denoise`.
    """
    if not isinstance(model, Model):
        model = load_model(model)
    parsed = parse_settings(PredictSettings, **settings)
    if lazy:
        return predict_lazily(model, source, parsed, out, client)
    job = predict_job(model, source, parsed, _path(out), cancel, client)
    return run(job, on_progress)


def estimate_noise(source: Any, **settings: Any) -> tuple[NoiseModel, ...]:
    """Estimate the noise of every channel from the stack itself, without training.

    Parameters
    ----------
    source
        Whatever `open_stack` takes.
    **settings
        The fields of `config.OpenSettings`: ``axes``, ``voxel_size``, ``channel``,
        ``region``.

    Returns
    -------
    tuple of NoiseModel
        One per channel, in data units.

    Raises
    ------
    InputError
        If the stack cannot be used.
    """
    stack = open_with(source, parse_settings(OpenSettings, **settings))
    return tuple(
        channel.noise for channel in measure_channels([stack], NoiseSettings())
    )


def diagnose(
    source: Any,
    *,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Diagnosis:
    """Say what the noise of a stack is like, without training.

    Camera model with intervals, whether the noise is white or shared by neighbours
    (and the hole that hides what is shared), fixed patterns, clipping, compression,
    and whether the level of the noise drifts from plane to plane.

    Parameters
    ----------
    source
        Whatever `open_stack` takes; at least 10 000 voxels per channel.
    on_progress, cancel
        As in `denoise`.
    **settings
        The fields of `config.DiagnoseSettings`: ``axes``, ``voxel_size``,
        ``channel``, ``region``, and what is known of the camera (``noise``, ``gain``,
        ``offset``, ``read_noise``, ``sigma``, ``outliers``, ``low_counts``, ``dark``,
        ``offset_map``, ``variance_map``, ``gain_map``, ``fixed_pattern``,
        ``noise_per_plane``), which is then held against the stack.

    Returns
    -------
    Diagnosis

    Raises
    ------
    InputError
        If the stack cannot be used: too small, constant, saturated or without noise.
    Cancelled
        If `cancel` was used.
    """
    parsed = parse_settings(DiagnoseSettings, **settings)
    return run(diagnose_job(source, parsed, cancel), on_progress)


def _path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)


def _is_one_source(sources: Sequence[Any]) -> bool:
    """Tell a list of files that make up one stack from a list of stacks."""
    return bool(sources) and all(isinstance(one, (str, Path)) for one in sources)
