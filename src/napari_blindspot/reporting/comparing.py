"""Compare a result with a reference: the Python door, and the job of all doors.

No torch is loaded for it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import CompareSettings, parse_settings
from napari_blindspot.io import open_stack, read_provenance
from napari_blindspot.location import Address
from napari_blindspot.progress import CancelToken, Job, Progress, run
from napari_blindspot.quality import Comparison, compare_stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_blindspot.stack import Stack

_OWN_INPUT = (
    "The result was made from a stack of the reference's name; if this is that very "
    "input, compare with bin_by='result' (--bin-by result), because binning by noisy "
    "values shows regression to the mean"
)
_UNNAMED = "stack"
"""What `open_stack` calls an array."""


def compare(
    result: Any,
    reference: Any,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Comparison:
    """Measure a result against a reference: a truth, a repeat, or its noisy input.

    PSNR, SSIM, NRMSE, bias, resolution by Fourier ring and shell correlation, and
    whether grey values stayed quantitative, for every channel. Both stacks are read
    piece by piece, whatever their size.

    Parameters
    ----------
    result, reference
        Whatever `open_stack` takes, or what `denoise` returned. Both have the same
        axes and size; one may lack axes of length one.
    on_progress
        Called with every `Progress` event, e.g. ``print``.
    cancel
        A token that stops the run from another thread.
    **settings
        The fields of `config.CompareSettings`: ``bin_by`` (``"reference"`` for a
        truth, ``"result"`` for a noisy reference), ``data_range``, ``offset``, and
        ``axes``, ``voxel_size``, ``channel``, ``scene``, ``region``, which hold for
        both.

    Returns
    -------
    Comparison
        Its `sentences` are for people, its `as_dict` for programs.

    Raises
    ------
    InputError
        If a stack or an argument cannot be used, or the two do not fit together.
    Cancelled
        If `cancel` was used.
    """
    parsed = parse_settings(CompareSettings, **settings)
    return run(compare_job(result, reference, parsed, cancel), on_progress)


def compare_job(
    result: Any,
    reference: Any,
    settings: CompareSettings,
    cancel: CancelToken | None = None,
) -> Job[Comparison]:
    """Do the work of `compare` as a generator of events."""
    measured = _open(result, settings, "result")
    against = _open(reference, settings, "reference")
    for stack in (measured, against):
        yield from _tell(stack)
    found = yield from compare_stacks(measured, against, settings, cancel)
    if settings.bin_by == "reference" and _made_from(result, against):
        return replace(found, notes=(*found.notes, _OWN_INPUT))
    return found


def _open(source: Any, settings: CompareSettings, role: str) -> Stack:
    """Open one of the two; an array without a name is called by its role."""
    axes = settings.axes
    if _is_result(source) and source.path is not None:
        source = source.path
    elif _is_result(source):
        axes = axes or source.provenance["source"]["axes"]
        source = source.image
    stack = open_stack(
        source,
        axes=axes,
        voxel_size=settings.voxel_size,
        channel=settings.channel,
        region=settings.region,
        scene=settings.scene,
    )
    unnamed = stack.path is None and stack.name == _UNNAMED
    return replace(stack, name=role) if unnamed else stack


def _is_result(source: Any) -> bool:
    """Whether this is what `denoise` returned, without loading torch to find out."""
    return all(hasattr(source, name) for name in ("image", "provenance", "path"))


def _made_from(result: Any, reference: Stack) -> bool:
    """Whether the provenance of a result names the reference as its source."""
    if _is_result(result):
        provenance = result.provenance
    elif isinstance(result, (str, Path, Address)):
        provenance = read_provenance(result)
    else:
        return False
    source = (provenance or {}).get("source", {})
    return reference.path is not None and source.get("name") == reference.path.name


def _tell(stack: Stack) -> Iterator[Progress]:
    shape = "×".join(str(n) for n in stack.shape)
    for message in (*stack.notes, f"{stack.name}: {stack.axes} {shape}, {stack.dtype}"):
        yield Progress("open", 0, 1, "steps", message)
