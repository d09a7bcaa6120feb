from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_blindspot.noise.covariance import (
    JointAffine,
    JointImpulse,
    diagonal,
    marginal_variance,
    one_channel,
)
from napari_blindspot.noise.likelihood import Affine, Impulse, PhotonCounting
from napari_blindspot.noise.posterior import posterior_mean, posterior_variance

Array = NDArray[np.float64]

both = pytest.mark.parametrize(
    "convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"]
)
values = st.floats(-1e3, 1e3, allow_nan=False)
variances = st.floats(0, 1e4, allow_nan=False)
noises = st.floats(1e-6, 1e4, allow_nan=False)


def case(seed: int, channels: int, shape: tuple[int, ...] = (7, 5)) -> dict[str, Any]:
    """Random values, prior and noise; of some pixels the prior is nearly singular."""
    rng = np.random.default_rng(seed)
    factor = np.triu(rng.normal(size=(*shape, channels, channels)))
    factor[:2] *= 10.0 ** rng.uniform(-4, 0, (channels, 1))
    return {
        "y": rng.normal(0.5, 1, (*shape, channels)),
        "mean": rng.uniform(0, 1, (*shape, channels)),
        "covariance": np.swapaxes(factor, -1, -2) @ factor,
        "a": rng.uniform(0, 0.2, channels),
        "b": rng.uniform(0.01, 0.2, channels),
        "floor": rng.uniform(0.005, 0.02, channels),
    }


def arrays(parts: dict[str, Any], names: str, convert: Any) -> list[Any]:
    return [convert(parts[name]) for name in names.split()]


def matches(found: Any, expected: Array, rel: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rel, atol=1e-11)


class TestOneChannel:
    @given(values, values, variances, noises)
    def test_the_posterior_lies_between_prior_and_data(
        self, y: float, mean: float, v: float, n: float
    ) -> None:
        found = float(posterior_mean(*(np.array(x) for x in (y, mean, v, n))))
        slack = 1e-12 * max(abs(y), abs(mean))
        assert min(y, mean) - slack <= found <= max(y, mean) + slack

    @given(variances, noises)
    def test_the_posterior_is_never_less_certain_than_prior_or_data(
        self, v: float, n: float
    ) -> None:
        found = float(posterior_variance(np.array(v), np.array(n)))
        assert 0 <= found <= min(v, n) * (1 + 1e-12)

    @given(values, values, variances, variances, noises)
    def test_an_uncertain_prior_gives_more_to_the_data(
        self, y: float, mean: float, one: float, other: float, n: float
    ) -> None:
        less, more = sorted((one, other))
        near = posterior_mean(*(np.array(x) for x in (y, mean, less, n)))
        far = posterior_mean(*(np.array(x) for x in (y, mean, more, n)))
        slack = 1e-12 * max(abs(y), abs(mean))
        assert abs(far - mean) >= abs(near - mean) - slack
        assert posterior_variance(np.array(more), np.array(n)) >= posterior_variance(
            np.array(less), np.array(n)
        ) * (1 - 1e-12)

    @given(st.floats(0, 1), values, variances, noises)
    def test_outliers_never_push_the_posterior_out_of_its_bounds(
        self, y: float, mean: float, v: float, n: float
    ) -> None:
        mean = mean / 1e3
        family = Impulse(0.0, n, 0.0, 0.3, 0.0, 1.0)
        clean, spread = family.posterior(*(np.array(x) for x in (y, mean, v, n)[:3]))
        assert min(y, mean) - 1e-9 <= float(clean) <= max(y, mean) + 1e-9
        # A doubtful value may widen the belief, by the doubt and not by more.
        assert 0 <= float(spread) <= v + (y - mean) ** 2 / 4 + 1e-9

    @given(st.integers(0, 50), st.floats(0.01, 50), st.floats(0.01, 100))
    def test_counting_photons_keeps_the_linear_mean(
        self, y: int, mean: float, v: float
    ) -> None:
        counting = PhotonCounting(1.0, 0.0, 1e-3)
        clean, spread = counting.posterior(*(np.array(float(x)) for x in (y, mean, v)))
        assert float(clean) == pytest.approx((mean**2 + v * y) / (mean + v))
        assert float(spread) == pytest.approx(float(clean) * v / (v + mean), abs=1e-3)


