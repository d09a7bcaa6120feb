"""The denoising methods, by the name the user chooses them with.

This registry loads no torch: a method's module is imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_blindspot.errors import InputError


@dataclass(frozen=True, slots=True)
class Method:
    """A denoising method.

    Parameters
    ----------
    name
        What the user types.
    title
        What a menu shows.
    source
        The paper.
    answer
        What a network trained by it answers: the posterior mean, or its mean alone.
    network
        What learns: one with a ``"blind spot"``, or a ``"masked"`` one, from which
        voxels are hidden at random.
    taught
        Whether a student gives the result where the user does not say.
    hole, train_hole
        Blind spots (z, y, x) of the result and of the training where the user does not
        say, of a network that has one; a training hole of None is that of the result.
    """

    name: str
    title: str
    source: str
    answer: Literal["posterior", "mean"] = "posterior"
    network: Literal["blind spot", "masked"] = "blind spot"
    taught: bool = False
    hole: tuple[int, int, int] = (1, 1, 1)
    train_hole: tuple[int, int, int] | None = None


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "bayesian",
            "Bayesian blind-spot",
            "Laine et al., High-quality self-supervised deep image denoising, 2019",
        ),
        Method(
            "atbsn",
            "Tunable blind spots",
            "Chen et al., Exploring asymmetric tunable blind-spots for "
            "self-supervised denoising in real-world scenarios, 2024",
            answer="mean",
            taught=True,
            hole=(1, 3, 3),
            train_hole=(1, 9, 9),
        ),
        Method(
            "blind2grad",
            "Masks and gradients (Blind2Grad)",
            "Song et al., Blind2Grad: blind detail-preserving denoising via zero-shot "
            "with gradient regularized loss, 2025",
            answer="mean",
            network="masked",
        ),
    )
}


def get_method(name: str) -> Method:
    """Return a method by name.

    Raises
    ------
    InputError
        If there is no such method.
    """
    if name not in METHODS:
        raise InputError(
            f"method={name!r} is not known; choose one of {', '.join(METHODS)}."
        )
    return METHODS[name]
