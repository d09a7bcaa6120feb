"""Stacks and outputs at addresses, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.io.remote import zarr_store
from napari_blindspot.location import as_location
from napari_blindspot.progress import CancelToken, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.location import Location


def write_stack(address: str, values: np.ndarray) -> None:
    """Write a stack as a plain Zarr array with named axes."""
    store = zarr_store(as_location(address), "a")
    array = zarr.create_array(
        store,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(2, *values.shape[1:]),
        dimension_names=list("zyx"),
    )
    array[...] = values


def levels(out: str | Location) -> list[np.ndarray]:
    """Return the pixels of all levels of an output."""
    group: Any = zarr.open_group(zarr_store(as_location(out), "r"), mode="r")
    images = group.attrs["ome"]["multiscales"][0]["datasets"]
    return [np.asarray(group[level["path"]]) for level in images]


def assert_same(one: str | Path, other: str | Path) -> None:
    for level, alike in zip(levels(one), levels(other), strict=True):
        np.testing.assert_array_equal(level, alike)


def predict(out: Any, source: Any, blocks: int | None = None, **settings: Any) -> Any:
    """Denoise with a small network, and stop after some blocks if that is asked for."""
    token = CancelToken()

    def look(event: Progress) -> None:
        if blocks is not None and event.stage == "predict" and event.done >= blocks:
            token.cancel()

    options = {"threads": 1, "uncertainty": True, **settings}
    return nb.predict(
        random_teacher(), source, out, cancel=token, on_progress=look, **options
    )
