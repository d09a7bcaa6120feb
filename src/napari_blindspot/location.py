"""Where something lies: a path of this machine, or an address such as ``s3://…``.

Names alone, nothing is opened here. A `pathlib.Path` would make ``s3:/bucket`` of an
address, and would show a password that stands in it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_blindspot.errors import InputError

_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]+)://(.*)$", re.DOTALL)
_SQUEEZED = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+:/[^/]")
_SECRET = re.compile(r"(?<=://)[^/\s]*@")
_LOCAL = ("file", "local")
_QUERIED = ("http", "https")


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A name in a cloud store or on a server; shown without user and password.

    Parameters
    ----------
    url
        ``scheme://…`` as the drivers want it, without a slash at its end.
    """

    url: str

    @property
    def scheme(self) -> str:
        """What chooses the driver, such as ``"s3"``."""
        return self.url.split("://", 1)[0]

    @property
    def name(self) -> str:
        """What stands behind the last slash; empty for a whole bucket or server."""
        return self._rest.rpartition("/")[2] if "/" in self._rest else ""

    @property
    def suffix(self) -> str:
        """The ending of the name, as that of a path."""
        return Path(self.name).suffix

    @property
    def has_secret(self) -> bool:
        """Whether a user or a password stands in it."""
        return str(self) != self.url

    def with_name(self, name: str) -> Address:
        """Return the address beside this one that has another name."""
        return Address(f"{self.url[: len(self.url) - len(self.name)]}{name}")

    def is_inside(self, other: Address) -> bool:
        """Whether this lies inside another address, or is the same."""
        return f"{self.url}/".startswith(f"{other.url}/")

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self.url}/{name}")

    def __str__(self) -> str:
        return without_secrets(self.url)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def _rest(self) -> str:
        return self.url.split("://", 1)[1]


Location = Path | Address
"""Where something lies."""


def as_location(given: str | Path | Address) -> Location:
    """Return text or a path as a path or an address.

    Parameters
    ----------
    given
        A path, or an address such as ``s3://bucket/name`` as text; ``file://`` is a
        path.

    Raises
    ------
    InputError
        If it is neither, the text is empty, or an address was made a `Path`, which
        drops one of its slashes, or has a part that nothing can be appended to.
    """
    if isinstance(given, Address):
        return given
    _check_is_path(given)
    if isinstance(given, str) and not given.strip():
        raise InputError(
            f"{given!r} names no file or folder; give a path, such as 'stack.tif', or "
            f"'.' for the current folder."
        )
    found = _ADDRESS.match(str(given))
    if found is None:
        _check_not_squeezed(given)
        return Path(given)
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    if scheme in _LOCAL:
        from urllib.request import url2pathname

        return Path(url2pathname(rest))
    address = Address(f"{scheme}://{rest}")
    if "::" in rest or (scheme in _QUERIED and re.search(r"[?#]", rest)):
        shown = str(address).partition("?")[0]  # what follows may be a key to the store
        raise InputError(
            f"{shown!r} is an address with '::', '?' or '#', behind which no chunk can "
            f"be named; open it with zarr and pass the array."
        )
    return address


def as_path(given: str | Path) -> Path:
    """Return text or a path as a path of this machine.

    Raises
    ------
    InputError
        As `as_location`, or if it is an address.
    """
    where = as_location(given)
    if isinstance(where, Address):
        raise InputError(
            f"{str(where)!r} is an address, but a path of this machine is needed; copy "
            f"the file from or to there yourself."
        )
    return where


def absolute(given: str | Path | Address) -> Location:
    """Return a location that means the same in any folder of this machine."""
    where = as_location(given)
    return where if isinstance(where, Address) else where.expanduser().resolve()


def without_secrets(text: str) -> str:
    """Return text with the users and passwords in its addresses taken out."""
    return _SECRET.sub("", text)


def _check_is_path(given: Any) -> None:
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(
            f"{given!r} is of type {type(given).__name__}, but a path is needed; give "
            f"it as text or as a pathlib.Path, such as 'stack.tif'."
        )


def _check_not_squeezed(given: str | Path) -> None:
    if isinstance(given, Path) and _SQUEEZED.match(given.as_posix()):
        raise InputError(
            f"{str(given)!r} was an address before it became a Path, which drops a "
            f"slash; give it as text."
        )
