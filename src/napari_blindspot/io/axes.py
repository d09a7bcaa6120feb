"""From what the user and the source say about axes to one letter per dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError
from napari_blindspot.stack import AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = 4
"""An axis of at most this many voxels may be a channel axis."""

_WORDS = {"time": "T", "channel": "C", "depth": "Z", "row": "Y", "column": "X"}


def resolve_axes(
    found: str, shape: Sequence[int], given: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Settle the letter of every dimension.

    Parameters
    ----------
    found
        What the source says: one letter per dimension, or empty.
    shape
        Voxels along each dimension.
    given
        What the user says; it wins.

    Returns
    -------
    axes
        One letter of TCZYX per dimension, in the order of the source.
    notes
        What was guessed and why, one sentence each.

    Raises
    ------
    InputError
        If the axes do not fit the shape or cannot be guessed.
    """
    shape = tuple(int(n) for n in shape)
    if given is not None:
        return _check(given.upper(), shape, given), ()
    if not found or not set(found) & set(AXES):
        return _guess_all(shape)
    return _complete(found, shape)


def letter(name: str | None) -> str:
    """Return the letter of TCZYX an axis name stands for, ``?`` if none."""
    word = (name or "").strip()
    if word.upper() in AXES and len(word) == 1:
        return word.upper()
    return _WORDS.get(word.lower(), "?")


def _check(axes: str, shape: tuple[int, ...], said: str) -> str:
    unknown = set(axes) - set(AXES)
    if unknown or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InputError(
            f"axes={said!r} cannot be used; give letters out of TCZYX, each at most "
            f"once and Y and X among them, in the order of the input of shape {shape}."
        )
    if len(axes) != len(shape):
        raise InputError(
            f"axes={said!r} names {len(axes)} dimensions but the input has "
            f"{len(shape)} (shape {shape}); give one letter out of TCZYX per dimension."
        )
    return axes


def _guess_all(shape: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
    """Guess all letters from the shape alone."""
    axes, why = _guess(shape)
    if len(shape) == 2:
        return axes, ()
    others = {3: ("TYX", "ZYX"), 4: ("TZYX", "CZYX"), 5: ("TZCYX", "TCZYX")}
    other = next(one for one in others[len(shape)] if one != axes)
    return axes, (
        f"axes were not given; a {len(shape)}D array of shape {shape} is read as "
        f"{axes}{why}; pass axes={other!r} (or what it is) if that is wrong.",
    )


def _guess(shape: tuple[int, ...]) -> tuple[str, str]:
    if len(shape) == 2:
        return "YX", ""
    if len(shape) == 3 and shape[-1] in (3, 4) and shape[0] > SHORT:
        return "YXC", f" because its last axis is as short as colours ({shape[-1]})"
    if len(shape) == 3:
        return "ZYX", ""
    if len(shape) == 4:
        return _guess_four(shape)
    if len(shape) == 5:
        if shape[2] <= SHORT < shape[1]:
            return "TZCYX", f" because its third axis is short ({shape[2]})"
        return "TCZYX", ""
    raise InputError(
        f"an input of shape {shape} has {len(shape)} dimensions; give 2 to 5 "
        f"dimensions, e.g. pass one series of it."
    )


def _guess_four(shape: tuple[int, ...]) -> tuple[str, str]:
    first, second = shape[:2]
    if second <= SHORT < first:
        return "ZCYX", f" because its second axis is short ({second})"
    if first <= SHORT:
        return "CZYX", f" because its first axis is short ({first})"
    return "TZYX", f" because its first axis is too long for channels ({first})"


def _complete(found: str, shape: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
    """Keep the letters that are known and guess the others."""
    letters, notes = _samples_as_channels(found, shape)
    unknown = [i for i, axis in enumerate(letters) if axis not in AXES]
    if not unknown:
        return _check("".join(letters), shape, found), tuple(notes)
    if set(letters) - {"?"} <= {"Y", "X"} and not {"Y", "X"} - set(letters):
        leading, why = _guess(shape)
        free = [axis for axis in leading if axis not in "YX"]
    else:
        why = ""
        free = [axis for axis in "YXTZC" if axis not in letters][-len(unknown) :]
        free = ["Z"] if len(unknown) == 1 and "Z" not in letters else free
    if len(free) != len(unknown):
        raise InputError(
            f"the axes of an input of shape {shape} are not known ({found}); pass "
            f"axes= with one letter out of TCZYX per dimension."
        )
    for index, axis in zip(unknown, free, strict=True):
        letters[index] = axis
    axes = _check("".join(letters), shape, found)
    notes.append(
        f"the input does not name all of its axes; its shape {shape} is read as "
        f"{axes}{why}; pass axes= if that is wrong (T for a movie)."
    )
    return axes, tuple(notes)


def _samples_as_channels(
    found: str, shape: tuple[int, ...]
) -> tuple[list[str], list[str]]:
    letters = [axis if axis in AXES or axis == "S" else "?" for axis in found]
    if "S" not in letters:
        return letters, []
    index = letters.index("S")
    count = shape[index]
    if count not in (3, 4) or "C" in letters:
        raise InputError(
            f"the input of shape {shape} has {count} samples per pixel (axes {found}); "
            f"save it with plain channels, or pass axes= with C for the samples."
        )
    letters[index] = "C"
    return letters, [f"the {count} colour samples of each pixel are read as channels."]