@both
class TestJointAffine:
    def family(self, parts: dict[str, Any], convert: Any) -> JointAffine:
        return JointAffine(*arrays(parts, "a b floor", convert))

    @pytest.mark.parametrize("channels", [1, 2, 3, 5])
    def test_a_diagonal_prior_gives_one_channel_at_a_time(
        self, channels: int, convert: Any
    ) -> None:
        parts = case(channels, channels)
        y, mean, variance = arrays(
            {**parts, "variance": marginal_variance(parts["covariance"]).copy()},
            "y mean variance",
            convert,
        )
        joint, single = (
            self.family(parts, convert),
            Affine(*arrays(parts, "a b floor", convert)),
        )
        found = joint.negative_log_likelihood(y, mean, diagonal(variance))
        matches(found, single.negative_log_likelihood(y, mean, variance).sum(-1))
        clean, spread = joint.posterior(y, mean, diagonal(variance))
        expected = single.posterior(y, mean, variance)
        matches(clean, expected[0])
        matches(spread, diagonal(expected[1]))

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_the_likelihood_is_that_of_a_normal_distribution(
        self, channels: int, convert: Any
    ) -> None:
        from scipy.stats import multivariate_normal

        parts = case(3, channels)
        names = "y mean covariance"
        found = self.family(parts, convert).negative_log_likelihood(
            *arrays(parts, names, convert)
        )
        noise = np.maximum(parts["a"] * parts["mean"] + parts["b"], parts["floor"])
        for index in np.ndindex(found.shape):
            y, mean, prior = (parts[name][index] for name in names.split())
            total = prior + np.diag(noise[index])
            log_p = multivariate_normal(mean, total, allow_singular=True).logpdf(y)
            expected = -2 * log_p - channels * np.log(2 * np.pi)
            assert float(found[index]) == pytest.approx(expected, rel=1e-8)

    def test_the_posterior_is_the_product_of_two_normal_distributions(
        self, convert: Any
    ) -> None:
        parts = case(4, 3)
        parts["covariance"] += 0.01 * np.eye(3)  # the textbook formula inverts it
        clean, spread = self.family(parts, convert).posterior(
            *arrays(parts, "y mean covariance", convert)
        )
        noise = np.maximum(parts["a"] * parts["mean"] + parts["b"], parts["floor"])
        prior = np.linalg.inv(parts["covariance"])
        data = np.linalg.inv(diagonal(noise))
        expected = np.linalg.inv(prior + data)
        weighted = prior @ parts["mean"][..., None] + data @ parts["y"][..., None]
        matches(spread, expected)
        matches(clean, (expected @ weighted)[..., 0])

    def test_a_certain_channel_keeps_its_mean_and_informs_nobody(
        self, convert: Any
    ) -> None:
        parts = case(5, 3)
        parts["covariance"][..., 1, :] = parts["covariance"][..., :, 1] = 0
        clean, spread = self.family(parts, convert).posterior(
            *arrays(parts, "y mean covariance", convert)
        )
        matches(clean[..., 1], parts["mean"][..., 1])
        assert not np.asarray(spread)[..., 1, :].any()

    def test_a_clean_channel_tells_a_noisy_one(self, convert: Any) -> None:
        # Two channels that vary alike; the first one has hardly any noise.
        mean, y = convert(np.zeros((1, 2))), convert(np.array([[2.0, -7.0]]))
        prior = convert(np.array([[[1.0, 0.999], [0.999, 1.0]]]))
        noise = convert(np.array([1e-6, 1e3]))
        clean, spread = JointAffine(0.0, noise, 1e-9).posterior(y, mean, prior)
        assert float(clean[0, 1]) == pytest.approx(2.0, abs=0.01)
        assert float(spread[0, 1, 1]) < 0.01

    def test_single_precision_stays_close_to_double(self, convert: Any) -> None:
        parts = case(6, 3, (40, 40))
        single = {name: part.astype(np.float32) for name, part in parts.items()}
        names = "y mean covariance"
        exact = self.family(parts, convert)
        rough = self.family(single, convert)
        found = rough.posterior(*arrays(single, names, convert))
        expected = exact.posterior(*arrays(parts, names, convert))
        for a, b in zip(found, expected, strict=True):
            assert np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-3
        score = rough.negative_log_likelihood(*arrays(single, names, convert))
        assert score.dtype == convert(single["y"]).dtype
        close = exact.negative_log_likelihood(*arrays(parts, names, convert))
        np.testing.assert_allclose(np.asarray(score), np.asarray(close), 1e-4, 1e-4)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(-6, 3))
