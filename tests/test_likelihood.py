"""What every family of noise must keep, whatever the numbers; numpy and torch alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from napari_blindspot.noise.likelihood import (
    Affine,
    Impulse,
    PhotonCounting,
    mapped,
    raised,
    scaled,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.noise.likelihood import Likelihood

MANY = settings(deadline=None, derandomize=True, max_examples=200)
value = st.floats(-50, 50)
count = st.floats(0, 50)
prior = st.floats(1e-6, 1e3)
slope = st.floats(0, 5)
floor = st.floats(1e-3, 10)
share = st.floats(1e-4, 0.9)


def at(*numbers: float) -> tuple[NDArray[np.float64], ...]:
    return tuple(np.array([float(number)]) for number in numbers)


def between(clean: Any, one: float, other: float) -> bool:
    low, high = min(one, other), max(one, other)
    slack = 1e-9 * (1 + abs(low) + abs(high))
    return bool(low - slack <= clean[0] <= high + slack)


@MANY
@given(value, value, prior, slope, value, floor)
def test_posterior_lies_between_prior_and_data_and_is_surer_than_both(
    y: float, mean: float, v: float, a: float, b: float, least: float
) -> None:
    noise = Affine(a, b, least)
    clean, spread = noise.posterior(*at(y, mean, v))
    assert between(clean, y, mean)
    assert 0 < spread[0] <= min(v, noise.variance(np.array([mean]))[0]) * (1 + 1e-12)


@MANY
@given(value, value, prior, st.floats(1, 100), slope, value, floor)
def test_an_unsurer_prior_gives_more_to_the_data(
    y: float, mean: float, v: float, more: float, a: float, b: float, least: float
) -> None:
    noise = Affine(a, b, least)
    sure, unsure = (noise.posterior(*at(y, mean, x)) for x in (v, more * v))
    assert unsure[1][0] >= sure[1][0] * (1 - 1e-12)
    assert abs(unsure[0][0] - y) <= abs(sure[0][0] - y) + 1e-9


@pytest.mark.parametrize(
    ("noise", "at_data"),
    [
        pytest.param(Affine(0.5, 1.0, 0.1), 0.5 * 4 + 1, id="affine"),
        pytest.param(PhotonCounting(0.5, 1.0, 0.1), 0.5 * 9 + 1, id="photons"),
    ],
)
def test_a_prior_that_knows_everything_or_nothing(
    noise: Likelihood, at_data: float
) -> None:
    clean, spread = noise.posterior(*at(9.0, 4.0, 1e-14))
    assert clean[0] == pytest.approx(4.0)
    assert spread[0] == pytest.approx(0.0, abs=1e-12)
    clean, spread = noise.posterior(*at(9.0, 4.0, 1e14))
    assert clean[0] == pytest.approx(9.0)
    assert spread[0] == pytest.approx(at_data)


def test_among_outliers_a_prior_that_knows_nothing_makes_every_value_one() -> None:
    noise = Impulse(0.5, 1.0, 0.1, 0.01, -100.0, 100.0)
    assert noise.trust(*at(9.0, 4.0, 1e14))[0] < 1e-3
    clean, spread = noise.posterior(*at(9.0, 4.0, 1e-14))
    assert clean[0] == pytest.approx(4.0)
    assert spread[0] == pytest.approx(0.0, abs=1e-12)


@MANY
@given(count, st.floats(0.05, 50), prior, st.floats(0.2, 5), st.floats(0, 5))
def test_counting_photons_has_the_mean_of_the_linear_rule(
    y: float, mean: float, v: float, gain: float, read: float
) -> None:
    parameters = gain, read, 1e-9
    clean, spread = PhotonCounting(*parameters).posterior(*at(y, mean, v))
    linear, _ = Affine(*parameters).posterior(*at(y, mean, v))
    assert clean[0] == linear[0]
    assert between(clean, y, mean)
    assert spread[0] > 0


@MANY
@given(count, st.floats(0.1, 50), prior, st.floats(1, 100))
def test_counting_photons_is_unsurer_the_more_were_counted(
    y: float, mean: float, v: float, more: float
) -> None:
    # Not "never above v or n", as for normal noise: the Gamma posterior's variance
    # grows with the count. Below as many photons as were expected it is smaller than
    # both, above it follows the data; nor is it monotone in v when few came.
    noise = PhotonCounting(1.0, 0.0, 1e-9)
    clean, spread = noise.posterior(*at(y, mean, v))
    _, linear = Affine(1.0, 0.0, 1e-9).posterior(*at(y, mean, v))
    assert (spread[0] <= linear[0] * (1 + 1e-9)) or y > mean
    assert spread[0] <= clean[0] + 1e-3  # that of the counts alone
    if y >= mean:
        _, unsure = noise.posterior(*at(y, mean, more * v))
        assert unsure[0] >= spread[0] * (1 - 1e-9)


def test_counting_photons_is_the_posterior_of_a_gamma_prior(
    rng: np.random.Generator,
) -> None:
    mean, v = 2.0, 1.5
    clean = rng.gamma(mean**2 / v, v / mean, 2_000_000)
    y = rng.poisson(clean)
    noise = PhotonCounting(1.0, 0.0, 1e-9)
    for seen in (0, 1, 3, 6):
        same = clean[y == seen]
        estimate, spread = noise.posterior(*at(seen, mean, v))
        assert estimate[0] == pytest.approx(same.mean(), rel=0.02)
        assert spread[0] == pytest.approx(same.var(), rel=0.04)


@MANY
@given(value, value, prior, slope, value, floor, share, value, st.floats(1, 100))
def test_impulse_posterior_lies_between_prior_and_data(
    y: float,
    mean: float,
    v: float,
    a: float,
    b: float,
    least: float,
    outliers: float,
    low: float,
    width: float,
) -> None:
    noise = Impulse(a, b, least, outliers, low, low + width)
    clean, spread = noise.posterior(*at(y, mean, v))
    assert between(clean, y, mean)
    assert spread[0] > 0
    assert 0 <= noise.trust(*at(y, mean, v))[0] <= 1


def test_impulse_posterior_is_that_of_the_mixture() -> None:
    noise = Impulse(0.2, 1.0, 0.1, 0.1, -5.0, 30.0)
    mean, v = 10.0, 4.0
    n = 0.2 * mean + 1.0
    x = np.linspace(-30, 50, 200_001)
    for y in (4.0, 10.0, 14.0, 17.5, 25.0):
        likely = 0.9 * stats.norm.pdf(y, x, n**0.5) + 0.1 / 35
        weight = stats.norm.pdf(x, mean, v**0.5) * likely
        expected = np.average(x, weights=weight)
        clean, spread = noise.posterior(*at(y, mean, v))
        assert clean[0] == pytest.approx(expected, abs=1e-6)
        variance = np.average((x - expected) ** 2, weights=weight)
        assert spread[0] == pytest.approx(variance, rel=1e-6)


def test_an_outlier_far_away_is_not_believed_at_all() -> None:
    noise = Impulse(0.0, 1.0, 1.0, 1e-3, 0.0, 1000.0)
    clean, spread = noise.posterior(*at(900.0, 10.0, 4.0))
    assert clean[0] == pytest.approx(10.0, abs=1e-6)
    assert spread[0] == pytest.approx(4.0)


@MANY
@given(value, prior, slope, value, floor, st.floats(-4, 4))
def test_impulse_without_outliers_is_ordinary_noise(
    mean: float, v: float, a: float, b: float, least: float, away: float
) -> None:
    plain, impulse = Affine(a, b, least), Impulse(a, b, least, 0.0, -1e3, 1e3)
    y = mean + away * float((v + plain.variance(np.array([mean]))[0]) ** 0.5)
    for ours, theirs in (
        (impulse.posterior(*at(y, mean, v)), plain.posterior(*at(y, mean, v))),
        (impulse.predictive(*at(mean, v)), plain.predictive(*at(mean, v))),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_impulse_moments_are_those_of_simulated_voxels(
    rng: np.random.Generator,
) -> None:
    noise = Impulse(0.3, 2.0, 0.1, 0.2, -10.0, 60.0)
    mean, v = 12.0, 9.0
    for prior_variance in (0.0, v):
        clean = rng.normal(mean, prior_variance**0.5, 1_000_000)
        y = clean + rng.normal(0, (0.3 * mean + 2.0) ** 0.5, clean.size)
        out = rng.random(clean.size) < 0.2
        y[out] = rng.uniform(-10, 60, out.sum())
        expected, variance = noise.predictive(*at(mean, prior_variance))
        assert expected[0] == pytest.approx(y.mean(), rel=5e-3)
        assert variance[0] == pytest.approx(y.var(), rel=5e-3)
        if not prior_variance:
            assert noise.variance(np.array([mean]))[0] == variance[0]


@MANY
@given(value, value, prior, slope, value, floor)
def test_the_score_of_ordinary_noise_is_that_of_a_normal_distribution(
    y: float, mean: float, v: float, a: float, b: float, least: float
) -> None:
    noise = Affine(a, b, least)
    score = noise.negative_log_likelihood(*at(y, mean, v))[0]
    sigma = (v + noise.variance(np.array([mean]))[0]) ** 0.5
    expected = -2 * stats.norm.logpdf(y, mean, sigma) - np.log(2 * np.pi)
    assert score == pytest.approx(expected, rel=1e-9, abs=1e-9)


@MANY
@given(st.integers(0, 40), st.floats(0.05, 40), st.floats(0.02, 50))
def test_the_score_of_photons_is_that_of_a_negative_binomial(
    y: int, mean: float, v: float
) -> None:
    def score(seen: int) -> float:
        found = PhotonCounting(1.0, 0.0, 1e-9).negative_log_likelihood(
            *at(seen, mean, v)
        )
        return float(found[0])

    def expected(seen: int) -> float:
        k = min(mean**2 / v, 1e4)
        log_p = stats.nbinom.logpmf(seen, k, k / (k + mean))
        # Of the prior alone: without the factorial of what was counted.
        return -2 * float(log_p + special.gammaln(seen + 1))

    assert score(y) == pytest.approx(expected(y), abs=1e-6, rel=1e-6)


def test_read_noise_is_folded_in_as_counts_that_are_always_there() -> None:
    gain, offset, read = 2.0, 100.0, 1.5
    noise = PhotonCounting(gain, (gain * read) ** 2 - gain * offset, 1.0)
    counts = noise.counts(np.array([offset + gain * 7.0]))
    assert counts[0] == pytest.approx(7.0 + read**2)


def test_the_score_of_photons_finds_the_mean_of_few_counts(
    rng: np.random.Generator,
) -> None:
    y = rng.poisson(rng.gamma(0.5**2 / 0.1, 0.1 / 0.5, 200_000)).astype(float)

    def best(noise: Likelihood) -> float:
        means = np.linspace(0.3, 0.8, 51)
        scores = [
            noise.negative_log_likelihood(
                y, np.full_like(y, m), np.full_like(y, 0.1)
            ).mean()
            for m in means
        ]
        return float(means[int(np.argmin(scores))])

    exact, normal = (kind(1.0, 0.0, 1e-9) for kind in (PhotonCounting, Affine))
    assert best(exact) == pytest.approx(0.5, abs=0.011)
    assert abs(best(exact) - 0.5) <= abs(best(normal) - 0.5)


FAMILIES = [
    pytest.param(Affine(0.3, -0.1, 0.01), id="affine"),
    pytest.param(PhotonCounting(0.3, -0.1, 0.01), id="photons"),
    pytest.param(Impulse(0.3, -0.1, 0.01, 0.05, -2.0, 9.0), id="impulse"),
]


@pytest.mark.parametrize("noise", FAMILIES)
def test_numpy_and_torch_say_the_same(
    noise: Likelihood, rng: np.random.Generator
) -> None:
    y, mean = rng.normal(3, 4, (2, 1000))
    v = rng.gamma(1, 1, 1000) + 1e-6
    tensors = [torch.from_numpy(x) for x in (y, mean, v)]
    for name in ("posterior", "negative_log_likelihood"):
        ours, theirs = (getattr(noise, name)(*x) for x in ((y, mean, v), tensors))
        for one, other in zip(np.atleast_2d(ours), _stacked(theirs), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def _stacked(result: Any) -> NDArray[np.float64]:
    parts = result if isinstance(result, tuple) else (result,)
    return np.stack([part.numpy() for part in parts])


@pytest.mark.parametrize("noise", FAMILIES)
@pytest.mark.parametrize("v", [1e-10, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("mean", [-5.0, 0.0, 1e-6, 1.0, 300.0])
@pytest.mark.parametrize("y", [-3.0, 0.0, 1.0, 500.0])
def test_gradients_are_finite_in_single_precision(
    noise: Likelihood, v: float, mean: float, y: float
) -> None:
    seen = torch.tensor([y])
    mu, spread = (torch.tensor([x], requires_grad=True) for x in (mean, v))
    score = noise.negative_log_likelihood(seen, mu, spread)
    score.sum().backward()  # type: ignore[no-untyped-call]
    for value_ in (score, mu.grad, spread.grad, *noise.posterior(seen, mu, spread)):
        assert value_ is not None
        assert torch.isfinite(value_).all()


@pytest.mark.parametrize("noise", FAMILIES)
def test_noise_may_be_raised_scaled_and_mapped(noise: Likelihood) -> None:
    mean = np.linspace(-2, 9, 6)  # the floor included
    ordinary = Affine(noise.a, noise.b, noise.floor).variance(mean)
    for changed, expected in (
        (raised(noise, 0.7), ordinary + 0.7),
        (scaled(noise, 3.0), 3 * ordinary),
    ):
        assert type(changed) is type(noise)
        found = Affine(changed.a, changed.b, changed.floor).variance(mean)
        np.testing.assert_allclose(found, expected)
    both = mapped(lambda *pair: np.array(pair), noise, scaled(noise, 2.0))
    np.testing.assert_allclose(both.a, [noise.a, 2 * noise.a])


def test_the_gradient_can_be_cut_through_the_noise() -> None:
    noise = Affine(2.0, 1.0, 0.1)
    y, v = torch.tensor([9.0]), torch.tensor([1.0])
    slopes = []
    for cut in (False, True):
        mean = torch.tensor([4.0], requires_grad=True)
        inside = mean.detach() if cut else None
        score = noise.negative_log_likelihood(y, mean, v, inside)
        score.sum().backward()  # type: ignore[no-untyped-call]
        assert mean.grad is not None
        slopes.append(float(mean.grad))
    total = 1 + 2 * 4 + 1
    assert slopes[1] == pytest.approx(-2 * 5 / total)
    assert slopes[0] == pytest.approx(slopes[1] - 2 * 25 / total**2 + 2 / total)
