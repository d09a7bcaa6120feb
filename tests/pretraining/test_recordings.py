"""Recordings: the noise is what they say it is, and hidden by the hole they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_blindspot.pretraining import recordings
from napari_blindspot.pretraining.recordings import CONTEXT, Recording, record

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = (0.0, 0.1, 0.4, 1.0)


def steps(depth: int = 6, side: int = 96) -> NDArray[np.float32]:
    """Return a volume of four flat parts, one beside the other along x."""
    row = np.repeat(np.float32(LEVELS), side // len(LEVELS))
    return np.broadcast_to(row, (depth, side, side)).copy()


def recorded(seed: int, depth: int = 6) -> Recording:
    return record(np.random.default_rng(seed), steps(depth))


@pytest.fixture
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "_OUTLIERS", 0.0)
    monkeypatch.setattr(recordings, "_PLAIN_HOLES", 1.0)


@pytest.fixture
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "_OUTLIERS", 0.0)
    monkeypatch.setattr(recordings, "_PLAIN_HOLES", 0.0)
    monkeypatch.setattr(recordings, "_SHARED", 1.0)


def parts(one: Recording, margin: int) -> list[tuple[float, NDArray[np.float64]]]:
    """Return clean value and noise of every flat part, away from its borders."""
    width = one.clean.shape[-1] // len(LEVELS)
    noise = one.noisy.astype(np.float64) - one.clean
    return [
        (
            float(one.clean[0, 0, k * width + width // 2]),
            noise[..., margin:-margin, k * width + margin : (k + 1) * width - margin],
        )
        for k in range(len(LEVELS))
    ]


def test_the_same_draws_give_the_same_recording() -> None:
    one, again, other = recorded(1), recorded(1), recorded(2)
    assert np.array_equal(one.noisy, again.noisy)
    assert (one.a, one.b, one.hole, one.context) == (
        again.a,
        again.b,
        again.hole,
        again.context,
    )
    assert not np.array_equal(one.noisy, other.noisy)


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("seed", range(10))
def test_the_noise_has_the_variance_that_is_told(seed: int) -> None:
    one = recorded(seed)
    for x, noise in parts(one, 1):
        expected = one.a * x + one.b
        spread = 8 * (3 / noise.size) ** 0.5  # rare counts have long tails
        assert noise.mean() == pytest.approx(0, abs=5 * (expected / noise.size) ** 0.5)
        assert noise.var() == pytest.approx(expected, rel=max(spread, 0.05), abs=1e-9)


@pytest.mark.usefixtures("_plain")
def test_all_families_are_drawn() -> None:
    drawn = [recorded(seed) for seed in range(40)]
    without_photons = sum(one.a == 0 for one in drawn)
    assert 2 <= without_photons <= 16
    spread = [np.sqrt(max(one.a + one.b, 0)) for one in drawn]
    assert min(spread) < 0.1  # much light
    assert max(spread) > 0.3  # hardly any


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("seed", range(8))
def test_shared_noise_keeps_its_variance_and_ends_at_the_edge_of_the_hole(
    seed: int,
) -> None:
    one = recorded(seed, depth=10)
    x, noise = parts(one, 6)[-1]
    inside = noise[2:-2]
    assert inside.var() == pytest.approx(one.a * x + one.b, rel=0.35)
    for axis, size in enumerate(one.hole):
        beyond = size // 2 + 1
        if noise.shape[axis] <= beyond:
            continue
        near = np.take(noise, range(beyond, noise.shape[axis]), axis)
        far = np.take(noise, range(noise.shape[axis] - beyond), axis)
        assert abs((near * far).mean() / noise.var()) < 0.15


@pytest.mark.usefixtures("_shared")
def test_some_noise_is_shared_by_neighbours() -> None:
    correlations = []
    for seed in range(12):
        one = recorded(seed)
        _, noise = parts(one, 1)[-1]
        correlations.append(
            max(
                (noise[:, 1:] * noise[:, :-1]).mean(),
                (noise[..., 1:] * noise[..., :-1]).mean(),
            )
            / noise.var()
        )
    assert sum(c > 0.2 for c in correlations) >= 4


def test_holes_are_odd_and_of_every_shape() -> None:
    holes = [recorded(seed, depth=2).hole for seed in range(150)]
    assert all(size % 2 for hole in holes for size in hole)
    assert max(max(hole[1:]) for hole in holes) == 11
    plain = sum(hole == (1, 1, 1) for hole in holes) / len(holes)
    assert 0.55 < plain < 0.8
    assert any(hole[0] == 3 for hole in holes)
    assert any(hole[1] == 1 < hole[2] for hole in holes)
    assert any(hole[2] == 1 < hole[1] for hole in holes)


@pytest.mark.parametrize("depth", [1, 2, 3, 12])
def test_no_more_planes_are_shown_than_there_are(depth: int) -> None:
    shown = {recorded(seed, depth).context for seed in range(30)}
    assert max(shown) == min(CONTEXT, depth // 2)


def test_hot_pixels_are_few_and_change_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recordings, "_OUTLIERS", 1.0)
    rng = np.random.default_rng(0)
    electrons = rng.normal(10, 1, (4, 50, 50))
    hot = recordings._hot(rng, electrons)
    changed = hot != electrons
    assert 0 < changed.mean() < 0.05
    assert hot.max() > electrons.max()
