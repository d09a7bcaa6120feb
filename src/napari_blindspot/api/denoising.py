"""From Python: train, denoise, teach a student."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import (
    DenoiseSettings,
    DistillSettings,
    PredictSettings,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.config.keeping import KeepSettings
from napari_blindspot.jobs import (
    denoise_job,
    distill_job,
    predict_job,
    predict_lazily,
    train_job,
)
from napari_blindspot.location import Address, Location, as_location
from napari_blindspot.model_file import as_model
from napari_blindspot.progress import CancelToken, Progress, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_blindspot.facts import Result
    from napari_blindspot.model import Model

    OnProgress = Callable[[Progress], object]


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
        Whatever `open_stack` takes; a list of files is one stack, each of them a plane
        or a time point of it.
    out
        ``.ome.zarr``, ``.zarr``, ``.tif`` or ``.ome.tif`` to write, an OME-Zarr also
        at an address such as ``s3://bucket/name.ome.zarr``; default: an array in
        memory.
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
        ``seed``, ``overwrite``; how it goes through the stack: ``memory``, ``resume``,
        ``scheduler``, ``workers``; and of method blind2grad: ``mask``, ``mask_rate``,
        ``detail_share``, ``detail_by``, ``eps_g``, ``standout``, ``eps_s``, ``omega``,
        ``gamma``, ``loss_form``, ``gradient_at``, ``gradient_axes``,
        ``gradient_flow``, ``variant``, ``passes``, ``average``, ``combine``.

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
        Whatever `open_stack` takes, or a list of arrays or `Stack`. A list of paths is
        one stack, as in `open_stack`: the files of volumes become the time points of
        one movie, whose neighbour planes may then lie along t. To train on several
        files as ``napari-blindspot train a.tif b.tif`` does, open each:
        ``train([open_stack(path) for path in paths])``.
    on_progress, cancel
        As in `denoise`.
    checkpoint, resume, overwrite
        File that keeps the state of the training, also when it is cancelled and at its
        end; whether to go on with it if it is there, for the same stacks and settings,
        or to begin anew. Remove it when the model is saved.
    **settings
        The fields of `config.TrainSettings`: those of `denoise` that decide about
        training (``quality`` or ``minutes`` or ``steps``, ``method``, ``context``,
        ``hole``, ``train_hole``, ``start``, ``seed``, ``channels``, ``covariance``,
        ``unknown``, ``stop_gradient`` and those of method blind2grad), how the stack is
        opened (``axes``, ``voxel_size``, ``channel``, ``scene``, ``region``), what is
        known of the noise and the camera, and ``device``, ``threads``, ``memory``.
        With ``steps=0`` nothing is learnt: the model answers from the start weights,
        which ``start`` chooses, and a blind filter that is fitted to the stack.

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
        ``"full"``), ``start``, ``minutes`` or ``steps``, ``seed``; how the stack is
        opened (``axes``, ``voxel_size``, ``channel``, ``scene``, ``region``); its
        camera (``dark``, ``offset_map``, ``variance_map``, ``gain_map``,
        ``fixed_pattern``, ``noise_per_plane``); ``device``, ``threads``, ``memory``.

    Returns
    -------
    Model

    Raises
    ------
    InputError, RunError, Cancelled
        As `denoise`.
    """
    model = as_model(model)
    parsed = parse_settings(DistillSettings, **settings)
    return run(distill_job(model, source, parsed, cancel), on_progress)


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
        A `distributed.Client`: its workers read the source, which must be a path or
        an address, and write the output, an OME-Zarr.
    **settings
        The fields of `config.PredictSettings`: ``hole``, ``strength``,
        ``uncertainty``, ``dtype``, ``overwrite``; how the stack is opened (``axes``,
        ``voxel_size``, ``channel``, ``scene``, ``region``); its camera (``dark``,
        ``offset_map``, ``variance_map``, ``gain_map``, ``fixed_pattern``,
        ``noise_per_plane``); how it goes through the stack (``device``, ``threads``,
        ``memory``, ``resume``, ``scheduler``, ``workers``); and of models of method
        blind2grad ``passes``, ``average``, ``combine``.

    Returns
    -------
    Result

    Raises
    ------
    InputError, RunError, Cancelled
        As `denoise`.
    """
    model = as_model(model)
    parsed = parse_settings(PredictSettings, **settings)
    if lazy:
        return predict_lazily(model, source, parsed, out, client)
    job = predict_job(model, source, parsed, _path(out), cancel, client)
    return run(job, on_progress)


def _path(out: str | Location | None) -> Location | None:
    return None if out is None else as_location(out)


def _is_one_source(sources: Sequence[Any]) -> bool:
    """Tell a list of files that make up one stack from a list of stacks."""
    paths = (str, Path, Address)
    return bool(sources) and all(isinstance(one, paths) for one in sources)
