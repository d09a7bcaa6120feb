from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_blindspot._napari.layers import (
    add_layers,
    check_memory,
    result_layers,
    source_of,
    verdict,
)
from napari_blindspot.config import DenoiseSettings
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack

if TYPE_CHECKING:
    from typing import Any


def _noise(gain: float = 2.0) -> SimpleNamespace:
    return SimpleNamespace(as_dict=lambda: {"gain": gain, "offset": 100.0})


def _result(image: object, **changes: object) -> SimpleNamespace:
    given = {
        "uncertainty": None,
        "noise": (_noise(),),
        "metrics": {"expected_psnr": 30.0},
        "path": None,
        "provenance": {"method": "bayesian"},
        **changes,
    }
    return SimpleNamespace(image=image, **given)


@pytest.fixture
def layer() -> Image:
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotate = np.eye(3)
    rotate[1:, 1:] = turn
    return Image(
        np.random.default_rng(0).poisson(50, (4, 24, 32)).astype(np.uint16),
        name="cells",
        scale=(2.0, 0.5, 0.25),
        translate=(10.0, 20.0, 30.0),
        rotate=rotate,
        shear=(0.0, 0.0, 0.1),
        affine=np.diag([1.0, 2.0, 1.0, 1.0]),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        colormap="green",
        contrast_limits=(20, 90),
        gamma=0.7,
        blending="additive",
        opacity=0.8,
        metadata={"mine": 1},
    )


def test_result_lies_on_its_source_and_looks_alike(layer: Image) -> None:
    viewer = ViewerModel()
    (added,) = add_layers(
        viewer,
        result_layers(
            _result(np.zeros(layer.data.shape, np.float32)), source_of(layer)
        ),
    )
    assert added.name == "cells denoised"
    assert added.units == layer.units
    assert added.axis_labels == layer.axis_labels
    for key in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(added, key), getattr(layer, key))
    np.testing.assert_allclose(added.affine.affine_matrix, layer.affine.affine_matrix)
    corners = [[0, 0, 0], [3, 23, 31]]
    for corner in corners:
        np.testing.assert_allclose(
            added.data_to_world(corner), layer.data_to_world(corner)
        )
    assert added.colormap.name == "green"
    assert added.contrast_limits == [20, 90]
    assert added.gamma == 0.7
    assert added.blending == "additive"
    assert added.opacity == 0.8


def test_provenance_is_in_the_metadata_and_the_source_is_untouched(
    layer: Image,
) -> None:
    described = result_layers(_result(np.zeros((4, 24, 32))), source_of(layer))
    metadata = described[0][1]["metadata"]
    assert metadata["napari_blindspot"] == {
        "source": "cells",
        "path": None,
        "noise": [{"gain": 2.0, "offset": 100.0}],
        "metrics": {"expected_psnr": 30.0},
        "provenance": {"method": "bayesian"},
    }
    assert layer.metadata == {"mine": 1}


def test_uncertainty_has_limits_of_its_own(layer: Image) -> None:
    uncertainty = np.full(layer.data.shape, 4.0, np.float32)
    uncertainty[0] = np.nan
    described = result_layers(
        _result(np.zeros((4, 24, 32)), uncertainty=uncertainty), source_of(layer)
    )
    data, keywords, kind = described[0]
    assert keywords["name"] == "cells uncertainty"
    assert keywords["colormap"] == "magma"
    assert keywords["contrast_limits"] == (0.0, 4.0)
    np.testing.assert_array_equal(keywords["scale"], layer.scale)
    assert kind == "image"
    assert data is not described[1][0]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_uncertainty_without_contrast_can_still_be_shown(
    layer: Image, value: float
) -> None:
    flat = np.full(layer.data.shape, value, np.float32)
    described = result_layers(_result(flat, uncertainty=flat), source_of(layer))
    assert described[0][1]["contrast_limits"] == (0.0, 1.0)


@pytest.mark.parametrize("named_by", ["letters", "words", "argument"])
def test_result_in_canonical_order_is_turned_back_onto_its_source(
    named_by: str,
) -> None:
    data = np.random.default_rng(0).random((5, 6, 3, 4)).astype(np.float32)
    labels = {
        "letters": ("x", "y", "c", "t"),
        "words": ("x", "y", "channel", "time"),
        "argument": None,
    }[named_by]
    layer = Image(data, scale=(1, 2, 3, 4), axis_labels=labels)
    axes = "XYCT" if named_by == "argument" else None
    canonical = data.transpose(3, 2, 1, 0)
    ((turned, keywords, _),) = result_layers(_result(canonical), source_of(layer, axes))
    np.testing.assert_array_equal(turned, data)
    np.testing.assert_array_equal(keywords["scale"], layer.scale)


def test_result_of_a_layer_without_labels_lies_on_it_as_its_axes_were_guessed() -> None:
    # What napari makes of a TZCYX file: no labels, and the third axis is the channel.
    data = np.random.default_rng(0).random((3, 11, 2, 16, 17)).astype(np.float32)
    layer = Image(data)
    stack = open_stack(layer)
    assert stack.axes == "TCZYX"
    result = _result(np.asarray(stack.data))
    ((turned, keywords, _),) = result_layers(result, source_of(layer))
    np.testing.assert_array_equal(turned, data)
    np.testing.assert_array_equal(keywords["scale"], layer.scale)


def test_a_result_of_other_dimensions_is_shown_all_the_same(layer: Image) -> None:
    viewer = ViewerModel()
    described = result_layers(_result(np.zeros((24, 32))), source_of(layer))
    (added,) = add_layers(viewer, described)
    assert added.data.shape == (24, 32)


def test_a_lazy_result_stays_lazy_and_is_not_cached(layer: Image) -> None:
    lazy = da.zeros((4, 24, 32), chunks=(1, 24, 32), dtype=np.float32)
    ((data, keywords, _),) = result_layers(_result(lazy), source_of(layer))
    assert isinstance(data, da.Array)
    assert keywords["cache"] is False
    (added,) = add_layers(ViewerModel(), [(data, keywords, "image")])
    assert isinstance(added.data, da.Array)


def test_a_multiscale_source_counts_with_its_finest_level() -> None:
    data = np.zeros((4, 64, 64), np.uint16)
    layer = Image([data, data[:, ::2, ::2]], multiscale=True)
    assert source_of(layer).shape == (4, 64, 64)


@pytest.mark.parametrize(
    ("settings", "bytes_per_voxel"),
    [
        ({}, 4),
        ({"uncertainty": True}, 8),
        ({"dtype": "same"}, 2),
        ({"dtype": "same", "uncertainty": True}, 6),
    ],
)
def test_a_result_may_take_a_quarter_of_the_free_memory(
    layer: Image, settings: dict[str, Any], bytes_per_voxel: int
) -> None:
    enough = layer.data.size * bytes_per_voxel * 4
    check_memory(source_of(layer), DenoiseSettings(**settings), enough)
    with pytest.raises(InputError, match="quarter"):
        check_memory(source_of(layer), DenoiseSettings(**settings), enough - 8)


def test_verdict_says_how_good_and_how_long() -> None:
    metrics = {"expected_psnr": 30.04, "seconds_train": 200, "seconds_predict": 3.2}
    said = verdict(_result(None, metrics=metrics))
    assert said == "Expected PSNR 30.0 dB, trained in 3 min, denoised in 3 s"


def test_verdict_leaves_out_what_is_not_known() -> None:
    metrics = {"expected_psnr": None, "seconds_train": 0.0, "seconds_predict": 3.2}
    assert verdict(_result(None, metrics=metrics)) == "denoised in 3 s"
