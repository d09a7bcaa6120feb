"""Read back how a result of ours was made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_blindspot.io.remote import holds_zarr, talking, zarr_store
from napari_blindspot.io.tiff_source import TIFF_SUFFIXES
from napari_blindspot.location import Address, Location, as_location

if TYPE_CHECKING:
    from pathlib import Path


def read_provenance(path: str | Location) -> dict[str, Any] | None:
    """Return the provenance inside an OME-Zarr or OME-TIFF that we wrote.

    Parameters
    ----------
    path
        A file, a folder or an address that `open_stack` opens.

    Returns
    -------
    dict or None
        None where the file was not written by napari-blindspot.
    """
    path = as_location(path)
    if isinstance(path, Address):
        return _from_zarr(path) if holds_zarr(path) else None
    if path.is_dir():
        return _from_zarr(path)
    if path.is_file() and path.name.lower().endswith(TIFF_SUFFIXES):
        return _from_tiff(path)
    return None


def _from_zarr(path: Location) -> dict[str, Any] | None:
    import zarr

    from napari_blindspot.io.ome_zarr_sink import PROVENANCE

    with talking(path, "read"):
        facts = zarr.open(zarr_store(path, "r"), mode="r").attrs.get(PROVENANCE)
    return dict(facts) if isinstance(facts, dict) else None


def _from_tiff(path: Path) -> dict[str, Any] | None:
    import tifffile

    from napari_blindspot.io.tiff_adapter import read_header
    from napari_blindspot.io.tiff_sink import NAMESPACE

    xml = read_header(path).ome_xml
    if NAMESPACE not in xml:
        return None
    for text in _values(tifffile.xml2dict(xml), "provenance"):
        facts = json.loads(text)
        return facts if isinstance(facts, dict) else None
    return None


def _values(tree: Any, key: str) -> list[str]:
    """Find the texts of the map entries named `key` anywhere in parsed OME-XML."""
    if isinstance(tree, list):
        return [text for item in tree for text in _values(item, key)]
    if not isinstance(tree, dict):
        return []
    if tree.get("K") == key and isinstance(tree.get("value"), str):
        return [tree["value"]]
    return [text for item in tree.values() for text in _values(item, key)]
