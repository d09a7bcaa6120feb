"""Strength: a blend of the denoised and the noisy image that is honest about it."""

from __future__ import annotations

import numpy as np
import pytest

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.errors import InputError

MODELS = {
    "teacher": random_teacher(),
    "mean alone": random_teacher(answer="mean"),
    "student": random_student(),
}


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    return (1000 * rng.random((3, 30, 26)) + 1 / 3).astype(np.float32)


@pytest.mark.parametrize("kind", MODELS)
def test_strength_zero_gives_the_very_image_back(kind: str, values: np.ndarray) -> None:
    result = nb.predict(MODELS[kind], values, strength=0)
    assert np.array_equal(result.image, values)


def test_strength_zero_gives_integers_back_in_their_dtype() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (3, 30, 26)).astype(np.uint16)
    result = nb.predict(MODELS["student"], values, strength=0, dtype="same")
    assert result.image.dtype == np.uint16
    assert np.array_equal(result.image, values)


def test_strength_zero_gives_joint_channels_back(rng: np.random.Generator) -> None:
    values = rng.random((2, 3, 22, 22), np.float32)
    for model in (random_teacher(channels=2), random_student(channels=2)):
        result = nb.predict(model, values, axes="CZYX", strength=0)
        assert np.array_equal(result.image, values)


@pytest.mark.parametrize("kind", MODELS)
def test_half_the_strength_is_half_way(kind: str, values: np.ndarray) -> None:
    full, half = (
        nb.predict(MODELS[kind], values, strength=s).image for s in (1.0, 0.5)
    )
    assert np.abs(full - values).max() > 10
    np.testing.assert_allclose(half, (full + values) / 2, rtol=1e-5, atol=1e-3)


def test_what_is_put_back_of_the_noise_is_part_of_the_uncertainty(
    values: np.ndarray,
) -> None:
    model = MODELS["teacher"]
    full, half = (
        nb.predict(model, values, strength=s, uncertainty=True) for s in (1.0, 0.5)
    )
    expected = np.hypot(full.uncertainty, half.image - full.image)
    np.testing.assert_allclose(half.uncertainty, expected, rtol=1e-4, atol=1e-4)
    assert np.mean(half.uncertainty) > np.mean(full.uncertainty)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", MODELS)
def test_missing_and_infinite_voxels_are_missing_in_every_blend(
    kind: str, strength: float, values: np.ndarray
) -> None:
    values[1, 4:8, 5:9] = np.nan
    values[2, 3, 3], values[0, 9, 9] = np.inf, -np.inf
    result = nb.predict(MODELS[kind], values, strength=strength)
    assert np.array_equal(np.isnan(result.image), ~np.isfinite(values))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), float("inf"), "half"])
def test_other_strengths_are_refused(strength: object, values: np.ndarray) -> None:
    with pytest.raises(InputError, match="strength="):
        nb.predict(MODELS["student"], values, strength=strength)
