"""Factors on the prior variance, found again in residuals that were made with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blindspot.methods.bayesian import posterior
from napari_blindspot.networks.blindspot import Prior
from napari_blindspot.noise.likelihood import Affine, PhotonCounting
from napari_blindspot.noise.recalibration import (
    Recalibration,
    Residuals,
    recalibrate,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def simulate(
    rng: np.random.Generator,
    count: int,
    *,
    prior_factor: Any = 1.0,
    noise_factor: Any = 1.0,
    share: float = 1.0,
    off: Any = 0.0,
) -> Residuals:
    """Make residuals of a network that promised a variance and meant another.

    `share` is the noise variance over the promised prior variance, `off` how far the
    clean values lie from the prior mean on average.
    """
    mean = rng.uniform(0, 1, count)
    promised = 0.01 * (1 + mean)
    noise = share * promised
    prior_factor, noise_factor, off = (
        factor(mean) if callable(factor) else factor
        for factor in (prior_factor, noise_factor, off)
    )
    spread = promised * prior_factor + noise * noise_factor
    y = mean + off + rng.normal(size=count) * np.sqrt(spread)
    columns = (x.astype(np.float32) for x in (y, mean, promised, noise))
    return Residuals(*columns, np.ones(count, bool))


def test_factors_are_found_in_every_bin(rng: np.random.Generator) -> None:
    def truth(mean: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.6 + 1.6 * mean

    found = recalibrate(simulate(rng, 1_200_000, prior_factor=truth), 0.002)
    means = np.array(found.means)
    assert len(means) == 12
    assert (np.diff(means) > 0).all()
    # Of each bin the mean factor, weighted by the variance that was promised.
    np.testing.assert_allclose(found.variance, truth(means), rtol=0.06)
    np.testing.assert_allclose(found.noise, 1, rtol=1e-6)
    assert 0 < found.error < 0.05


def test_a_mean_that_is_off_is_shifted_in_every_bin(rng: np.random.Generator) -> None:
    def truth(mean: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.04 * (mean - 0.3)

    seen = simulate(rng, 1_200_000, off=truth)
    found = recalibrate(seen, 0.002)
    means = np.array(found.means)
    np.testing.assert_allclose(found.shift, truth(means), atol=2e-3)
    # What was off does not count as uncertainty of the prior.
    np.testing.assert_allclose(found.variance, 1, atol=0.05)
    shifted = found.shifted(seen.mean.astype(np.float64))
    assert abs(np.mean(seen.y - shifted)) < 2e-4


def test_chance_shifts_no_mean(rng: np.random.Generator) -> None:
    seen = simulate(rng, 600_000)
    by_chance = max(abs(seen.differences[part].mean()) for part in seen.bins())
    found = recalibrate(seen, 0.002)
    assert np.abs(found.shift).max() < 0.6 * by_chance


def test_a_network_that_was_right_is_left_alone(rng: np.random.Generator) -> None:
    found = recalibrate(simulate(rng, 600_000), 0.002)
    np.testing.assert_allclose(found.variance, 1, atol=0.05)


@pytest.mark.parametrize(("count", "within"), [(300, 0.2), (3000, 0.45)])
def test_few_voxels_move_the_factor_little(count: int, within: float) -> None:
    # The noise is thirty times the prior variance: one bin tells hardly anything.
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = recalibrate(simulate(rng, count, share=30.0), 0.002)
        assert len(found.variance) == 1
        assert found.variance[0] == pytest.approx(1, abs=within)
        assert found.error > 0.2


def test_an_uncertain_noise_moves_the_factor_little(rng: np.random.Generator) -> None:
    seen = simulate(rng, 200_000, prior_factor=2.0, share=10.0)
    sure, unsure = (recalibrate(seen, error).variance for error in (0.002, 0.2))
    assert np.mean(sure) == pytest.approx(2, abs=0.25)
    assert np.mean(unsure) == pytest.approx(1, abs=0.15)


def test_factors_are_never_negative_nor_wild(rng: np.random.Generator) -> None:
    for factor in (0.1, 8.0):  # of the noise: over-estimated, under-estimated
        seen = simulate(rng, 300_000, noise_factor=factor, share=10.0)
        found = recalibrate(seen, 0.002)
        assert all(0.2 <= one <= 4.0 for one in found.variance)
        assert np.isfinite(found.error)


def test_noise_that_was_found_too_small_is_raised_and_the_prior_gives_back(
    rng: np.random.Generator,
) -> None:
    def larger(mean: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(mean > 0.5, 2.0, 1.0)

    seen = simulate(rng, 1_200_000, noise_factor=larger, share=3.0)
    blind = recalibrate(seen, 0.002)
    assert min(blind.variance[-5:]) > 3  # takes the missing noise for signal
    told = recalibrate(seen, 0.002, larger(seen.mean))
    np.testing.assert_allclose(told.variance, 1, atol=0.1)
    np.testing.assert_allclose(told.noise[:5], 1, atol=1e-6)
    np.testing.assert_allclose(told.noise[-5:], 2, atol=1e-6)


knots = st.lists(
    st.tuples(st.floats(-2, 2), st.floats(0.2, 4)), min_size=1, max_size=12
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(knots)
def test_factors_between_knots_are_those_of_numpy(
    pairs: list[tuple[float, float]],
) -> None:
    rising = sorted({round(mean, 3): factor for mean, factor in pairs}.items())
    means, factors = zip(*rising, strict=True)
    one = Recalibration(means, factors, factors[::-1])
    x = np.linspace(-3, 3, 61).reshape(1, 61, 1)
    expected = np.interp(x, means, factors)
    np.testing.assert_allclose(one.variance_factor(x), expected, atol=1e-9)
    single = torch.from_numpy(x.astype(np.float32))
    found = one.variance_factor(single)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-3)
    np.testing.assert_allclose(
        one.noise_factor(x), np.interp(x, means, factors[::-1]), atol=1e-9
    )


def test_knots_that_coincide_give_no_gaps() -> None:
    one = Recalibration((0.0, 0.5, 0.5, 1.0), (1.0, 2.0, 3.0, 4.0), (1.0,) * 4)
    for x in (np.linspace(-1, 2, 31), torch.linspace(-1, 2, 31)):
        factor = np.asarray(one.variance_factor(x))
        assert np.isfinite(factor).all()
        assert ((factor >= 1) & (factor <= 4)).all()
    same = Residuals(*np.ones((4, 400_000), np.float32), np.ones(400_000, bool))
    made = recalibrate(same, 0.002)
    assert np.isfinite(made.variance_factor(np.array([0.0, 1.0, 2.0]))).all()


def test_it_survives_json_and_refuses_what_does_not_fit() -> None:
    one = Recalibration((0.1, 0.7), (1.5, 0.8), (1.0, 1.25), 0.03, (0.01, -0.02))
    assert Recalibration.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    for facts in ({"variance": [1.0]}, {"means": [], "variance": [], "noise": []}):
        with pytest.raises(ValueError, match="as many factors as means"):
            Recalibration.from_dict({**one.as_dict(), **facts})
    with pytest.raises(ValueError, match="as many shifts as means"):
        Recalibration.from_dict({**one.as_dict(), "shift": [0.01]})
    earlier = {k: v for k, v in one.as_dict().items() if k != "shift"}
    assert Recalibration.from_dict(earlier).shifted(0.3) == 0.3


def test_without_values_the_posterior_is_the_shifted_prior(
    rng: np.random.Generator,
) -> None:
    y, mean = (torch.from_numpy(rng.random((1, 8, 8))) for _ in range(2))
    prior = Prior(mean, torch.full((1, 8, 8), 0.04, dtype=torch.float64))
    found = Recalibration((0.0,), (2.0,), (3.0,), shift=(0.05,)).without_values()
    answer, std = posterior(y, prior, Affine(0.0, 0.1, 0.01), found)
    torch.testing.assert_close(answer, mean + 0.05, rtol=0, atol=1e-5)
    torch.testing.assert_close(std, torch.full_like(std, 0.08**0.5), rtol=1e-4, atol=0)


@pytest.mark.parametrize("family", [Affine, PhotonCounting])
def test_without_values_no_family_moves_the_prior(family: type[Affine]) -> None:
    flat = torch.full((1, 8, 8), 0.1, dtype=torch.float64)
    mean = torch.full_like(flat, 2.0)
    blind = Recalibration((0.0,), (1.0,), (1.0,)).without_values()
    answer, std = posterior(3 * mean, Prior(mean, flat), family(0.5, 0.2, 0.05), blind)
    torch.testing.assert_close(answer, mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(std**2, flat, rtol=1e-3, atol=0)


def test_for_another_hole_what_is_known_of_the_noise_is_kept() -> None:
    known = Recalibration((0.1, 0.7), (1.5, 0.8), (1.0, 1.25), 0.03, (0.01, -0.02))
    kept = known.of_noise_alone()
    assert kept.noise == known.noise
    assert kept.variance == (1.0, 1.0)
    assert kept.shifted(0.3) == 0.3
    assert kept.error > 1


def test_the_posterior_is_that_of_the_corrected_prior_and_noise(
    rng: np.random.Generator,
) -> None:
    y, mean = (torch.from_numpy(rng.random((1, 8, 8))) for _ in range(2))
    flat = torch.full((1, 8, 8), 0.04, dtype=torch.float64)
    noise = Affine(0.0, 0.1, 0.01)
    twice = Recalibration((0.0,), (2.0,), (3.0,), shift=(0.05,))
    found = posterior(y, Prior(mean, flat), noise, twice)
    expected = posterior(y, Prior(mean + 0.05, 2 * flat), Affine(0.0, 0.3, 0.03))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
