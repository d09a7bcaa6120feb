"""What is looked at after training, and what follows where there is little to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from napari_blindspot.config import Recipe
from napari_blindspot.facts import other_correction
from napari_blindspot.noise.estimate import MeanVariance
from napari_blindspot.noise.field import NoiseField, joined
from napari_blindspot.noise.likelihood import Affine, PhotonCounting
from napari_blindspot.noise.models import Poisson
from napari_blindspot.noise.recalibration import Residuals, recalibrate
from napari_blindspot.noise.samples import plane_level
from napari_blindspot.noise.verdict import judge_noise, noise_shortfall
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from napari_blindspot.training.inspection import _run, _spread, inspect
from napari_blindspot.training.sampling import CropSampler, Source
from networks import random_network

CPU = torch.device("cpu")


def sampler(values: np.ndarray) -> CropSampler:
    series = plane_series(nb.open_stack(values, axes="ZYX"), "z")[0]
    noise = NoiseField(Affine(0.0, 4.0, 1.0))
    source = Source(series, Normalization(0.0, 1.0), noise)
    return CropSampler([source], 1, Recipe(crop=32), 4, 0)


def look(values: np.ndarray) -> Residuals:
    network = random_network(dtype=torch.float32)
    return inspect(network, sampler(values), [0], CPU, CancelToken()).residuals


@pytest.mark.parametrize("shape", [(3, 64, 80), (3, 300, 260), (20, 64, 64)])
def test_every_voxel_of_a_small_stack_is_looked_at_once(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> None:
    values = rng.permutation(np.arange(np.prod(shape), dtype=np.float32)) + 1
    seen = look(values.reshape(shape))
    assert sorted(seen.y) == sorted(values)


def test_no_window_comes_twice_and_the_run_is_consecutive() -> None:
    one = sampler(np.zeros((40, 600, 520), np.float32))
    windows = list(_spread(one, [0], 4_000_000))
    assert len(set(windows)) == len(windows)
    planes = [place.plane for place in _run(one, [0])]
    assert planes == list(range(planes[0], planes[0] + 8))


def test_a_stack_that_is_mostly_padding_is_looked_at_where_it_is_not(
    rng: np.random.Generator,
) -> None:
    values = np.zeros((6, 1024, 1024), np.float32)
    values[:, 770:, 770:] = rng.normal(50, 2, (6, 254, 254))
    assert look(values).y.size > 100_000


def test_nothing_to_look_at_is_a_verdict_and_no_crash() -> None:
    nothing = Residuals(*(np.empty(0, np.float32) for _ in range(4)), np.empty(0, bool))
    points = MeanVariance(*(np.ones(3) for _ in range(3)))
    verdict = judge_noise(nothing, Poisson.from_gain(1.0), points)
    assert not verdict.fits
    assert "could not be checked" in verdict.sentence


def test_photon_noise_that_vanishes_in_the_dark_gives_finite_factors(
    rng: np.random.Generator,
) -> None:
    mean = np.concatenate([np.full(20, 99.7), np.linspace(101, 200, 20)])
    points = MeanVariance(mean, np.maximum(mean - 100, 2.5), np.full(40, 5e3))
    model, scale = Poisson.from_gain(1.0, 100.0), Normalization(99.0, 100.0)
    mu = rng.uniform(0, 1, 20_000).astype(np.float32)
    n = np.maximum(mu - 0.01, 0.001) / 100
    y = mu + rng.normal(size=mu.size) * np.sqrt(1.1 * n)
    seen = Residuals(y, mu, 0.1 * n, n, np.ones(mu.size, bool))
    verdict = judge_noise(seen, model, points)
    assert "tenfold" in verdict.sentence
    factor = noise_shortfall(seen, model, points, scale)
    found = recalibrate(seen, 0.003, factor)
    assert np.isfinite([*found.variance, *found.noise, found.error]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_the_level_of_a_nearly_empty_plane_is_no_crash(
    dtype: Any, rng: np.random.Generator
) -> None:
    plane = rng.poisson(0.03, (200, 200)).astype(dtype)
    level, _ = plane_level(plane, Poisson.from_gain(1.0), float("inf"))
    assert np.isfinite(level)


def test_noises_of_two_families_are_not_mixed() -> None:
    one = np.ones((1, 1, 1), np.float32)
    with pytest.raises(TypeError, match="several families"):
        joined([PhotonCounting(one, one, one), Affine(one, one, one)])


def test_a_file_names_the_dark_stack_without_its_folder(
    tmp_path: Any, rng: np.random.Generator
) -> None:
    import tifffile

    dark = tmp_path / "secret" / "dark.tif"
    dark.parent.mkdir()
    tifffile.imwrite(dark, rng.poisson(4, (16, 48, 48)).astype(np.uint16) + 96)
    noisy = rng.poisson(20, (4, 48, 48)).astype(np.uint16) + 100
    result = nb.denoise(noisy, axes="ZYX", steps=1, dark=dark, threads=1)
    assert result.provenance["settings"]["dark"] == "dark.tif"
    assert "secret" not in str(result.provenance)
    told: list[str] = []
    nb.predict(
        result.model, noisy, axes="ZYX", on_progress=lambda e: told.append(e.message)
    )
    assert any("trained with other settings of dark" in one for one in told)


def test_a_model_without_its_settings_is_not_doubted() -> None:
    from napari_blindspot.config import PredictSettings
    from napari_blindspot.model import Model

    network = random_network(dtype=torch.float32)
    model = Model(network, (Normalization(0, 1),), (Poisson.from_gain(1.0),), "z")
    assert other_correction(model, PredictSettings()) == ""
