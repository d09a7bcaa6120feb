"""Sentences on the noise: its model, and how the network stood against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot.methods_text.words import listed, number_words, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.methods_text.words import Facts


def noise_sentences(noise: Any) -> Iterator[str]:
    """Say how the noise of every channel was modelled."""
    entries = [one for one in noise or () if isinstance(one, dict)]
    for index, facts in enumerate(entries, 1):
        describe = _NOISE.get(text(facts, "model"))
        words = describe(facts) if describe is not None else ""
        if words:
            where = f" of channel {index}" if len(entries) > 1 else ""
            yield f"The noise{where} was modelled as {words}."


def _camera(facts: Facts) -> str:
    values = [
        number_words(facts, "gain", "a gain a of", "grey values per photo-electron"),
        number_words(facts, "variance_intercept", "b =", "grey values squared"),
        number_words(facts, "offset", "an offset of", "grey values"),
        number_words(facts, "read_noise", "a read noise of", "electrons"),
    ]
    counted = " with exact counting of photons" if facts.get("photon_counting") else ""
    known = listed(value for value in values if value)
    return (
        f"Poisson-Gaussian{counted}, of variance a·X + b at the clean value X"
        f"{', with ' + known if known else ''}"
    )


def _gaussian(facts: Facts) -> str:
    sigma = number_words(facts, "sigma", "a standard deviation of", "grey values")
    return f"Gaussian{' with ' + sigma if sigma else ''}"


def _poisson(facts: Facts) -> str:
    values = [
        number_words(facts, "gain", "a gain of", "grey values per photo-electron"),
        number_words(facts, "offset", "an offset of", "grey values"),
    ]
    known = listed(value for value in values if value)
    return f"Poisson{' with ' + known if known else ''}"


def _impulse(facts: Facts) -> str:
    base = _NOISE.get(text(facts, "base_model"))
    share = number_words(facts, "outlier_share", "a share of outliers of", "")
    low, high = facts.get("outlier_low"), facts.get("outlier_high")
    between = "" if None in (low, high) else f" between {low:.4g} and {high:.4g}"
    words = f"impulse noise{' with ' + share if share else ''}{between}"
    return words if base is None else f"{words}, the other voxels as {base(facts)}"


_NOISE = {
    "poisson-gaussian": _camera,
    "gaussian": _gaussian,
    "poisson": _poisson,
    "impulse": _impulse,
}


def residual_sentences(model: Facts) -> Iterator[str]:
    """Say what holding the network against the stack gave."""
    checks = model.get("noise_check") or []
    residuals = [one.get("residual") for one in checks if isinstance(one, dict)]
    known = [r for r in residuals if isinstance(r, int | float)]
    if known:
        words = ", ".join(f"{r:.2f}" for r in known)
        yield (
            f"On held-out voxels the squared difference between prediction and noisy "
            f"value was {words} times the variance that the model predicts."
        )
    done = {one.get("fallback") for one in checks if isinstance(one, dict)}
    if "prior mean" in done:
        yield (
            "The noise model did not fit the differences of neighbouring voxels, so "
            "the result is the network's mean without the voxels' own values."
        )
    if "measured noise" in done:
        yield (
            "For the result the noise was raised to what differences of neighbouring "
            "voxels showed, because its model had fallen short of that."
        )
