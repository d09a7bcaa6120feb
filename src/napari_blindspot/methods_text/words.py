"""Small parts of sentences: names, numbers, lists; empty where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]


def of_size(network: Facts) -> str:
    """Return the size of a network, with a preposition before it."""
    known = [name for name in ("width", "depth") if isinstance(network.get(name), int)]
    return f" of {listed(f'{name} {network[name]}' for name in known)}" if known else ""


def box(hole: Any) -> str:
    """Return the sizes of a blind spot in words, empty where it is not known."""
    known = isinstance(hole, list | tuple)
    return " × ".join(str(size) for size in hole) if known else ""


def software_words(facts: Facts) -> str:
    """Return name and version of the software, and what it ran on."""
    name, version = text(facts, "software"), text(facts, "version")
    if not name or not version:
        return ""
    under = [
        f"{title} {facts[key]}"
        for key, title in (("torch", "PyTorch"), ("python", "Python"))
        if facts.get(key)
    ]
    return f"{name} {version}{f' ({listed(under)})' if under else ''}"


def stack_words(source: Facts) -> str:
    """Return the name of a stack with its size, empty without a name."""
    name, shape = text(source, "name"), source.get("shape")
    if not name or not isinstance(shape, list | tuple):
        return name
    size = " × ".join(str(n) for n in shape)
    more = [source[key] for key in ("axes", "dtype") if source.get(key)]
    return f"{name} ({', '.join([f'{size} voxels', *more])})"


def number_words(facts: Facts, key: str, title: str, unit: str) -> str:
    """Return a number with its interval, empty where it is not known."""
    value, interval = facts.get(key), facts.get(f"{key}_interval")
    if not isinstance(value, int | float):
        return ""
    words = f"{title} {value:.4g}{' ' + unit if unit else ''}"
    if not interval:
        return words
    low, high = interval
    return f"{words} (95 % confidence interval {low:.4g} to {high:.4g})"


def listed(words: Any) -> str:
    """Join words by commas, and the last one by "and"."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else str(last)


def text(facts: Facts, name: str) -> str:
    """Return a text among the facts."""
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def part(facts: Facts, name: str) -> Facts:
    """Return facts among the facts."""
    value = facts.get(name)
    return value if isinstance(value, dict) else {}


def parts(facts: Facts, name: str) -> list[Facts]:
    """Return a list of facts among the facts."""
    value = facts.get(name)
    return [one for one in value if isinstance(one, dict)] if value else []
