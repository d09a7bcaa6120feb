"""Sentences on networks: what they see, what they learned, and from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.methods import METHODS
from napari_blindspot.methods_text.masked import hidden_words, masked_sentences
from napari_blindspot.methods_text.noise import noise_sentences, residual_sentences
from napari_blindspot.methods_text.start import (
    answers_at_once,
    at_once_sentences,
    start_sentences,
)
from napari_blindspot.methods_text.words import (
    box,
    listed,
    of_size,
    part,
    parts,
    software_words,
    stack_words,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.methods_text.words import Facts

_KINDS = {
    "bayesian": "Bayesian blind-spot",
    "atbsn": "tunable blind-spot",
    "blind2grad": "Blind2Grad",
}
_ABSOLUTE = (
    "Its objective was the mean absolute difference from the noisy values, without a "
    "noise model."
)
_OF_A_STUDENT = ("sources", "seed", "budget", "software", "version", "torch", "python")


def learnt(facts: Facts, model: Facts, told_version: str) -> Iterator[str]:
    """Say which network learned what, and what its student learned from it.

    Parameters
    ----------
    facts
        Of a result or a model file.
    model
        Provenance of the model.
    told_version
        Version of the software that was named before.
    """
    teacher = part(model, "teacher")
    if answers_at_once(model):
        yield from at_once_sentences(facts, model)
    elif teacher:
        yield from _taught({**facts, **teacher}, model, told_version)
        yield from _student(facts, model, answer({**facts, **teacher}))
    else:
        yield from _trained(facts, model, told_version)


def _taught(facts: Facts, model: Facts, told_version: str) -> Iterator[str]:
    """Say of a teacher what is known of it through its student."""
    if answer(facts) == "mean":  # asked behind several blind spots, not its own
        facts = {**facts, "hole": None}
    own = {**model, **dict.fromkeys(_OF_A_STUDENT), **part(model, "teacher")}
    yield from _trained(facts, own, told_version)


def _trained(facts: Facts, model: Facts, told_version: str) -> Iterator[str]:
    yield from _network(facts)
    yield from _training(model, told_version)
    network = part(facts, "network")
    if hidden_words(network):
        yield from masked_sentences(network, model)
    elif answer(facts) == "posterior":
        yield from noise_sentences(facts.get("noise"))
        yield from residual_sentences(model)
    elif answer(facts) == "mean":
        yield _ABSOLUTE


def answer(facts: Facts) -> str:
    """Return what the network that learned from the stack answers, empty if unknown."""
    method = METHODS.get(text(facts, "method"))
    if method is None:
        return ""
    return "mean" if facts.get("answer") == "mean" else method.answer


def _network(facts: Facts) -> Iterator[str]:
    """Say which network it was and what it may see."""
    method, network = METHODS.get(text(facts, "method")), part(facts, "network")
    if method is None:
        return
    kind = _KINDS.get(method.name, method.title)
    yield f"The method was a {kind} network{of_size(network)} ({method.source})."
    sees = [hidden] if (hidden := hidden_words(network)) else []
    if hole := box(network.get("hole")):
        result = box(facts.get("hole"))
        otherwise = f" in training and of {result} for the result"
        sees.append(
            f"through a blind spot of {hole} voxels (z, y, x)"
            f"{otherwise if result and result != hole else ''}"
        )
    if isinstance(planes := network.get("context"), int):
        axis = facts.get("context_axis")
        along = f" along {axis}" if planes and axis in ("z", "t") else ""
        plural = "" if planes == 1 else "s"
        sees.append(
            f"with {planes} neighbouring plane{plural} on either side{along}"
            if planes
            else "without neighbouring planes"
        )
    if isinstance(count := network.get("channels"), int) and count > 1:
        covariance = text(network, "covariance")
        between = f" and a {covariance} covariance between them" if covariance else ""
        sees.append(f"with all {count} channels together{between}")
    if sees:
        yield f"It saw each plane {', '.join(sees)}."


def _student(facts: Facts, model: Facts, of: str) -> Iterator[str]:
    """Say what a student learned, and how."""
    lessons = part(model, "distillation")
    if not lessons or not of:
        return
    sources = [name for one in parts(model, "sources") if (name := stack_words(one))]
    on = f", on {listed(sources)}" if sources else ""
    yield (
        f"A plain network{of_size(part(facts, 'network'))}, its student, was taught "
        f"{_lessons(lessons, of)}{on}."
    )
    if isinstance(lessons.get("steps"), int):
        end = _ENDS.get(text(lessons, "stopped"), "")
        yield f"{_steps('Teaching', model, lessons)}{end}."


_ENDS = {
    "budget": " and ended when its budget was spent",
    "distance": " and ended when the student came no nearer to its teacher on crops "
    "kept back",
}


def _lessons(lessons: Facts, of: str) -> str:
    """Say what was asked of the teacher."""
    holes = [hole for one in lessons.get("holes") or () if (hole := box(one))]
    behind = f" behind a blind spot of {listed(holes)} voxels" if holes else ""
    if len(holes) > 1:
        behind = f" behind each of the blind spots {listed(holes)} (z, y, x)"
    if of == "posterior":
        return f"the posterior mean that it gives{behind}"
    if not holes:
        return "the answers that it gives"
    summed = ", by the sum of the absolute differences from all of them"
    return f"the answers that it gives{behind}{summed}"


def _training(model: Facts, told_version: str) -> Iterator[str]:
    training = part(model, "training")
    sources = [name for one in parts(model, "sources") if (name := stack_words(one))]
    software = software_words(model)
    told = not software or text(model, "version") == told_version
    by = "" if told else f" with {software}"
    yield from start_sentences(part(model, "start"))
    if training.get("steps") == 0:
        if sources:
            yield (
                f"Without any training step, its linear filter alone was fitted to "
                f"{listed(sources)}{by}."
            )
        return
    if sources:
        yield f"It was trained without clean images on {listed(sources)}{by}."
    if isinstance(training.get("steps"), int):
        yield f"{_steps('Training', model, training)}{_end(model, training)}."


def _steps(what: str, model: Facts, training: Facts) -> str:
    crop, batch, seed = training.get("crop"), training.get("batch"), model.get("seed")
    of = f" of {batch} crops of {crop} × {crop} pixels" if crop and batch else ""
    seeded = "" if seed is None else f" (seed {seed})"
    steps = training["steps"]
    return f"{what} took {steps} step{'' if steps == 1 else 's'}{of}{seeded}"


def _end(model: Facts, training: Facts) -> str:
    budget = part(model, "budget")
    given = [f"{name} {value}" for name, value in budget.items() if value is not None]
    allowed = f" ({', '.join(given)})" if given else ""
    ends = {
        "budget": f" and ended when its budget{allowed} was spent",
        "held-out score": " and ended when the score of held-out voxels, which were "
        "never targets, no longer improved",
    }
    return ends.get(text(training, "stopped"), "")
