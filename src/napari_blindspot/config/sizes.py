"""Sizes of memory as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Return the bytes that a text such as ``"2GB"`` or ``"1.5 GiB"`` means.

    Raises
    ------
    ValueError
        If it is no size.
    """
    found = _FORM.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise ValueError("give a size such as 2GB, 500MB or 1.5GiB")
    return int(float(found[1]) * {**_UNITS, **_BINARY}[(found[2] or "").upper()])
