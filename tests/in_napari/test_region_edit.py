"""A drawn rectangle restricts what is denoised, and its result lies exactly there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Image, Shapes

from napari_blindspot._napari.region_edit import WHOLE, region_in
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from napari import Viewer
    from napari.utils.notifications import Notification
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel

BOX = np.array([[8, 16], [8, 63], [55, 63], [55, 16]], float)


def image(**more: Any) -> Image:
    return Image(np.zeros((6, 64, 80), np.uint16), name="cells", **more)


@pytest.mark.parametrize(
    ("corners", "region"),
    [
        pytest.param(BOX, "y=8:56,x=16:64", id="on-centres"),
        pytest.param(BOX + 0.4, "y=9:56,x=17:64", id="centres-inside-alone"),
        pytest.param(BOX - [20, 0], "y=0:36,x=16:64", id="cut-at-the-border"),
        pytest.param(
            np.column_stack([np.full(4, 3), BOX]), "y=8:56,x=16:64", id="on-a-plane"
        ),
        pytest.param(
            [[1, 9, 16], [1, 9, 63], [4, 9, 63], [4, 9, 16]], "z=1:5,x=16:64", id="zx"
        ),
    ],
)
def test_a_rectangle_is_a_box_of_voxels(corners: Any, region: str) -> None:
    corners = np.asarray(corners, float)
    shapes = Shapes([corners], ndim=corners.shape[1])
    assert region_in(shapes, shapes.data[0], image(), "ZYX") == region


def test_scales_and_places_of_both_layers_count() -> None:
    layer = image(scale=(2, 0.5, 0.25), translate=(10, 20, 30))
    corners = BOX * (0.5, 0.25) + (20, 30)  # where the voxels lie in the world
    for shapes in (
        Shapes([corners], ndim=2),
        Shapes([(corners - 5) / 3], ndim=2, scale=(3, 3), translate=(5, 5)),
    ):
        assert region_in(shapes, shapes.data[0], layer, "ZYX") == "y=8:56,x=16:64"


def test_a_layer_with_other_axes_names_them() -> None:
    shapes = Shapes([BOX], ndim=2)
    assert region_in(shapes, shapes.data[0], image(), "TXY") == "x=8:56,y=16:64"


@pytest.fixture
def drawn(open_panel: Callable[..., Any]) -> tuple[Viewer, DenoisePanel]:
    """A viewer with a stack that has a place and a scale, and its panel."""
    noisy = nuclei_phantom((6, 64, 80), seed=3).noisy
    keywords = {
        "name": "cells",
        "scale": (2, 0.5, 0.25),
        "translate": (10, 20, 30),
        "units": ("um",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    opened: tuple[Viewer, DenoisePanel] = open_panel((noisy, keywords))
    return opened


def draw(viewer: Viewer, *corners: Any, name: str = "part") -> Shapes:
    layer = viewer.layers["cells"]
    shapes: Shapes = viewer.add_shapes(
        list(corners),
        name=name,
        scale=layer.scale[1:],
        translate=layer.translate[1:],
        units=layer.units[1:],
    )
    return shapes


def test_the_choice_is_shown_where_there_is_something_to_choose(
    drawn: tuple[Viewer, DenoisePanel],
) -> None:
    viewer, panel = drawn
    assert panel.region.native.isHidden()
    draw(viewer, BOX)
    assert not panel.region.native.isHidden()
    assert panel.region.value == WHOLE
    panel.region.value = panel.region.choices[1]
    viewer.layers.remove("part")
    assert panel.region.native.isHidden()
    assert panel.region.value == WHOLE


def test_the_result_lies_exactly_on_the_rectangle(
    drawn: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    viewer, panel = drawn
    draw(viewer, BOX)
    source = viewer.layers["cells"]
    panel.layer.value = panel.layer.choices[0]
    panel.region.value = panel.region.choices[1]
    panel.set_options(steps=1, uncertainty=True, device="cpu", threads=1)
    failures: list[Exception] = []
    panel.failed.connect(failures.append)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    assert not failures
    for name in ("cells denoised", "cells uncertainty"):
        result = viewer.layers[name]
        assert result.data.shape == (6, 48, 48)
        np.testing.assert_allclose(result.scale, source.scale)
        for corner in ([0, 0, 0], [5, 47, 47]):
            at = np.add(corner, [0, 8, 16])
            np.testing.assert_allclose(
                result.data_to_world(corner), source.data_to_world(at)
            )
        assert result.units == source.units
    told = viewer.layers["cells denoised"].metadata["napari_blindspot"]["provenance"]
    assert told["settings"]["region"] == "y=8:56,x=16:64"
    assert told["model"]["sources"][0]["shape"] == [6, 48, 48]


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        pytest.param([], "holds 0 shapes", id="none"),
        pytest.param([BOX, BOX + 4], "2 shapes, of which 0 are selected", id="two"),
        pytest.param([BOX + 500], "lies outside of 'cells' along y", id="outside"),
        pytest.param([BOX / 500], "is smaller than a voxel of 'cells'", id="small"),
    ],
)
def test_a_choice_that_means_no_rectangle_is_told(
    drawn: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    notes: list[Notification],
    boxes: list[Any],
    sentence: str,
) -> None:
    viewer, panel = drawn
    shapes = draw(viewer, *boxes)
    shapes.selected_data = set()
    panel.region.value = panel.region.choices[1]
    panel.run()
    assert sentence in notes[-1].message
    assert not core.calls


def test_of_several_the_selected_one_counts_also_for_the_noise(
    drawn: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, panel = drawn
    shapes = draw(viewer, BOX, BOX[:, ::-1] / 2)
    shapes.selected_data = {0}
    panel.region.value = panel.region.choices[1]
    core.error = RuntimeError("far enough")
    finish(panel)
    assert core.calls[0][1].region == "y=8:56,x=16:64"
    seen = []
    monkeypatch.setattr(
        "napari_blindspot._napari.noise_tab.diagnose_layer",
        lambda layer, settings, token: seen.append(settings.region) or iter(()),
    )
    panel.noise_tab._job(panel.noise_tab)
    assert seen == ["y=8:56,x=16:64"]
