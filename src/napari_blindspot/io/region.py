"""Parse a region such as ``z=10:40,y=0:512`` into one slice per axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_blindspot.config.opening import named_region
from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from napari_blindspot.stack import Stack


def parse_region(
    region: str | Mapping[str, slice | int], stack: Stack
) -> dict[str, slice]:
    """Parse and check a region of a stack.

    Parameters
    ----------
    region
        Text such as ``"z=10:40,y=0:512"`` (Python slices: open ends and negative
        numbers count as usual; ``z=5`` is one plane), or ``"10:40,0:512,0:512"``
        along z, y and x, or a mapping of axis to slice or index.
    stack
        The stack the region lies in.

    Returns
    -------
    dict
        Upper-case axis to a slice with 0 ≤ start < stop ≤ length.

    Raises
    ------
    InputError
        If it is neither text nor a mapping, an axis is unknown or given twice, or a
        range is empty or out of range.
    """
    items = region.items() if isinstance(region, Mapping) else _split(region)
    parsed: dict[str, slice] = {}
    for name, wanted in items:
        axis = str(name).strip().upper()
        if axis not in stack.axes or axis in parsed or len(axis) != 1:
            raise InputError(
                f"region={region!r} names the axis {name!r}; give each of the axes "
                f"{stack.axes} of this stack at most once, e.g. 'y=0:256'."
            )
        parsed[axis] = _bounds(axis, wanted, stack.sizes[axis], region)
    return parsed


def _split(region: Any) -> list[tuple[str, str]]:
    text = named_region(region) if isinstance(region, str) else ""
    pairs = [part.split("=") for part in text.split(",") if part.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise InputError(
            f"region={region!r} cannot be read; write ranges like 'z=10:40,y=0:512', "
            f"or '10:40,0:512,0:512' along z, y and x."
        )
    return [(name, wanted) for name, wanted in pairs]


def _bounds(axis: str, wanted: Any, length: int, region: object) -> slice:
    start, stop = _ends(wanted, region)
    if isinstance(start, int) and start < 0:
        start += length
    if isinstance(stop, int) and stop < 0:
        stop += length
    begin = 0 if start is None else start
    end = length if stop is None else stop
    if not 0 <= begin < end <= length:
        raise InputError(
            f"region={region!r} asks for {axis.lower()}={begin}:{end}, which is empty "
            f"or outside of the stack; choose within {axis.lower()}=0:{length}."
        )
    return slice(begin, end)


def _ends(wanted: Any, region: object) -> tuple[int | None, int | None]:
    """Return start and stop as they were written, None for an open end."""
    try:
        if isinstance(wanted, slice):
            if wanted.step not in (None, 1):
                raise ValueError("step")
            return _number(wanted.start), _number(wanted.stop)
        if isinstance(wanted, str) and ":" in wanted:
            first, last = (part.strip() for part in wanted.split(":"))
            return (int(first) if first else None), (int(last) if last else None)
        index = int(wanted)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"region={region!r} has the range {wanted!r}; write start:stop with whole "
            f"numbers (no steps), e.g. 10:40, or one index."
        ) from error
    return index, (index + 1 if index != -1 else None)


def _number(end: Any) -> int | None:
    return None if end is None else int(end)
