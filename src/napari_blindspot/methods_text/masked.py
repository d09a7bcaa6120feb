"""Sentences on Blind2Grad: what it hid, what it minimised, how it answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.config.blind2grad import OMEGA
from napari_blindspot.methods_text.words import part, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.methods_text.words import Facts

_MASKS = {
    "dual": "fewer of them where the image and its estimate differ{than}, more "
    "elsewhere",
    "bernoulli": "all voxels alike",
    "uniform": "on a regular grid",
}
_FORMS = {
    "absolute": "added by their size before they were squared",
    "signed": "added with their signs before they were squared",
    "decoupled": "squared by themselves",
}


def hidden_words(network: Facts) -> str:
    """Say how much of a plane was hidden, empty of a network from which nothing is."""
    rate = network.get("mask_rate")
    if not isinstance(rate, int | float):
        return ""
    return f"with {100 * rate:.3g} % of its voxels hidden at random"


def masked_sentences(network: Facts, model: Facts) -> Iterator[str]:
    """Say what a masked network was trained for, and how it answered.

    Parameters
    ----------
    network
        Its settings.
    model
        Provenance of the model, with what was chosen of the method.
    """
    chosen = part(model, "blind2grad")
    mask, form = text(chosen, "mask"), text(chosen, "loss_form")
    if mask in _MASKS:
        smooth = text(chosen, "detail_by") == "smooth"
        than = " by more than the noise explains" if smooth else ""
        how = _MASKS[mask].format(than=than)
        yield f"In training voxels were hidden by a {mask} mask: {how}."
    if form in _FORMS:
        yield (
            f"The objective was the differences of hidden voxels and of their "
            f"gradients, {_FORMS[form]}{_weights(chosen)}; it knows no noise model."
        )
    if result := _result(network):
        yield f"{result}."


def _weights(chosen: Facts) -> str:
    omega, gamma = chosen.get("omega"), chosen.get("gamma")
    if omega is None:
        omega = OMEGA.get(text(chosen, "variant"))
    if omega is None or gamma is None:
        return ""
    return f" (omega {omega:g}, gamma {gamma:g})"


def _result(network: Facts) -> str:
    passes = network.get("passes")
    if not isinstance(passes, int):
        return ""
    if network.get("combine"):
        return (
            f"The answers of those of {passes} passes in which a voxel was hidden were "
            f"averaged and combined with its own value through the noise model"
        )
    return {
        "all": f"The result is the mean of {passes} answers, each with other voxels "
        f"hidden",
        "hidden": f"The result is the mean of those of {passes} answers in which the "
        f"voxel was hidden",
        "none": "The result is one answer, with nothing hidden",
    }.get(text(network, "average"), "")
