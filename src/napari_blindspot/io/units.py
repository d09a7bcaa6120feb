"""Lengths in µm and times in seconds, from the unit names that files use."""

from __future__ import annotations

_PREFIXES = {
    "": 1.0, "yotta": 1e24, "zetta": 1e21, "exa": 1e18, "peta": 1e15, "tera": 1e12,
    "giga": 1e9, "mega": 1e6, "kilo": 1e3, "hecto": 1e2, "deci": 1e-1,
    "centi": 1e-2, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12,
    "femto": 1e-15, "atto": 1e-18, "zepto": 1e-21, "yocto": 1e-24,
}  # fmt: skip

_LENGTHS_UM = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "nm": 1e-3,
    "pm": 1e-6, "km": 1e9, "micron": 1.0, "microns": 1.0, "å": 1e-4,
    "angstrom": 1e-4, "ångström": 1e-4, "in": 25400.0, "inch": 25400.0,
    "inches": 25400.0, "ft": 304800.0, "foot": 304800.0, "yard": 914400.0,
    "mile": 1.609344e9, "parsec": 3.0856775814913673e22,
}  # fmt: skip

_TIMES_S = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6,
    "us": 1e-6, "ns": 1e-9, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "day": 86400.0,
    "days": 86400.0, "d": 86400.0,
}  # fmt: skip


def length_um(unit: str | None) -> float | None:
    """Return how many µm one `unit` is, None if it is no unit of length."""
    name = _plain(unit)
    if name in _LENGTHS_UM:
        return _LENGTHS_UM[name]
    metres = _prefixed(name, ("meter", "metre", "meters", "metres"))
    return None if metres is None else metres * 1e6


def time_s(unit: str | None) -> float | None:
    """Return how many seconds one `unit` is, None if it is no unit of time."""
    name = _plain(unit)
    if name in _TIMES_S:
        return _TIMES_S[name]
    return _prefixed(name, ("second", "seconds"))


def _plain(unit: str | None) -> str:
    # ImageJ writes the micro sign as an escape; the Greek letter is a look-alike.
    text = (unit or "").strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    return text.lower().replace("μ", "µ")


def _prefixed(name: str, bases: tuple[str, ...]) -> float | None:
    for base in bases:
        if name.endswith(base):
            return _PREFIXES.get(name.removesuffix(base))
    return None
