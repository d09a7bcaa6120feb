"""Sentences on what a network knew before it had seen the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.methods_text.words import listed, of_size, part, parts, text
from napari_blindspot.methods_text.words import stack_words as words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.methods_text.words import Facts


def start_sentences(start: Facts) -> Iterator[str]:
    """Say from which weights a network started, nothing if from random ones."""
    name = text(start, "name")
    if not name or start.get("used") is not True:
        return
    if name != "model":
        grown = _grown(part(start, "grown_from"))
        yield (
            f"The network started from weights pretrained on generated volumes "
            f"({name}){grown}."
        )
        return
    stacks = [told for one in parts(start, "sources") if (told := words_of(one))]
    of = " ".join(
        [text(start, "file"), *([f"of {listed(stacks)}"] if stacks else [])]
    ).strip()
    if of:
        yield f"The network started from the model {of}."


def _grown(sizes: Facts) -> str:
    """Name the smaller network that the weights were made for, if there is one."""
    if not sizes:
        return ""
    return (
        f", those of a smaller network{of_size(sizes)}, which is part of it (Net2Net)"
    )


def answers_at_once(model: Facts) -> bool:
    """Return whether a network is used as it was shipped, without any training."""
    return bool(text(part(model, "start"), "name")) and not part(model, "training")


def at_once_sentences(facts: Facts, model: Facts) -> Iterator[str]:
    """Say that a shipped student answered by itself."""
    name = text(part(model, "start"), "name")
    yield (
        f"A plain network{of_size(part(facts, 'network'))}, pretrained on generated "
        f"volumes ({name}), was used as it is: it learned nothing from the image but "
        f"its scale and noise."
    )
