"""Crops, held-out blocks and noise of several channels at the same place."""

from __future__ import annotations

import numpy as np
import pytest

from napari_blindspot.config import Recipe
from napari_blindspot.io import open_stack
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.training.sampling import CropSampler, Place, Source
from napari_blindspot.training.sampling_joint import (
    JointBatch,
    JointSampler,
    make_sampler,
)
from napari_blindspot.training.varying import augment


def joint_sampler(
    values: np.ndarray, fields: list[NoiseField] | None = None, **recipe: object
) -> JointSampler:
    """Sources of (C, T, Z, Y, X) values: two series in each channel."""
    stack = open_stack(values, axes="CTZYX")
    series = plane_series(stack, "z")
    fields = fields or [NoiseField(Affine(0.1 * c, 1.0 + c, 1e-3)) for c in range(3)]
    sources = [
        Source(one, Normalization(0.0, 1.0), fields[one.channel], 90.0)
        for one in series
    ]
    network = {"context": 1, "channels": 3, "width": 4, "depth": 1}
    made = make_sampler(
        sources, Recipe.model_validate({"network": network, "crop": 16, **recipe}), 2, 0
    )
    assert isinstance(made, JointSampler)
    return made


@pytest.fixture
def coded() -> np.ndarray:
    """Values that tell channel and place: the channel is the digit before the dot."""
    place = np.arange(2 * 4 * 40 * 36).reshape(2, 4, 40, 36) / 1e5
    return np.float32(np.stack([c + place for c in range(3)]))


def test_crops_of_all_channels_come_from_one_place(coded: np.ndarray) -> None:
    batch = joint_sampler(coded).draw(24)
    assert isinstance(batch, JointBatch)
    assert batch.planes.shape == (24, 3, 3, 16, 16)
    where = batch.planes - np.arange(3, dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(where, where[:, :, :1] + 0 * where, atol=1e-6)
    assert batch.maps.shape == (24, 9, 16, 16)
    np.testing.assert_array_equal(batch.maps[:, 4], batch.planes[:, 1, 1])
    assert batch.likelihood.b.shape == (24, 1, 1, 3)
    np.testing.assert_array_equal(batch.likelihood.b[0, 0, 0], [1, 2, 3])
    series = {float(np.floor(1e5 * p / (4 * 40 * 36))) for p in where[:, 1, 0, 0, 0]}
    assert series == {0, 1}


def test_turned_crops_keep_their_channels(
    coded: np.ndarray, rng: np.random.Generator
) -> None:
    batch = joint_sampler(coded).draw(2)
    forms = set()
    for _ in range(60):
        turned = augment(batch, rng)
        assert isinstance(turned, JointBatch)
        channels = np.floor(turned.planes + 1e-6)
        np.testing.assert_array_equal(channels, np.floor(batch.planes + 1e-6))
        forms.add(turned.planes.tobytes())
    assert len(forms) == 16


def test_a_voxel_counts_where_all_channels_can_be_used(coded: np.ndarray) -> None:
    coded[1, :, :, :20] = np.nan
    coded[2, :, :, :, 18:] = 99.0  # saturated
    sampler = joint_sampler(coded, holdout=0.0)
    for _ in range(8):
        batch = sampler.draw(8)
        visible = (batch.planes[:, 1, 2] < 90) & (batch.planes[:, 1, 1] != 0)
        np.testing.assert_array_equal(batch.target > 0, visible)


def test_held_out_blocks_are_shared_by_the_channels(coded: np.ndarray) -> None:
    sampler = joint_sampler(coded, holdout=0.3, holdout_block=8)
    for plane in range(4):
        windows = [sampler.window(Place(3 + c, plane, 0, 0), 40) for c in range(3)]
        assert 0 < windows[0].held_out.mean() < 1
        for c, window in enumerate(windows):
            np.testing.assert_array_equal(window.held_out, windows[0].held_out)
            np.testing.assert_array_equal(window.maps, windows[0].maps)
            np.testing.assert_array_equal(window.y, coded[c, 1, plane])
            assert window.noise.b == 1 + c


def test_noise_of_planes_and_pixels_follows_its_channel(coded: np.ndarray) -> None:
    extra = np.arange(40 * 36, dtype=np.float32).reshape(40, 36)
    levels = np.array([1.0, 2.0, 3.0, 4.0])
    fields = [
        NoiseField(Affine(0.0, 1.0, 1e-3)),
        NoiseField(Affine(0.0, 1.0, 1e-3), levels=levels),
        NoiseField(Affine(0.0, 1.0, 1e-3), extra=extra),
    ]
    batch = joint_sampler(coded, fields).draw(16)
    b = batch.likelihood.b
    assert b.shape == (16, 16, 16, 3)
    assert (b[..., 0] == 1).all()
    index = np.rint(1e5 * batch.planes[:, 1, 0].astype(np.float64)).astype(int)
    np.testing.assert_array_equal(b[..., 1], levels[index // (40 * 36) % 4])
    np.testing.assert_array_equal(b[..., 2], 1 + index % (40 * 36))


def test_one_channel_at_a_time_has_the_plain_sampler(coded: np.ndarray) -> None:
    series = plane_series(open_stack(coded, axes="CTZYX"), "z")
    noise = NoiseField(Affine(0.0, 1.0, 1e-3))
    sources = [Source(one, Normalization(0.0, 1.0), noise) for one in series]
    assert type(make_sampler(sources, Recipe(), 2, 0)) is CropSampler
