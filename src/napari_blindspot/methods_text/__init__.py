"""The methods paragraph for a paper, composed from provenance and nothing else.

Every sentence stands on what a result or a model file records. What is not recorded
is left out, so files of older versions give shorter paragraphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot.methods_text.network import answer, learnt
from napari_blindspot.methods_text.start import answers_at_once
from napari_blindspot.methods_text.words import (
    listed,
    part,
    software_words,
    stack_words,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.methods_text.words import Facts


def result_methods(provenance: Facts) -> str:
    """Compose the paragraph of a denoised stack.

    Parameters
    ----------
    provenance
        `Result.provenance`, or what `io.read_provenance` read from a file.

    Returns
    -------
    str
        Plain English sentences in one line; empty where nothing is recorded.
    """
    model = part(provenance, "model")
    sentences = [
        *_denoised(provenance),
        *_camera_files(part(provenance, "settings")),
        *learnt(provenance, model, text(provenance, "version")),
        *_written(provenance),
    ]
    return " ".join(sentences)


def model_methods(header: Facts) -> str:
    """Compose the paragraph of a model file.

    Parameters
    ----------
    header
        What `model_file.read_header` read.

    Returns
    -------
    str
        As of `result_methods`.
    """
    provenance = part(header, "provenance")
    sentences = [
        *learnt(header, provenance, ""),
        *_camera_files(part(provenance, "noise_settings")),
    ]
    return " ".join(sentences)


def _denoised(provenance: Facts) -> Iterator[str]:
    source, settings = part(provenance, "source"), part(provenance, "settings")
    name, software = stack_words(source), software_words(provenance)
    if not name or not software:
        return
    channel, region = settings.get("channel"), settings.get("region")
    limits = "" if channel is None else f", channel {channel} alone"
    limits += "" if region is None else f", region {region}"
    yield f"The image {name}{limits} was denoised with {software}."


def _camera_files(settings: Facts) -> Iterator[str]:
    """Say what was taken off before, and which calibration told it."""
    dark = text(settings, "dark")
    maps = [text(settings, name) for name in ("offset_map", "variance_map")]
    if dark or all(maps):
        source = f"the dark stack {dark}" if dark else f"the maps {listed(maps)}"
        yield (
            f"The offset of every camera pixel was subtracted and its read noise taken "
            f"into account, as told by {source}."
        )
    if gain := text(settings, "gain_map"):
        yield (
            f"Every pixel's signal was divided by its relative gain, as told by the "
            f"map {gain}."
        )
    pattern = text(settings, "fixed_pattern")
    if pattern in ("columns", "rows"):
        yield (
            f"Offsets of whole {pattern}, as far as the image showed them in all "
            f"planes, were subtracted."
        )
    if settings.get("noise_per_plane"):
        yield "The level of the noise was measured plane by plane."


def _written(provenance: Facts) -> Iterator[str]:
    settings, model = part(provenance, "settings"), part(provenance, "model")
    whose = answer(provenance)
    if not whose:
        return
    if part(model, "distillation") or answers_at_once(model):
        whose = "student"
    types = {
        "float32": " as float32",
        "same": " rounded to the pixel type of the input",
    }
    deviation = (
        ", and the posterior standard deviation beside it"
        if settings.get("uncertainty")
        else ""
    )
    yield (
        f"{_WRITTEN[whose]} at every voxel, in the grey values of the input, was "
        f"{_mixed(settings.get('strength'))}written"
        f"{types.get(text(settings, 'dtype'), '')}{deviation}."
    )


_WRITTEN = {
    "posterior": "The posterior mean",
    "mean": "The answer of the network",
    "student": "The answer of the student",
}


def _mixed(strength: Any) -> str:
    if not isinstance(strength, int | float) or strength >= 1:
        return ""
    return (
        f"mixed with the noisy value ({100 * strength:.3g} % to "
        f"{100 - 100 * strength:.3g} %) and "
    )
