from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_blindspot._napari import samples
from napari_blindspot._napari.readers import get_reader, layer_keywords, read
from napari_blindspot.errors import RunError
from napari_blindspot.stack import Stack, VoxelSize
from vendor_files import write_imaris

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image


@pytest.fixture
def viewer() -> ViewerModel:
    from npe2 import PluginManager

    PluginManager.instance().discover()
    return ViewerModel()


def _show(viewer: ViewerModel, stack: Stack) -> list[Image]:
    added = viewer.add_image(stack.data, **layer_keywords(stack))
    return added if isinstance(added, list) else [added]


def _stack(axes: str, shape: tuple[int, ...], **known: object) -> Stack:
    return Stack(da.zeros(shape, dtype=np.uint16), axes, name="cells", **known)


def test_voxel_size_units_and_axes_reach_the_layer(viewer: ViewerModel) -> None:
    stack = _stack(
        "ZYX",
        (4, 24, 32),
        voxel_size=VoxelSize(2.0, 0.5, 0.25),
        translation=(1.0, 2.0, 3.0),
    )
    (layer,) = _show(viewer, stack)
    np.testing.assert_array_equal(layer.scale, (2.0, 0.5, 0.25))
    np.testing.assert_array_equal(layer.translate, (1.0, 2.0, 3.0))
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert layer.axis_labels == ("z", "y", "x")
    assert isinstance(layer.data, da.Array)


def test_channels_become_layers_with_their_names(viewer: ViewerModel) -> None:
    stack = _stack(
        "TCYX", (3, 2, 24, 32), channel_names=("DAPI", "GFP"), time_step_s=30.0
    )
    layers = _show(viewer, stack)
    assert [layer.name for layer in layers] == ["cells DAPI", "cells GFP"]
    for layer in layers:
        assert layer.data.shape == (3, 24, 32)
        assert layer.axis_labels == ("t", "y", "x")
        np.testing.assert_array_equal(layer.scale, (30.0, 1.0, 1.0))
        assert [str(unit) for unit in layer.units] == ["second", "pixel", "pixel"]


def test_nameless_channels_are_numbered(viewer: ViewerModel) -> None:
    layers = _show(viewer, _stack("CYX", (2, 24, 32)))
    assert [layer.name for layer in layers] == ["cells channel 0", "cells channel 1"]


def test_several_files_at_once_are_left_to_napari() -> None:
    assert get_reader(["a.ome.tif", "b.ome.tif"]) is None
    assert get_reader("a.ome.tif") is read
    assert get_reader(["a.ome.tif"]) is read


def test_a_file_of_a_microscope_maker_opens_through_napari(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).poisson(50, (1, 2, 5, 24, 32)).astype(np.uint16)
    edges = ((0.0, 0.0, 0.0), (10.0, 12.0, 8.0))
    path = write_imaris(tmp_path / "cells.ims", values, edges, ("DAPI", "GFP"))
    first, second = viewer.open(path, plugin="napari-blindspot")
    assert (first.name, second.name) == ("cells DAPI", "cells GFP")
    np.testing.assert_allclose(first.scale, (2.0, 0.5, 0.25))
    np.testing.assert_array_equal(np.asarray(second.data), values[0, 1])


def test_ome_tiff_opens_through_napari_with_its_voxel_size(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    path = tmp_path / "cells.ome.tif"
    pixels = np.arange(4 * 24 * 32, dtype=np.uint16).reshape(4, 24, 32)
    sizes = {"PhysicalSizeZ": 2.0, "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}
    units = {f"{key}Unit": "µm" for key in sizes}
    tifffile.imwrite(path, pixels, metadata={"axes": "ZYX", **sizes, **units})
    (layer,) = viewer.open(path, plugin="napari-blindspot")
    np.testing.assert_array_equal(layer.scale, (2.0, 0.5, 0.25))
    np.testing.assert_array_equal(np.asarray(layer.data), pixels)


def test_plain_tiff_still_opens_without_naming_a_plugin(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((24, 32), np.uint16))
    (layer,) = viewer.open(path)
    assert layer.data.shape == (24, 32)


def test_sample_opens_noisy_over_truth_in_the_same_place(viewer: ViewerModel) -> None:
    truth, noisy = viewer.open_sample("napari-blindspot", "nuclei", shape=(4, 64, 64))
    assert (truth.name, noisy.name) == ("nuclei truth", "nuclei noisy")
    np.testing.assert_array_equal(noisy.scale, truth.scale)
    assert noisy.units == truth.units
    assert noisy.contrast_limits == truth.contrast_limits
    assert noisy.dtype == np.uint16
    assert not truth.visible
    assert set(noisy.metadata["camera"]) == {"gain", "offset", "read_noise"}


def test_cells3d_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> None:
        raise RunError("The cells3d sample could not be downloaded.")

    monkeypatch.setattr("napari_blindspot.sample.cells3d_nuclei", offline)
    with pytest.raises(RunError, match="could not be downloaded"):
        samples.cells3d()


def test_cells3d_keeps_its_voxel_size(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((3, 8, 8), np.uint16)
    monkeypatch.setattr(
        "napari_blindspot.sample.cells3d_nuclei",
        lambda: (pixels, VoxelSize(0.29, 0.26, 0.26)),
    )
    ((data, keywords, kind),) = samples.cells3d()
    assert data is pixels
    assert keywords["scale"] == (0.29, 0.26, 0.26)
    assert kind == "image"
