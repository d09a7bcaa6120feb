"""The denoising methods, by the name the user chooses them with.

This registry loads no torch: a method's module is imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    name: str
    title: str
    source: str


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "bayesian",
            "Bayesian blind-spot",
            "Laine et al., High-quality self-supervised deep image denoising, 2019",
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
