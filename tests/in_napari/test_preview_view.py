"""Which part of a plane is looked at, and where it lies; no window is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_blindspot._napari.preview_canvas import Canvas
from napari_blindspot._napari.preview_view import (
    LARGEST,
    axes_of,
    is_cut,
    lying_at,
    place_in_view,
    with_axes,
)
from napari_blindspot.inference.blending import blended
from napari_blindspot.inference.places import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILTED = [[2, 0, 0, 5], [0, 1, 0.2, 0], [0, -0.2, 1, 3], [0, 0, 0, 1]]


def part(z: int, y: tuple[int, int], x: tuple[int, int]) -> Place:
    return Place(0, 0, z, slice(*y), slice(*x))


@pytest.mark.parametrize(
    "geometry",
    [
        {"scale": (3, 0.5, 0.25), "translate": (7, -2, 40)},
        {"affine": np.array(TILTED), "scale": (1, 2, 2)},
        {
            "rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]],
            "scale": (2, 3, 3),
        },
        {"shear": (0, 0, 0.3), "scale": (1, 2, 1), "translate": (0, 5, 5)},
    ],
    ids=lambda geometry: next(iter(geometry)),
)
def test_a_part_lies_where_it_is_in_its_layer(geometry: dict[str, Any]) -> None:
    source = Image(np.zeros((4, 24, 32)), **geometry)
    place = part(2, (5, 20), (8, 24))
    image = Image(np.zeros((1, 15, 16)), **lying_at(source, "ZYX", place))
    for row, column in ((0, 0), (14, 0), (3, 15)):
        np.testing.assert_allclose(
            image.data_to_world((0, row, column)),
            source.data_to_world((2, 5 + row, 8 + column)),
        )


@pytest.mark.parametrize(
    ("letters", "shape"),
    [
        ("YX", (3, 5)),
        ("ZYX", (1, 3, 5)),
        ("XZY", (5, 1, 3)),
        ("TCZYX", (1, 1, 1, 3, 5)),
    ],
)
def test_a_plane_gets_the_axes_of_its_layer_without_a_copy(
    letters: str, shape: tuple[int, ...]
) -> None:
    plane = np.arange(15, dtype=np.float32).reshape(3, 5)
    found = with_axes(plane, letters)
    assert found.shape == shape
    plane[1, 2] = 99
    assert found.max() == 99


def look_at(data: Any, **keywords: Any) -> tuple[ViewerModel, Image, str]:
    viewer = ViewerModel()
    layer = viewer.add_image(data, **keywords)
    return viewer, layer, axes_of(layer)


def test_a_small_plane_is_looked_at_whole() -> None:
    viewer, layer, letters = look_at(np.zeros((4, 24, 32)), scale=(3, 1, 1))
    layer.corner_pixels = np.array([[0, 4, 4], [0, 9, 9]])
    viewer.dims.set_point(0, 6)
    assert place_in_view(viewer, layer, letters) == part(2, (0, 24), (0, 32))


def test_the_plane_is_that_of_time_channel_and_depth() -> None:
    viewer, layer, letters = look_at(np.zeros((2, 3, 4, 8, 8)))
    viewer.dims.set_current_step((0, 1, 2), (1, 2, 3))
    place = place_in_view(viewer, layer, letters)
    assert place is not None
    assert (place.t, place.channel, place.z) == (1, 2, 3)


def test_where_the_layer_has_no_plane_there_is_nothing_to_look_at() -> None:
    viewer, layer, letters = look_at(np.zeros((4, 8, 8)))
    viewer.add_image(np.zeros((9, 8, 8)))
    viewer.dims.set_current_step(0, 7)
    assert place_in_view(viewer, layer, letters) is None


def test_of_a_large_plane_what_is_in_view_is_looked_at() -> None:
    viewer, layer, letters = look_at(np.zeros((2000, 2000), np.uint8))
    layer.corner_pixels = np.array([[100, 700], [420, 1999]])
    place = place_in_view(viewer, layer, letters)
    assert place is not None
    assert (place.y, place.x) == (slice(64, 448), slice(640, 2000))
    assert not is_cut(layer, letters, place)


def test_a_view_that_is_too_large_is_cut_around_its_middle() -> None:
    viewer, layer, letters = look_at(np.zeros((3000, 3000), np.uint8), scale=(2, 2))
    layer.corner_pixels = np.array([[0, 0], [2999, 2999]])
    viewer.scene.camera.center = (2 * 600, 2 * 2900)
    place = place_in_view(viewer, layer, letters)
    assert place is not None
    assert place.shape[0] * place.shape[1] <= LARGEST
    assert place.y.start <= 600 - 400
    assert place.y.stop >= 600 + 400
    assert place.x == slice(3000 - 1024, 3000)
    assert is_cut(layer, letters, place)


def test_of_a_pyramid_the_finest_pixels_are_looked_at() -> None:
    levels = [np.zeros((4096 >> n, 4096 >> n), np.uint8) for n in range(3)]
    viewer, layer, letters = look_at(levels)
    layer.data_level = 2
    layer.corner_pixels = np.array([[100, 200], [299, 399]])
    place = place_in_view(viewer, layer, letters)
    assert place is not None
    assert (place.y, place.x) == (slice(384, 1216), slice(768, 1600))


@pytest.fixture
def planes(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    noisy, denoised = rng.random((2, 6, 8), dtype=np.float32)
    return noisy, denoised


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_canvas_blends_as_a_run_does(
    planes: tuple[NDArray[np.float32], NDArray[np.float32]], strength: float
) -> None:
    noisy, denoised = planes
    canvas = Canvas(part(0, (0, 6), (0, 8)), noisy)
    canvas.put(part(0, (0, 6), (0, 8)), denoised, 1.0)
    canvas.blend(strength)
    expected, _ = blended(denoised, np.zeros_like(denoised), noisy, strength)
    np.testing.assert_allclose(canvas.shown, expected, rtol=1e-6)
    if strength in (0, 1):
        np.testing.assert_array_equal(canvas.shown, denoised if strength else noisy)


def test_the_canvas_is_noisy_where_nothing_came_yet(
    planes: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    noisy, denoised = planes
    canvas = Canvas(part(0, (10, 16), (20, 28)), noisy)
    canvas.put(part(0, (12, 16), (20, 24)), denoised[2:, :4], 1.0)
    np.testing.assert_array_equal(canvas.shown[2:, :4], denoised[2:, :4])
    np.testing.assert_array_equal(canvas.shown[:2], noisy[:2])
    np.testing.assert_array_equal(canvas.shown[:, 4:], noisy[:, 4:])


@pytest.mark.parametrize("same", [True, False], ids=["same place", "other place"])
def test_a_canvas_begins_with_what_was_shown_of_its_place(
    planes: tuple[NDArray[np.float32], NDArray[np.float32]], same: bool
) -> None:
    noisy, denoised = planes
    place = part(0, (0, 6), (0, 8))
    before = Canvas(place, noisy)
    before.put(place, denoised, 1.0)
    after = Canvas(place if same else part(1, (0, 6), (0, 8)), noisy, before)
    after.blend(1.0)
    np.testing.assert_array_equal(after.shown, denoised if same else noisy)