def test_the_posterior_is_never_less_certain_than_prior_or_noise_in_any_direction(
    seed: int, channels: int, decade: float
) -> None:
    parts = case(seed, channels, (4,))
    noise = 10.0**decade * np.ones(channels)
    clean, spread = JointAffine(0.0, noise, 1e-12).posterior(
        parts["y"], parts["mean"], parts["covariance"]
    )
    size = np.abs(parts["covariance"]).max() + noise.max()
    for larger in (parts["covariance"], np.diag(noise)):
        assert np.linalg.eigvalsh(larger - spread).min() > -1e-10 * size
    assert np.linalg.eigvalsh(spread).min() > -1e-10 * size
    assert np.isfinite(clean).all()


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_the_posterior_is_nearer_to_the_data_than_the_prior_is(
    seed: int, channels: int
) -> None:
    # Between μ and y in several channels: nearer to y in the measure of the noise,
    # and nearer to μ in the measure of the prior.
    parts = case(seed, channels, (4,))
    covariance = parts["covariance"] + 1e-3 * np.eye(channels)
    noise = parts["b"]
    clean, _ = JointAffine(0.0, noise, 1e-9).posterior(
        parts["y"], parts["mean"], covariance
    )

    def size(away: Array, measure: Array) -> Array:
        solved = np.linalg.solve(measure, away[..., None])[..., 0]
        return np.asarray((away * solved).sum(-1))

    whole = parts["y"] - parts["mean"]
    slack = 1 + 1e-9
    data = np.broadcast_to(np.diag(noise), covariance.shape)
    assert (size(parts["y"] - clean, data) <= slack * size(whole, data)).all()
    assert (
        size(clean - parts["mean"], covariance) <= slack * size(whole, covariance)
    ).all()


