"""From what the user knows and what the stack shows to one model; nothing is silent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blindspot.config import NoiseSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.noise.calibrate import Calibration, calibrate
from napari_blindspot.noise.models import (
    Gaussian,
    Impulse,
    NoiseModel,
    Poisson,
    PoissonGaussian,
    noise_from_dict,
)
from napari_blindspot.noise.outliers import take_out
from noisy import camera, scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

INF = float("inf")
CAMERA = {"gain": 2.2, "offset": 100.0, "read_noise": 1.6}
TRUE_AT_150 = 2.2 * 50 + (2.2 * 1.6) ** 2 + 1 / 12


def of(planes: NDArray[Any], **known: Any) -> Calibration:
    return calibrate(list(planes), INF, parse_settings(NoiseSettings, **known))


@pytest.fixture(scope="module")
def electrons() -> NDArray[np.float64]:
    return scene(np.random.default_rng(5), 4, 128)


@pytest.fixture(scope="module")
def grey(electrons: NDArray[np.float64]) -> NDArray[Any]:
    return camera(electrons, np.random.default_rng(6))


@pytest.fixture(scope="module")
def spotted(grey: NDArray[Any]) -> NDArray[Any]:
    """The same with 2 % of the voxels replaced by anything from 0 to 999."""
    rng = np.random.default_rng(7)
    out = rng.random(grey.shape) < 0.02
    return np.where(out, rng.integers(0, 1000, grey.shape), grey).astype(np.uint16)


@pytest.mark.parametrize(
    ("known", "kind", "within"),
    [
        pytest.param({}, PoissonGaussian, 0.05, id="nothing"),
        pytest.param({"gain": 2.2}, PoissonGaussian, 0.04, id="gain"),
        pytest.param(
            {"gain": 2.2, "offset": 100.0}, PoissonGaussian, 0.04, id="gain-offset"
        ),
        pytest.param(
            {"gain": 2.2, "read_noise": 1.6}, PoissonGaussian, 0.04, id="gain-read"
        ),
        pytest.param(CAMERA, PoissonGaussian, 0.001, id="all"),
        pytest.param(
            {**CAMERA, "noise": "camera"}, PoissonGaussian, 0.001, id="camera"
        ),
    ],
)
def test_a_camera_known_in_part_is_completed_from_the_stack(
    grey: NDArray[Any], known: dict[str, Any], kind: type, within: float
) -> None:
    found = of(grey, **known)
    noise = found.noise
    assert type(noise) is kind
    assert noise.warnings == ()
    assert noise.variance(150.0) == pytest.approx(TRUE_AT_150, rel=within)
    assert found.points.count.sum() > 0.8 * grey.size
    for name in known.keys() & {"gain", "offset", "read_noise"}:
        assert getattr(noise, name) == known[name]
    if known.keys() >= {"gain", "offset"}:
        assert noise.read_noise == pytest.approx(1.6, abs=0.15)
    if known.keys() >= {"gain", "read_noise"}:
        assert noise.offset == pytest.approx(100, abs=0.6)


def test_gaussian_noise_is_estimated_or_taken_as_given(
    electrons: NDArray[np.float64], rng: np.random.Generator
) -> None:
    y = 100 + electrons + rng.normal(0, 3, electrons.shape)
    estimated, given_ = of(y, noise="gaussian"), of(y, noise="gaussian", sigma=3.0)
    assert isinstance(estimated.noise, Gaussian)
    assert estimated.noise.sigma == pytest.approx(3, rel=0.03)
    low, high = estimated.noise.b_interval or (0, 0)
    assert low <= 9.3
    assert high >= 8.7
    assert isinstance(given_.noise, Gaussian)
    assert given_.noise.sigma == 3.0
    assert estimated.noise.warnings == given_.noise.warnings == ()


@pytest.mark.parametrize("sigma", [None, 8.5])
def test_gaussian_noise_that_grows_with_the_signal_is_told(
    grey: NDArray[Any], sigma: float | None
) -> None:
    noise = of(grey, noise="gaussian", sigma=sigma).noise
    assert noise.warnings
    told = noise.warnings[-1]
    assert "variance" in told
    assert "noise='auto' fits better" in told or "leave them out" in told


def test_photons_alone_are_estimated_or_given(
    electrons: NDArray[np.float64], rng: np.random.Generator
) -> None:
    y = rng.poisson(electrons).astype(np.uint16)
    estimated, given_ = of(y, noise="poisson"), of(y, noise="poisson", gain=1.0)
    for found in (estimated, given_):
        assert isinstance(found.noise, Poisson)
        assert found.noise.variance(20.0) == pytest.approx(20, rel=0.06)
        assert found.noise.read_noise == 0
        assert found.noise.warnings == ()
    assert given_.noise.gain == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_constant_noise_is_not_taken_for_photons(
    electrons: NDArray[np.float64], seed: int
) -> None:
    y = electrons + np.random.default_rng(seed).normal(0, 30, electrons.shape)
    with pytest.raises(InputError, match="does not grow with its signal") as refused:
        of(y, noise="poisson")
    assert "use noise='auto' or noise='gaussian', or give the gain" in str(
        refused.value
    )


@pytest.mark.parametrize("share", [0.001, 0.02, 0.08])
@pytest.mark.parametrize("known", [False, True])
def test_outliers_are_told_from_the_noise_of_the_others(
    grey: NDArray[Any], share: float, known: bool, rng: np.random.Generator
) -> None:
    out = rng.random(grey.shape) < share
    y = np.where(out, rng.integers(0, 1000, grey.shape), grey).astype(np.uint16)
    noise = of(y, noise="impulse", outliers=share if known else None).noise
    assert isinstance(noise, Impulse)
    assert noise.warnings == ()
    assert noise.low < 20
    assert noise.high > 900
    assert noise.base.variance(150.0) == pytest.approx(TRUE_AT_150, rel=0.12)
    if known:
        assert (noise.share, noise.share_interval) == (share, None)
    else:
        assert noise.share == pytest.approx(share, rel=0.15)
        low, high = noise.share_interval or (1, 0)
        assert low < noise.share < high


def test_outliers_of_a_known_camera(spotted: NDArray[Any]) -> None:
    noise = of(spotted, noise="impulse", **CAMERA).noise
    assert isinstance(noise, Impulse)
    assert noise.base == PoissonGaussian.from_camera(2.2, 100.0, 1.6)
    assert noise.share == pytest.approx(0.02, rel=0.1)


def test_few_or_too_many_outliers_are_told(
    grey: NDArray[Any], rng: np.random.Generator
) -> None:
    none = of(grey, noise="impulse").noise
    assert "hardly any voxel is an outlier, so noise='auto'" in none.warnings[-1]
    out = rng.random(grey.shape) < 0.4
    many = np.where(out, rng.integers(0, 1000, grey.shape), grey).astype(np.uint16)
    told = of(many, noise="impulse").noise.warnings[-1]
    assert "of the voxels are outliers, too many" in told


def test_outliers_are_replaced_and_nothing_else(
    grey: NDArray[Any], spotted: NDArray[Any]
) -> None:
    found = take_out(list(spotted))
    assert found is not None
    cleaned = np.stack(found.planes)
    assert cleaned.dtype == grey.dtype
    changed = cleaned != spotted
    out = spotted != grey
    assert (changed & ~out).mean() < 1e-3
    far = np.abs(spotted.astype(float) - grey) > 120
    assert (changed & far).sum() > 0.97 * far.sum()
    holes = spotted.astype(np.float32)
    holes[:, 3] = np.nan
    with_holes = take_out(list(holes))
    assert with_holes is not None
    assert np.array_equal(np.isnan(with_holes.planes[0]), np.isnan(holes[0]))
    assert take_out([np.full((8, 8), 7.0)]) is None


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({**CAMERA, "offset": 150.0}, "offset=150 grey values lies above the dark"),
        ({**CAMERA, "offset": 0.0}, "times the variance"),
        ({**CAMERA, "read_noise": 160.0}, "times the variance"),
        ({**CAMERA, "gain": 22.0}, "times the variance"),
        ({**CAMERA, "gain": 0.22}, "times the variance"),
        ({"gain": 4.4}, "gain=4.4 does not fit"),
        ({"gain": 22.0}, "times the variance"),
        ({"gain": 0.22}, "gain=0.22 does not fit the noise, which grows by"),
        ({"gain": 2.2, "offset": 0.0}, "offset=0 grey values is darker than"),
        ({"gain": 2.2, "offset": 150.0}, "offset=150 grey values lies above"),
        ({"gain": 2.2, "read_noise": 160.0}, "follows from read_noise=160"),
        ({"noise": "gaussian", "sigma": 0.07}, "times the variance"),
        ({"noise": "gaussian", "sigma": 700.0}, "times the variance"),
        ({"noise": "poisson", "gain": 22.0, "offset": 100.0}, "times the variance"),
        ({"noise": "poisson", "gain": 2.2}, "times the variance"),
        ({"noise": "impulse", **CAMERA, "gain": 22.0}, "times the variance"),
    ],
)
def test_wrong_units_are_never_silent(
    grey: NDArray[Any], known: dict[str, Any], words: str
) -> None:
    told = of(grey, **known).noise.warnings
    assert any(words in one for one in told)
    assert all(one.endswith(".") for one in told)
    assert any("check" in one for one in told)


@pytest.mark.parametrize("known", [CAMERA, {"gain": 2.2}])
def test_an_offset_above_the_image_is_refused(
    grey: NDArray[Any], known: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="offset=1000 grey values cannot be true"):
        of(grey, **{**known, "offset": 1000.0})


@pytest.mark.parametrize(
    ("known", "silent"),
    [
        (CAMERA, False),
        ({"noise": "gaussian", "sigma": 3.0}, False),
        ({"noise": "poisson", "gain": 2.0}, False),
        ({}, True),
        ({"gain": 2.2}, True),
        ({"gain": 2.2, "offset": 100.0}, True),
        ({"noise": "gaussian"}, True),
        ({"noise": "poisson"}, True),
        ({"noise": "impulse"}, True),
        ({"noise": "impulse", "outliers": 0.01}, True),
    ],
)
@pytest.mark.parametrize("kind", ["planes that are constant", "a ramp"])
def test_a_stack_without_noise_is_refused_unless_all_is_known(
    known: dict[str, Any], silent: bool, kind: str
) -> None:
    ramp = np.tile(100 + np.arange(64.0), (3, 64, 1))
    flat = np.arange(3.0)[:, None, None] * np.ones((3, 64, 64))
    planes = ramp if kind == "a ramp" else flat
    if silent:
        with pytest.raises(InputError, match="check that the right file"):
            of(planes, **known)
        return
    found = of(planes, **known)
    assert found.points.count.size == 0
    assert "could not be held against the stack" in found.noise.warnings[-1]


def test_counting_photons_needs_noise_that_grows(
    electrons: NDArray[np.float64], rng: np.random.Generator
) -> None:
    falling = rng.normal(0, 1, electrons.shape) * np.sqrt(70 - electrons)
    noise = of(electrons + falling, low_counts=True).noise
    assert isinstance(noise, PoissonGaussian)
    assert not noise.counting
    assert "low_counts has no effect" in noise.warnings[-1]
    counts = of(rng.poisson(electrons / 20).astype(np.uint16), low_counts=True).noise
    assert isinstance(counts, PoissonGaussian)
    assert counts.counting


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        pytest.param(np.zeros((4, 40, 40), "u2"), "every value is 0", id="constant"),
        pytest.param(np.full((4, 40, 40), 65535, "u2"), "is constant", id="saturated"),
        pytest.param(np.full((4, 40, 40), np.nan), "no finite value", id="all-nan"),
        pytest.param(
            np.where(np.arange(40) < 30, 65535, np.arange(40)).astype("u2")
            * np.ones((4, 40, 1), "u2"),
            r"is saturated: 75% of its voxels are at 65535; record it again",
            id="mostly-saturated",
        ),
    ],
)
def test_channels_that_tell_nothing_are_one_sentence(
    stack: NDArray[Any], words: str
) -> None:
    for known in ({}, CAMERA):
        with pytest.raises(InputError, match=words):
            measure_channels(
                [open_stack(stack, axes="ZYX")], parse_settings(NoiseSettings, **known)
            )


def test_infinite_voxels_are_not_saturated_ones(grey: NDArray[Any]) -> None:
    y = grey.astype(np.float32)
    y[:, :90] = np.inf
    (channel,) = measure_channels([open_stack(y, axes="ZYX")], NoiseSettings())
    assert np.isfinite(channel.noise.variance(150.0))
    (spots,) = measure_channels(
        [open_stack(y, axes="ZYX")], NoiseSettings(noise="impulse")
    )
    assert np.isfinite(spots.noise.variance(150.0))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"gain": 0.0}, "gain=0.0"),
        ({"gain": -2.0}, "gain=-2.0"),
        ({"gain": INF}, "gain=inf"),
        ({"gain": 1.0, "read_noise": -1.0}, "read_noise=-1.0"),
        ({"gain": 1.0, "offset": float("nan")}, "offset=nan"),
        ({"noise": "gaussian", "sigma": 0.0}, "sigma=0.0"),
        ({"noise": "impulse", "outliers": 1.0}, "outliers=1.0"),
        ({"noise": "impulse", "outliers": 0.0}, "outliers=0.0"),
        ({"noise": "speckle"}, "noise='speckle'"),
        ({"offset": 100.0}, "offset alone cannot be used.*give gain as well"),
        ({"offset": 1.0, "read_noise": 1.0}, "offset and read_noise alone"),
        ({"noise": "camera", "gain": 2.0}, "needs gain, offset and read_noise"),
        ({"sigma": 3.0}, "sigma=3.0 has no meaning with noise='auto'"),
        ({"outliers": 0.1}, "belongs to noise='impulse'"),
        ({"noise": "gaussian", "gain": 2.0}, "gain=2.0 has no meaning"),
        ({"noise": "poisson", "gain": 2.0, "read_noise": 1.0}, "read_noise=1.0 has no"),
        ({"noise": "gaussian", "low_counts": True}, "low_counts=True has no meaning"),
    ],
)
def test_impossible_settings_name_argument_value_and_way_out(
    option: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as refused:
        parse_settings(NoiseSettings, **option)
    assert str(refused.value).endswith(".")


number = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
interval = st.none() | st.tuples(number, number)
sentences = st.lists(st.text(max_size=20), max_size=2).map(tuple)
affine = st.builds(
    PoissonGaussian,
    positive,
    number,
    st.none() | number,
    st.none() | positive,
    positive,
    interval,
    interval,
    interval,
    interval,
    st.booleans(),
    sentences,
)
kinds = st.one_of(
    affine,
    st.builds(Gaussian.from_sigma, positive, interval),
    st.builds(Poisson.from_gain, positive, number, interval),
    st.builds(
        Impulse,
        st.floats(0.001, 0.5),
        number,
        number,
        affine.map(lambda base: PoissonGaussian(base.a, base.b, floor=base.floor)),
        interval,
        sentences,
    ),
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(kinds)
def test_every_noise_survives_json(noise: NoiseModel) -> None:
    back = noise_from_dict(json.loads(json.dumps(noise.as_dict())))
    assert type(back) is type(noise)
    assert back == noise
