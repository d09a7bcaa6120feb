"""What a run is counted by: chunks read, files written, the most memory held.

It imports nothing of this package, so that other programs can be counted in
environments of their own.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def counted(source: Path) -> Iterator[Counter[str]]:
    """Count what is read of a source and written elsewhere, for a while.

    Yields
    ------
    Counter
        ``"read KEY"`` per chunk of the source, ``"write PATH"`` per file of pixels of
        any other store.
    """
    from zarr.storage import LocalStore

    seen: Counter[str] = Counter()
    originals = LocalStore.get, LocalStore.set

    async def get(self: Any, key: str, *rest: Any, **more: Any) -> Any:
        if Path(self.root) == source and _is_pixels(key):
            seen[f"read {key}"] += 1
        return await originals[0](self, key, *rest, **more)

    async def put(self: Any, key: str, *rest: Any, **more: Any) -> Any:
        if Path(self.root) != source and _is_pixels(key):
            seen[f"write {self.root}/{key}"] += 1
        return await originals[1](self, key, *rest, **more)

    LocalStore.get, LocalStore.set = get, put  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        LocalStore.get, LocalStore.set = originals  # type: ignore[method-assign]


def counts(seen: Counter[str]) -> dict[str, int]:
    """Return chunks and files, and how often they were read and written."""
    reads = [n for name, n in seen.items() if name.startswith("read ")]
    writes = [n for name, n in seen.items() if name.startswith("write ")]
    return {
        "chunks": len(reads),
        "reads": sum(reads),
        "files": len(writes),
        "writes": sum(writes),
    }


def _is_pixels(key: str) -> bool:
    parts = key.split("/")
    return "c" in parts and parts[0] != "run"


def peak_bytes() -> int:
    """Return the most memory that this process has held, not what began it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM; run this on Linux")