@both
class TestJointImpulse:
    def test_one_channel_is_the_one_channel_family(self, convert: Any) -> None:
        parts = case(7, 1)
        parts["y"] = np.random.default_rng(1).uniform(0, 1, parts["y"].shape)
        y, mean, covariance = arrays(parts, "y mean covariance", convert)
        lines = arrays(parts, "a b floor", convert)
        joint = JointImpulse(*lines, 0.3, 0.0, 1.0)
        single = Impulse(*lines, 0.3, 0.0, 1.0)
        variance = covariance[..., 0]
        matches(joint.variance(mean), single.variance(mean))
        matches(
            joint.negative_log_likelihood(y, mean, covariance),
            single.negative_log_likelihood(y, mean, variance)[..., 0],
        )
        matches(
            joint.trust(y, mean, covariance), single.trust(y, mean, variance)[..., 0]
        )
        clean, spread = joint.posterior(y, mean, covariance)
        expected = single.posterior(y, mean, variance)
        matches(clean, expected[0])
        matches(spread[..., 0], expected[1])

    def test_moments_are_those_of_laine_et_al(self, convert: Any) -> None:
        parts, alpha = case(8, 3), 0.5
        y, mean, covariance = (parts[name] for name in ("y", "mean", "covariance"))
        prior = covariance + 1e-6 * np.eye(3)
        outer = mean[..., :, None] * mean[..., None, :]
        expected = alpha / 2 + (1 - alpha) * mean
        spread = (
            alpha * (np.ones((3, 3)) / 4 + np.eye(3) / 12)
            + (1 - alpha) * (prior + outer)
            - expected[..., :, None] * expected[..., None, :]
        )
        away = y - expected
        square = (away * np.linalg.solve(spread, away[..., None])[..., 0]).sum(-1)
        family = JointImpulse(0.0, 0.0, 1e-6, alpha, 0.0, 1.0)
        found = family.negative_log_likelihood(
            *arrays(parts, "y mean covariance", convert)
        )
        matches(found, square + np.linalg.slogdet(spread)[1])

    def test_mean_is_that_of_laine_et_al(self, convert: Any) -> None:
        parts, alpha = case(9, 3), 0.4
        y = np.random.default_rng(2).uniform(0, 1, parts["y"].shape)
        mean, prior = parts["mean"], parts["covariance"] + 0.01 * np.eye(3)
        away = y - mean
        square = (away * np.linalg.solve(prior, away[..., None])[..., 0]).sum(-1)
        density = np.exp(-square / 2) / np.sqrt((2 * np.pi) ** 3 * np.linalg.det(prior))
        h = ((1 - alpha) * density)[..., None]
        family = JointImpulse(0.0, 0.0, 1e-12, alpha, 0.0, 1.0)
        clean, _ = family.posterior(convert(y), convert(mean), convert(prior))
        matches(clean, (alpha * mean + h * y) / (alpha + h), rel=1e-6)

    def test_a_doubtful_pixel_is_doubted_in_all_its_channels(
        self, convert: Any
    ) -> None:
        mean = convert(np.full((3, 2), 0.5))
        prior = diagonal(convert(np.full((3, 2), 1e-4)))
        y = convert(np.array([[0.5, 0.5], [0.5, 0.95], [0.5, 5.0]]))
        family = JointImpulse(0.0, 1e-4, 1e-6, 0.2, 0.0, 1.0)
        trust = np.asarray(family.trust(y, mean, prior))
        assert trust[0] > 0.99
        assert trust[1] < 1e-9
        assert trust[2] == 1  # out of range: no outlier reaches it
        clean, _ = family.posterior(y, mean, prior)
        matches(clean[1], np.array([0.5, 0.5]), rel=1e-9)

    def test_the_posterior_is_the_mean_of_the_mixture(self, convert: Any) -> None:
        # Draw clean pixels and their noisy values, and look at those that came out
        # near one value.
        rng = np.random.default_rng(3)
        n, alpha, sigma = 400_000, 0.3, 0.1
        prior = np.array([[0.02, 0.015], [0.015, 0.03]])
        clean = rng.multivariate_normal([0.5, 0.5], prior, n)
        y = clean + rng.normal(0, sigma, clean.shape)
        hit = rng.random(n) < alpha
        y[hit] = rng.uniform(0, 1, (hit.sum(), 2))
        centre = np.array([0.7, 0.4])
        near = np.abs(y - centre).max(-1) < 0.03
        family = JointImpulse(0.0, sigma**2, 1e-6, alpha, 0.0, 1.0)
        found, spread = family.posterior(
            convert(centre), convert(np.array([0.5, 0.5])), convert(prior)
        )
        error = 4 * clean[near].std(0) / np.sqrt(near.sum())
        assert (np.abs(np.asarray(found) - clean[near].mean(0)) < error + 0.003).all()
        measured = np.cov(clean[near].T)
        assert np.abs(np.asarray(spread) - measured).max() < 0.1 * measured.max()


def test_the_noise_of_one_channel_is_taken_out_of_several() -> None:
    a, b = np.array([0.1, 0.2]), np.ones((4, 1, 1, 1))
    line = one_channel(JointAffine(a, b, 0.5), 1)
    assert isinstance(line, Affine)
    assert (line.a, line.floor) == (0.2, 0.5)
    assert line.b.shape == (4, 1, 1)
    outliers = one_channel(JointImpulse(a, b, 0.5, 0.3, np.zeros(2), 1.0), 0)
    assert isinstance(outliers, Impulse)
    assert (outliers.share, outliers.low, outliers.high) == (0.3, 0.0, 1.0)


def test_the_likelihood_teaches_mean_and_covariance() -> None:
    # The gradient vanishes where mean and covariance are those of the data.
    torch.manual_seed(0)
    truth = torch.tensor([[0.3, 0.2], [0.2, 0.4]], dtype=torch.float64)
    factor = torch.linalg.cholesky(truth)
    y = torch.randn(200_000, 2, dtype=torch.float64) @ factor.T + 0.5
    noise = 0.1
    mean = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    prior = (truth - noise * torch.eye(2, dtype=torch.float64)).requires_grad_(True)
    family = JointAffine(0.0, noise, 1e-6)
    score = family.negative_log_likelihood(y, mean, prior.expand(len(y), 2, 2)).mean()
    for gradient in torch.autograd.grad(score, [mean, prior]):
        assert gradient.abs().max() < 0.05
