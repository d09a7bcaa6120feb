"""The methods paragraph for a paper, composed from provenance and nothing else.

Every sentence stands on what a result or a model file records. What is not recorded
is left out, so files of older versions give shorter paragraphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Facts = Mapping[str, Any]


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
    model = _part(provenance, "model")
    sentences = [
        *_denoised(provenance),
        *_camera_files(_part(provenance, "settings")),
        *_network(provenance),
        *_training(model, _text(provenance, "version")),
        *_noise(provenance.get("noise")),
        *_residual(model),
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
    provenance = _part(header, "provenance")
    sentences = [
        *_network(header),
        *_training(provenance, ""),
        *_camera_files(_part(provenance, "noise_settings")),
        *_noise(header.get("noise")),
        *_residual(provenance),
    ]
    return " ".join(sentences)


def _denoised(provenance: Facts) -> Iterator[str]:
    source, settings = _part(provenance, "source"), _part(provenance, "settings")
    name, software = _stack(source), _software(provenance)
    if not name or not software:
        return
    channel, region = settings.get("channel"), settings.get("region")
    limits = "" if channel is None else f", channel {channel} alone"
    limits += "" if region is None else f", region {region}"
    yield f"The image {name}{limits} was denoised with {software}."


def _camera_files(settings: Facts) -> Iterator[str]:
    """Say what was taken off before, and which calibration told it."""
    dark = _text(settings, "dark")
    maps = [_text(settings, name) for name in ("offset_map", "variance_map")]
    if dark or all(maps):
        source = f"the dark stack {dark}" if dark else f"the maps {_listed(maps)}"
        yield (
            f"The offset of every camera pixel was subtracted and its read noise taken "
            f"into account, as told by {source}."
        )
    if gain := _text(settings, "gain_map"):
        yield (
            f"Every pixel's signal was divided by its relative gain, as told by the "
            f"map {gain}."
        )
    pattern = _text(settings, "fixed_pattern")
    if pattern in ("columns", "rows"):
        yield (
            f"Offsets of whole {pattern}, as far as the image showed them in all "
            f"planes, were subtracted."
        )
    if settings.get("noise_per_plane"):
        yield "The level of the noise was measured plane by plane."


def _network(facts: Facts) -> Iterator[str]:
    """Say which network it was and what it may see."""
    method, network = METHODS.get(_text(facts, "method")), _part(facts, "network")
    if method is None:
        return
    known = [name for name in ("width", "depth") if isinstance(network.get(name), int)]
    size = _listed(f"{name} {network[name]}" for name in known)
    of_size = f" of {size}" if size else ""
    yield f"The method was a {method.title} network{of_size} ({method.source})."
    sees = []
    if isinstance(network.get("hole"), list | tuple):
        hole = " × ".join(str(n) for n in network["hole"])
        sees.append(f"through a blind spot of {hole} voxels (z, y, x)")
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
        sees.append(
            f"with all {count} channels together and a "
            f"{network.get('covariance', 'full')} covariance between them"
        )
    if sees:
        yield f"It saw each plane {', '.join(sees)}."


def _training(model: Facts, told_version: str) -> Iterator[str]:
    training = _part(model, "training")
    sources = [name for one in _parts(model, "sources") if (name := _stack(one))]
    software = _software(model)
    told = not software or _text(model, "version") == told_version
    by = "" if told else f" with {software}"
    if sources:
        yield f"It was trained without clean images on {_listed(sources)}{by}."
    if isinstance(training.get("steps"), int):
        yield f"{_steps(model, training)}{_end(model, training)}."


def _steps(model: Facts, training: Facts) -> str:
    crop, batch, seed = training.get("crop"), training.get("batch"), model.get("seed")
    of = f" of {batch} crops of {crop} × {crop} pixels" if crop and batch else ""
    seeded = "" if seed is None else f" (seed {seed})"
    steps = training["steps"]
    return f"Training took {steps} step{'' if steps == 1 else 's'}{of}{seeded}"


def _end(model: Facts, training: Facts) -> str:
    budget = _part(model, "budget")
    given = [f"{name} {value}" for name, value in budget.items() if value is not None]
    allowed = f" ({', '.join(given)})" if given else ""
    ends = {
        "budget": f" and ended when its budget{allowed} was spent",
        "held-out score": " and ended when the score of held-out voxels, which were "
        "never targets, no longer improved",
    }
    return ends.get(_text(training, "stopped"), "")


def _noise(noise: Any) -> Iterator[str]:
    entries = [one for one in noise or () if isinstance(one, dict)]
    for index, facts in enumerate(entries, 1):
        describe = _NOISE.get(_text(facts, "model"))
        words = describe(facts) if describe is not None else ""
        if words:
            where = f" of channel {index}" if len(entries) > 1 else ""
            yield f"The noise{where} was modelled as {words}."


def _camera(facts: Facts) -> str:
    values = [
        _value(facts, "gain", "a gain a of", "grey values per photo-electron"),
        _value(facts, "variance_intercept", "b =", "grey values squared"),
        _value(facts, "offset", "an offset of", "grey values"),
        _value(facts, "read_noise", "a read noise of", "electrons"),
    ]
    counted = " with exact counting of photons" if facts.get("photon_counting") else ""
    known = _listed(value for value in values if value)
    return (
        f"Poisson-Gaussian{counted}, of variance a·X + b at the clean value X"
        f"{', with ' + known if known else ''}"
    )


def _gaussian(facts: Facts) -> str:
    sigma = _value(facts, "sigma", "a standard deviation of", "grey values")
    return f"Gaussian{' with ' + sigma if sigma else ''}"


def _poisson(facts: Facts) -> str:
    values = [
        _value(facts, "gain", "a gain of", "grey values per photo-electron"),
        _value(facts, "offset", "an offset of", "grey values"),
    ]
    known = _listed(value for value in values if value)
    return f"Poisson{' with ' + known if known else ''}"


def _impulse(facts: Facts) -> str:
    base = _NOISE.get(_text(facts, "base_model"))
    share = _value(facts, "outlier_share", "a share of outliers of", "")
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


def _residual(model: Facts) -> Iterator[str]:
    checks = model.get("noise_check") or []
    residuals = [one.get("residual") for one in checks if isinstance(one, dict)]
    known = [r for r in residuals if isinstance(r, int | float)]
    if known:
        words = ", ".join(f"{r:.2f}" for r in known)
        yield (
            f"On held-out voxels the squared difference between prediction and noisy "
            f"value was {words} times the variance that the model predicts."
        )
    if any(one.get("fallback") for one in checks if isinstance(one, dict)):
        yield (
            "For the result the noise was raised to what differences of neighbouring "
            "voxels showed, because its model had fallen short of that."
        )


def _written(provenance: Facts) -> Iterator[str]:
    settings = _part(provenance, "settings")
    if _text(provenance, "method") != "bayesian":
        return
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
        f"The posterior mean of every voxel, in the grey values of the input, was "
        f"written{types.get(_text(settings, 'dtype'), '')}{deviation}."
    )


def _software(facts: Facts) -> str:
    name, version = _text(facts, "software"), _text(facts, "version")
    if not name or not version:
        return ""
    under = [
        f"{title} {facts[key]}"
        for key, title in (("torch", "PyTorch"), ("python", "Python"))
        if facts.get(key)
    ]
    return f"{name} {version}{f' ({_listed(under)})' if under else ''}"


def _stack(source: Facts) -> str:
    """Return the name of a stack with its size, empty without a name."""
    name, shape = _text(source, "name"), source.get("shape")
    if not name or not isinstance(shape, list | tuple):
        return name
    size = " × ".join(str(n) for n in shape)
    more = [source[key] for key in ("axes", "dtype") if source.get(key)]
    return f"{name} ({', '.join([f'{size} voxels', *more])})"


def _value(facts: Facts, key: str, title: str, unit: str) -> str:
    """Return a number with its interval, empty where it is not known."""
    value, interval = facts.get(key), facts.get(f"{key}_interval")
    if not isinstance(value, int | float):
        return ""
    words = f"{title} {value:.4g}{' ' + unit if unit else ''}"
    if not interval:
        return words
    low, high = interval
    return f"{words} (95 % confidence interval {low:.4g} to {high:.4g})"


def _listed(words: Any) -> str:
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else str(last)


def _text(facts: Facts, name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _part(facts: Facts, name: str) -> Facts:
    value = facts.get(name)
    return value if isinstance(value, dict) else {}


def _parts(facts: Facts, name: str) -> list[Facts]:
    value = facts.get(name)
    return [one for one in value if isinstance(one, dict)] if value else []
