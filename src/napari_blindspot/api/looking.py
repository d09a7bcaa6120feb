"""From Python: what a stack is like, and parts of it denoised at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot.config import (
    DiagnoseSettings,
    LookSettings,
    NoiseSettings,
    OpenSettings,
    ShippedSettings,
    parse_settings,
)
from napari_blindspot.jobs import open_with, preview_plane
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.model_file import as_model
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.reporting.diagnosis import diagnose_job
from napari_blindspot.training.at_once import ready_student

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.reporting.findings import Diagnosis

    OnProgress = Callable[[Progress], object]


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
    model = as_model(model)
    parsed = parse_settings(LookSettings, **settings)
    return preview_plane(source, model, region, parsed)


def estimate_noise(source: Any, **settings: Any) -> tuple[NoiseModel, ...]:
    """Estimate the noise of every channel from the stack itself, without training.

    Parameters
    ----------
    source
        Whatever `open_stack` takes.
    **settings
        The fields of `config.OpenSettings`: ``axes``, ``voxel_size``, ``channel``,
        ``scene``, ``region``.

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
        ``channel``, ``scene``, ``region``, and what is known of the camera
        (``noise``, ``gain``, ``offset``, ``read_noise``, ``sigma``, ``outliers``,
        ``low_counts``, ``dark``, ``offset_map``, ``variance_map``, ``gain_map``,
        ``fixed_pattern``, ``noise_per_plane``), which is then held against the stack.

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
