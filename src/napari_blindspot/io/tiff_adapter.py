"""All calls of tifffile for reading, in one place.

tifffile repairs what it can: a truncated file becomes a shorter one and a line in the
log. Half a stack must not pass for a whole one, so the log is read here.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError, reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

OPEN_FILES = 16
PAGE_BYTES = 64 * 2**20
_LARGE_PIECE = 2**28
_MOST_RATIO = 10**5  # no codec makes less of a plane of zeros
_DAMAGE = re.compile(r"invalid page offset|invalid value offset|failed to reshape")
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class TiffPixels:
    """Level 0 of the first series of a TIFF file, read region by region.

    Only the path travels between processes; open files are shared and few.

    Parameters
    ----------
    path
        The file.
    shape, dtype
        Of the series.
    chunks
        What is decoded at once: a tile, a strip or a plane.
    stamp
        Time and size of the file when it was opened; a changed file is opened anew.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    stamp: tuple[int, int]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        with _opening:
            level = _open_level(self.path, self.stamp)
        return np.asarray(level.array[index])


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """What a TIFF file says about itself.

    Parameters
    ----------
    pixels
        The lazy pixels.
    axes
        tifffile's letters, one per dimension.
    kind
        ``"ome"``, ``"imagej"``, ``"shaped"``, …
    ome_xml
        The OME-XML text, empty if there is none.
    imagej
        ImageJ's metadata.
    pixels_per_unit
        Along x and y, from the resolution tags; None where they say nothing.
    missing
        Planes that the metadata announce but the file does not hold.
    """

    pixels: TiffPixels
    axes: str
    kind: str
    ome_xml: str = ""
    imagej: dict[str, Any] = field(default_factory=dict)
    pixels_per_unit: tuple[float | None, float | None] = (None, None)
    missing: int = 0


def read_header(path: Path) -> TiffHeader:
    """Read the header of a TIFF file; no pixel is decoded.

    Raises
    ------
    InputError
        If this is no TIFF file, or if it is truncated.
    """
    import tifffile

    try:
        with _watch_log(path), tifffile.TiffFile(path) as tif:
            if len(tif.pages) == 0:
                raise InputError(f"{path.name} is a TIFF file without an image.")
            return _header(path, tif)
    except (InputError, OSError):
        raise
    except Exception as error:  # garbage in a header surfaces as any error at all
        raise InputError(
            f"{path.name} is not a readable TIFF file ({reason(error)}); check that it "
            f"was copied completely and that its ending names its format."
        ) from error


def _header(path: Path, tif: Any) -> TiffHeader:
    series = tif.series[0]
    _check_decoder(path, series.keyframe)
    missing = _check_complete(path, series)
    level = _open_level(path, _stamp(path))
    pixels = TiffPixels(
        path,
        tuple(int(n) for n in level.array.shape),
        np.dtype(level.array.dtype),
        tuple(int(n) for n in level.array.chunks),
        _stamp(path),
    )
    tags = series.keyframe.tags
    return TiffHeader(
        pixels,
        axes=str(series.axes),
        kind=str(series.kind).lower(),
        ome_xml=(tif.ome_metadata or "") if tif.is_ome else "",
        imagej=dict(tif.imagej_metadata or {}) if tif.is_imagej else {},
        pixels_per_unit=(_ratio(tags, "XResolution"), _ratio(tags, "YResolution")),
        missing=missing,
    )


def _ratio(tags: Any, name: str) -> float | None:
    value = tags.valueof(name)
    if not isinstance(value, tuple) or len(value) != 2 or 0 in value:
        return None
    return float(value[0]) / float(value[1])


def _check_complete(path: Path, series: Any) -> int:
    """Refuse a file whose pixels end behind its own end; count missing planes."""
    if series.dataoffset is not None:
        size = int(np.prod(series.shape, dtype=np.int64)) * series.dtype.itemsize
        _check_end(path, series.dataoffset + size, path.stat().st_size)
        return 0
    missing = 0
    pieces = math.prod(series.keyframe.chunked)
    room = math.prod(series.keyframe.chunks) * series.dtype.itemsize
    for page in series:
        if page is None:
            missing += 1
            continue
        _check_pieces(path, page, pieces, room)
        ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
        _check_end(path, max(ends, default=0), page.parent.filehandle.size)
    return missing


def _check_pieces(path: Path, page: Any, pieces: int, room: int) -> None:
    """Refuse a page that lists fewer pieces than it has, or absurdly small ones.

    tifffile reads what is not listed as zeros, and makes room for what a piece is said
    to hold.
    """
    listed = min(len(page.dataoffsets), len(page.databytecounts))
    if listed < pieces and not page.is_contiguous:
        raise InputError(
            f"{path.name} is damaged: a plane has {pieces} pieces and lists {listed}; "
            f"copy it again from where it was recorded."
        )
    stored = max(page.databytecounts, default=0)
    if room > _LARGE_PIECE and room > _MOST_RATIO * stored:
        raise InputError(
            f"{path.name} is damaged: {stored} bytes are said to hold {room} bytes of "
            f"pixels; copy it again from where it was recorded."
        )


def _check_decoder(path: Path, page: Any) -> None:
    """Refuse a compression that cannot be undone here."""
    import tifffile

    if page.compression in tifffile.TIFF.DECOMPRESSORS:
        return
    raise InputError(
        f"{path.name} is compressed with method {int(page.compression)} of TIFF, which "
        f"cannot be read here; export it uncompressed, or compressed with LZW or "
        f"deflate (zlib)."
    )


def _check_end(path: Path, needed: int, size: int) -> None:
    if needed > size:
        raise InputError(
            f"{path.name} is truncated: its pixels need {needed} bytes and it has "
            f"{size}; copy it again from where it was recorded."
        )


class _OpenLevel:
    """An open TIFF file and its pixels; closed when nothing reads them any more."""

    def __init__(self, path: Path) -> None:
        import tifffile
        import zarr

        tif = tifffile.TiffFile(path)
        try:
            series = tif.series[0]
            whole = not series.keyframe.is_tiled and series.keyframe.nbytes < PAGE_BYTES
            store = series.aszarr(level=0, chunkmode="page" if whole else "strile")
            self.array = zarr.open_array(store, mode="r")
        except BaseException:
            tif.close()
            raise
        weakref.finalize(self, _close, store, tif)


def _close(store: Any, tif: Any) -> None:
    store.close()
    tif.close()


@lru_cache(maxsize=OPEN_FILES)
def _open_level(path: Path, stamp: tuple[int, int]) -> _OpenLevel:
    return _OpenLevel(path)


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


class _DamageFilter(logging.Filter):
    """Collects and keeps silent what tifffile logs about damage in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.thread != self.thread or not _DAMAGE.search(message):
            return True
        self.messages.append(message)
        return False


@contextmanager
def _watch_log(path: Path) -> Iterator[None]:
    """Turn what tifffile only logs about a damaged file into an error."""
    watch = _DamageFilter()
    logger = logging.getLogger("tifffile")
    logger.addFilter(watch)
    try:
        yield
    finally:
        logger.removeFilter(watch)
    if watch.messages:
        raise InputError(
            f"{path.name} is truncated or damaged ({watch.messages[0]}); copy it again "
            f"from where it was recorded."
        )
