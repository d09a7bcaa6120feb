"""Single keys of cloud stores and servers, by fsspec; what goes wrong, in words.

Zarr reads and writes addresses by itself. Here is what it has no question for: whether
a store is there, when it was changed, how it is removed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from napari_blindspot.errors import BlindspotError, InputError, RunError, reason
from napari_blindspot.location import Address, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.location import Location

MARKERS = ("zarr.json", ".zarray", ".zgroup")
"""What holds one of these files is a Zarr store."""

RUN = "run"
"""The group in an output that is incomplete as long as it is there."""

_RUN_KEY = f"{RUN}/zarr.json"
_STAMPED = ("zarr.json", ".zarray", ".zattrs")
_STAMPS = ("etag", "lastmodified", "last-modified", "updated", "last_modified")
_ANSWER_S = 30.0
_OPTIONS = {"use_listings_cache": False}
"""A list of yesterday would hide a chunk that another process has written since."""

_DRIVERS = frozenset(
    {
        "aiobotocore",
        "aiohttp",
        "adlfs",
        "azure",
        "botocore",
        "fsspec",
        "gcsfs",
        "google",
    }
)
_UNKNOWN_USER = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
)
_EXTRA = ("s3", "s3a", "http", "https")
_REFUSED = (401, 403)


def zarr_store(at: Location, mode: Literal["r", "r+", "a"]) -> Any:
    """Return what zarr opens.

    Parameters
    ----------
    at
        A path or an address; what environment and configuration say to its driver, such
        as an endpoint, holds.
    mode
        As of ``zarr.open``, to which it is given too.

    Raises
    ------
    InputError
        If there is no driver for such an address.
    """
    if not isinstance(at, Address):
        return str(at)
    from zarr.storage import FsspecStore

    _system(at)  # says which driver is missing
    return FsspecStore.from_url(at.url, storage_options=_OPTIONS, read_only=mode == "r")


def holds_zarr(at: Address) -> bool:
    """Whether a Zarr array or group lies at an address.

    Raises
    ------
    InputError
        If there is no driver for such an address.
    RunError
        If the store cannot be reached, or does not answer within 30 seconds.
    """
    return any(_holds(at, marker) for marker in MARKERS)


def holds_run(at: Address) -> bool:
    """Whether an output is incomplete; errors as `holds_zarr`."""
    return _holds(at, _RUN_KEY)


def holds_anything(at: Address) -> bool:
    """Whether anything lies at an address or below; errors as `holds_zarr`."""
    return _ask(at, "info", "") is not None


def stamp(at: Address) -> dict[str, str]:
    """Return what tells a store from a later one: tags and dates of its metadata.

    Returns
    -------
    dict
        Empty where the driver tells nothing.
    """
    told = {}
    for key in _STAMPED:
        facts = _ask(at, "info", key) or {}
        known = {name.lower(): value for name, value in facts.items()}
        found = [known[name] for name in _STAMPS if known.get(name)]
        if found:
            told[key] = str(found[0])
    return told


def mark(at: Address) -> None:
    """Say in a store that it is incomplete; errors as `holds_zarr`."""
    import zarr

    with talking(at, "written"):
        zarr.open_group(zarr_store(at / RUN, "a"), mode="a", zarr_format=3)


def complete(at: Address) -> None:
    """Remove what says that a store is incomplete, and what was written down there.

    One key decides, so that a store is complete or not at any moment.
    """
    with talking(at, "completed"):
        system, path = _system(at)
        _remove_keys(system, [f"{path}/{_RUN_KEY}"])
        _remove_below(system, f"{path}/{RUN}")


def remove_store(at: Address) -> None:
    """Remove a store, if it is there; until all is gone it counts as incomplete."""
    if not holds_anything(at):
        return
    mark(at)
    with talking(at, "removed"):
        system, path = _system(at)
        last = f"{path}/{_RUN_KEY}"
        _remove_keys(
            system, [key for key in system.find(path) if not key.endswith(last)]
        )
        _remove_below(system, path)


@contextmanager
def talking(at: Location | None, doing: str = "reached") -> Iterator[None]:
    """Turn what a driver raises into one sentence.

    Parameters
    ----------
    at
        What is read or written; what happens to a path is left as it is.
    doing
        What could not be done, as a participle.

    Raises
    ------
    RunError
        Saying what to check. It shows neither user nor password.
    """
    try:
        yield
    except Exception as error:
        told = in_words(error, at, doing)
        if told is error:
            raise
        # The text of the first error may hold the address as it was given.
        hidden = isinstance(at, Address) and at.has_secret
        raise told from (None if hidden else error)


def in_words(
    error: Exception, at: Location | None, doing: str = "reached"
) -> Exception:
    """Return what a driver raised as one sentence, any other error as it is."""
    if not isinstance(at, Address) or not _is_of_driver(error):
        return error
    said = without_secrets(reason(error))
    if _is_refusal(error):
        return RunError(
            f"{at} could not be {doing}: its store knows no such user or does not "
            f"allow it ({said}); check the credentials that its driver reads, e.g. "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if isinstance(error, FileNotFoundError):
        return RunError(
            f"{at} could not be {doing}, as something of it is not there ({said}); "
            f"check the names of bucket and store."
        )
    if isinstance(error, TimeoutError):
        return RunError(
            f"{at} could not be {doing}: it did not answer in time; check the address "
            f"and the network, then run again."
        )
    return RunError(
        f"{at} could not be {doing} ({said}); check the address, the endpoint of its "
        f"driver and the network, then run again."
    )


def _holds(at: Address, key: str) -> bool:
    return _ask(at, "cat_file", key) is not None


def _ask(at: Address, question: str, key: str) -> Any:
    """Ask about one key, for a bounded time; None where it is missing."""
    import fsspec.asyn

    system, path = _system(at)
    path = f"{path}/{key}" if key else path
    with talking(at):
        try:
            if not system.async_impl:
                return getattr(system, question)(path)
            asked = getattr(system, f"_{question}")
            return fsspec.asyn.sync(system.loop, asked, path, timeout=_ANSWER_S)
        except FileNotFoundError:
            return None


def _system(at: Address) -> tuple[Any, str]:
    """Return the driver of an address, and what it calls it."""
    import fsspec.core

    try:
        system, path = fsspec.core.url_to_fs(at.url, **_OPTIONS)
    except (ImportError, ValueError) as error:
        raise InputError(_no_driver(at, error)) from error
    return system, str(path).rstrip("/")


def _no_driver(at: Address, error: Exception) -> str:
    needed = f"{at} needs a driver for {at.scheme}://"
    if at.scheme in _EXTRA:
        return f'{needed}; install it with pip install "napari-blindspot[cloud]".'
    if isinstance(error, ImportError):
        return f"{needed}, which is not installed ({reason(error)})."
    return (
        f"{needed}, and fsspec knows none; check the spelling, e.g. s3://bucket/name."
    )


def _remove_keys(system: Any, keys: list[str]) -> None:
    if keys:
        with suppress(FileNotFoundError):
            system.rm(keys)


def _remove_below(system: Any, path: str) -> None:
    if system.exists(path):  # some drivers keep folders, others do not
        system.rm(path, recursive=True)


def _is_of_driver(error: Exception) -> bool:
    if isinstance(error, BlindspotError):
        return False
    kinds = (kind.__module__.split(".")[0] for kind in type(error).__mro__)
    return isinstance(error, OSError) or not _DRIVERS.isdisjoint(kinds)


def _is_refusal(error: Exception) -> bool:
    named = type(error).__name__ in _UNKNOWN_USER
    status = getattr(error, "status", None)  # of aiohttp
    return named or isinstance(error, PermissionError) or status in _REFUSED
