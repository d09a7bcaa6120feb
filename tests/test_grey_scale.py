"""A model is refused for a copy of its stack on another scale of grey values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.errors import InputError
from napari_blindspot.inference.grey_scale import refuse_other_scale
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import fit_normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.sample import Phantom


@pytest.fixture
def model(phantom: Phantom) -> Model:
    """A teacher that knows scale and camera of the phantom."""
    noise = PoissonGaussian.from_camera(
        phantom.gain, phantom.offset, phantom.read_noise
    )
    return replace(
        random_teacher(),
        scales=(fit_normalization(phantom.noisy),),
        noise=(noise,),
        provenance={"sources": [nb.open_stack(phantom.noisy, axes="ZYX").identity]},
    )


COPIES = {
    "few grey values": lambda y: (y / 16).round().astype(np.uint8),
    "0 to 1": lambda y: (y / np.float32(65535)).astype(np.float32),
    "stretched": lambda y: 400 * y.astype(np.float32),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_on_another_scale_is_refused_with_both_sides(
    name: str, phantom: Phantom, model: Model
) -> None:
    values = phantom.noisy.astype(np.float32)
    copy = COPIES[name](values)
    with pytest.raises(InputError, match="the model was trained on grey values from"):
        nb.predict(model, copy, axes="ZYX")
    with pytest.raises(InputError, match="it is on another scale"):
        nb.preview(copy, model, "z=3", axes="ZYX")
    with pytest.raises(InputError, match="give the stack as it was recorded"):
        nb.distill(model, copy, axes="ZYX", steps=1)


def test_what_a_model_was_trained_on_is_not_held_against_it(
    phantom: Phantom, model: Model
) -> None:
    copy = COPIES["0 to 1"](phantom.noisy.astype(np.float32))
    own = {"sources": [nb.open_stack(copy, axes="ZYX").identity]}
    for provenance in (own, {}):  # without a history it is still in training
        trusted = replace(model, provenance=provenance)
        assert nb.preview(copy, trusted, "z=3", axes="ZYX").shape == copy.shape[1:]
        assert nb.predict(trusted, copy, axes="ZYX").image.shape == copy.shape


def test_a_copy_is_told_by_its_noise_where_the_camera_has_no_offset(
    phantom: Phantom, model: Model
) -> None:
    noise = PoissonGaussian.from_camera(phantom.gain, 0.0, phantom.read_noise)
    values = phantom.noisy.astype(np.float32) - np.float32(phantom.offset)
    model = replace(model, scales=(fit_normalization(values),), noise=(noise,))
    refuse_other_scale(model, 0, values[3], "itself")
    with pytest.raises(InputError, match="expects noise of"):
        refuse_other_scale(model, 0, values[3] / 40, "copy")
    # Differences of neighbours do not show noise that they share.
    shared = replace(model, hole=(1, 1, 5))
    refuse_other_scale(shared, 0, values[3] / 40, "copy")


def dark(phantom: Phantom) -> NDArray[np.generic]:
    """A stack of the same camera in which there is nothing."""
    rng = np.random.default_rng(0)
    electrons = rng.normal(0, phantom.read_noise, phantom.noisy.shape)
    return (phantom.offset + phantom.gain * electrons).astype(np.float32)


def bright(phantom: Phantom) -> NDArray[np.generic]:
    """A stack of the same camera with twenty times the light."""
    rng = np.random.default_rng(0)
    photons = 20 * (phantom.truth - phantom.offset) / phantom.gain
    electrons = rng.poisson(photons) + rng.normal(0, phantom.read_noise, photons.shape)
    return (phantom.offset + phantom.gain * electrons).astype(np.float32)


def test_a_model_of_bright_parts_is_taken_for_dark_ones(
    phantom: Phantom, model: Model
) -> None:
    values = bright(phantom)
    known = replace(model, scales=(fit_normalization(values[values > 500]),))
    for plane in dark(phantom):
        refuse_other_scale(known, 0, plane, "dark")


@pytest.mark.parametrize("record", [dark, bright])
def test_another_exposure_of_the_same_camera_is_taken(
    record: object, phantom: Phantom, model: Model
) -> None:
    assert callable(record)
    other = record(phantom)
    for plane in other:
        refuse_other_scale(model, 0, plane, "other")
    assert nb.preview(other, model, "z=3", axes="ZYX").shape == other.shape[1:]


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((8, 8), np.uint16),
        np.full((8, 8), np.nan, np.float32),
        np.ones((1, 400), np.uint8),
    ],
)
def test_a_plane_that_tells_nothing_is_taken(
    plane: NDArray[np.generic], model: Model
) -> None:
    refuse_other_scale(model, 0, plane, "nothing")
