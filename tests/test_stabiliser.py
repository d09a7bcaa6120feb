"""Grey values in units of their noise: there and back, and as blind as before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_student
from napari_blindspot.config import NetworkSettings
from napari_blindspot.config.students import StudentSettings
from napari_blindspot.model import Model
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.stabiliser import Stabiliser
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.noise.likelihood import Affine
from networks import random_network
from test_blindness import inside_hole, seen_by
from test_prediction import random_model, stream
from test_students import stack_of, streamed

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import Hole

FLOOR = 1e-6
CAMERAS = [
    pytest.param(0.05, 0.002, id="camera"),
    pytest.param(0.3, 1e-3, id="few-photons"),
    pytest.param(0.0, 0.04, id="read-noise-alone"),
    pytest.param(1e-9, 0.04, id="hardly-a-photon"),
    pytest.param(0.1, -0.003, id="darkness-below-zero"),
    pytest.param(0.02, 0.0, id="photons-alone"),
]


def eyes_for(a: float, b: float, floor: float = FLOOR) -> Stabiliser:
    eyes = Stabiliser().double()
    eyes.fit(a, b, floor)
    return eyes


def row(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def noisy_eyed(
    half_planes: str = "all", context: int = 2, hole: Hole = (1, 1, 1)
) -> BlindSpotNetwork:
    """Return a random network in units of a noise that depends on the brightness."""
    network = random_network(
        context=context, half_planes=half_planes, units="noise", hole=hole
    )
    assert network.eyes is not None
    network.eyes.fit(0.1, 0.3, FLOOR)
    return network


@pytest.mark.parametrize(("a", "b"), CAMERAS)
def test_the_inverse_undoes_the_transform(a: float, b: float) -> None:
    eyes = eyes_for(a, b)
    lowest = -float(eyes.level[0]) / a if a > 1e-6 else -3.0
    t = row(
        np.concatenate([np.linspace(max(lowest, -3), 0, 40), np.geomspace(1e-4, 50)])
    )
    back = eyes.inverse(eyes(t))
    # The noise of the lowest value is 0, and the slope of the transform has no end.
    torch.testing.assert_close(back, t, rtol=1e-6, atol=2e-6)


def test_values_below_the_lowest_possible_come_back_as_that() -> None:
    eyes = eyes_for(0.1, 0.02)
    lowest = -float(eyes.level[0]) / 0.1
    back = eyes.inverse(eyes(row([lowest - 0.1, lowest - 30.0])))
    torch.testing.assert_close(back, row([lowest, lowest]))


@pytest.mark.parametrize(("a", "b"), CAMERAS)
def test_darkness_stays_zero_and_brighter_stays_brighter(a: float, b: float) -> None:
    eyes = eyes_for(a, b)
    assert float(eyes(row([0.0]))) == 0
    z = eyes(row(np.linspace(-2, 20, 400)))
    assert (torch.diff(z[0, 0, 0]) > 0).all()


def test_without_photons_it_divides_by_the_noise() -> None:
    t = row([-2.0, -0.1, 0.0, 3.0])
    torch.testing.assert_close(eyes_for(0.0, 0.04)(t), t / 0.2)


def test_before_any_stack_it_leaves_values_as_they_are() -> None:
    t = row(np.linspace(-5, 5, 11))
    eyes = Stabiliser().double()
    torch.testing.assert_close(eyes(t), t)
    torch.testing.assert_close(eyes.inverse(t), t)
    torch.testing.assert_close(eyes.spread(t), torch.ones_like(t))


@pytest.mark.parametrize("read_noise", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("photons", [0.0, 1.0, 5.0, 30.0, 300.0])
def test_noise_has_a_deviation_of_one_at_every_brightness(
    photons: float, read_noise: float
) -> None:
    rng = np.random.default_rng(1)
    scale = 40.0  # electrons per network unit
    recorded = rng.poisson(photons, 40_000) + read_noise * rng.normal(size=40_000)
    eyes = eyes_for(1 / scale, (read_noise / scale) ** 2)
    deviation = float(eyes(row(recorded / scale)).std())
    if photons + read_noise**2 < 1.2:
        assert 0.3 < deviation < 1.2  # next to nothing is counted, none is amplified
    else:
        assert deviation == pytest.approx(1, abs=0.15)
    assert float(row(recorded / scale).std()) != pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("a", "b"), CAMERAS)
def test_every_gradient_is_finite(a: float, b: float) -> None:
    eyes = eyes_for(a, b)
    lowest = -float(eyes.level[0]) / a if a else -1.0
    t = row([lowest - 1, lowest, lowest / 2, 0.0, 1e-8, 1.0, 40.0]).requires_grad_(True)
    for function in (eyes, eyes.inverse, eyes.spread):
        (gradient,) = torch.autograd.grad(function(t).sum(), t)
        assert torch.isfinite(gradient).all()


def test_the_spread_is_that_of_the_noise_and_never_nothing() -> None:
    a, b = 0.1, 0.02
    eyes = eyes_for(a, b)
    bright = float(eyes.spread(row([5.0])))
    assert bright == pytest.approx((a * 5 + b) ** 0.5, rel=0.01)
    below = float(eyes.spread(row([-1e3])))
    assert below == pytest.approx((float(eyes.level[0]) / 9) ** 0.5)


def test_every_image_is_seen_in_units_of_its_own_channel() -> None:
    eyes = Stabiliser(3).double()
    noises = [(0.0, 0.04), (0.1, 0.01), (0.5, 0.3)]
    for kind, (a, b) in enumerate(noises):
        eyes.fit(a, b, FLOOR, kind)
    t = torch.rand(4, 2, 5, 6, dtype=torch.float64)
    kind = torch.tensor([2, 0, 1, 2])
    together = eyes(t, kind)
    for image, which in enumerate(kind.tolist()):
        alone = eyes_for(*noises[which])
        one = t[image : image + 1]
        torch.testing.assert_close(together[image : image + 1], alone(one))
        torch.testing.assert_close(
            eyes.spread(one, kind[image : image + 1]), alone.spread(one)
        )
    torch.testing.assert_close(eyes.inverse(together, kind), t)


@pytest.mark.parametrize("half_planes", ["centre", "all"])
@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 3, 3), (1, 1, 5), (3, 3, 1)])
def test_a_network_in_units_of_noise_is_blind_to_its_hole_and_to_no_more(
    hole: Hole, half_planes: str
) -> None:
    network, shape = noisy_eyed(half_planes), (5, 15, 13)
    for pixel in ((7, 6), (0, 12)):
        seen = seen_by(network, pixel, hole, shape)
        hidden = inside_hole(shape, pixel, hole)
        assert torch.all(seen[hidden] == 0)
        assert torch.all(seen[~hidden] > 0)


@pytest.mark.parametrize("context", [0, 1])
@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 5, 3), (3, 1, 1)])
def test_no_context_shows_a_voxel_to_itself(context: int, hole: Hole) -> None:
    network, shape = noisy_eyed(context=context), (2 * context + 1, 15, 13)
    seen = seen_by(network, (7, 6), hole, shape)
    hidden = inside_hole(shape, (7, 6), hole)
    assert torch.all(seen[hidden] == 0)
    assert seen[~hidden].min() > 0


def test_a_stabiliser_that_smears_would_be_caught() -> None:
    network = noisy_eyed(context=0)
    blur = torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    eyes = network.eyes
    assert eyes is not None
    sharp = eyes.forward
    eyes.forward = lambda t, kind=None: sharp(blur(t), kind)  # type: ignore[method-assign]
    assert seen_by(network, (7, 6), (1, 1, 1), (1, 15, 13))[0, 7, 6] > 0


def test_without_neighbours_in_sight_their_planes_say_nothing() -> None:
    network = noisy_eyed()
    x = torch.rand(1, 5, 16, 16, dtype=torch.float64)
    other = x.clone()
    other[:, [0, 1, 3, 4]] += torch.rand(1, 4, 16, 16, dtype=torch.float64)
    before, after = network(x, (5, 1, 1)), network(other, (5, 1, 1))
    assert torch.equal(before.mean, after.mean)
    assert not torch.equal(network(x).mean, network(other).mean)


@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 3, 9)])
def test_a_teacher_in_units_of_noise_is_tiled_exactly(
    hole: Hole, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (4, 90, 75)).astype(np.uint16)
    model = random_model(hole=hole, units="noise", half_planes="all")
    model.teacher.eyes.fit(0.02, 0.002, FLOOR)  # type: ignore[union-attr]
    whole = stream(model, values, values.shape)  # type: ignore[arg-type]
    plain = stream(random_model(hole=hole, half_planes="all"), values, values.shape)  # type: ignore[arg-type]
    assert np.abs(whole - plain).max() > 0.01 * np.ptp(plain)
    tiled = stream(model, values, (2, 32, 48))
    np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-5 * np.ptp(whole))
    cut = stream(model, values, (4, 32, 32), halo=8)
    assert np.abs(cut - whole).max() > 1e-3 * np.ptp(whole)


def noise_student(starts: int = 1) -> Model:
    """Return a random student that sees every channel in units of its own noise."""
    plain = random_student()
    settings = StudentSettings(
        **plain.settings.model_dump(exclude={"units", "starts"}),
        units="noise",
        starts=starts,
    )
    network = StudentNetwork(settings)
    network.load_state_dict(plain.network.state_dict(), strict=False)
    for kind in range(starts):
        noise = Affine(0.02 * (1 + 3 * kind), 0.01, FLOOR)
        network.take_noise(noise, kind)
    return Model(
        network.eval(), plain.scales * starts, plain.noise * starts, plain.context_axis
    )


def test_a_student_in_units_of_noise_is_tiled_exactly(
    rng: np.random.Generator,
) -> None:
    model = noise_student()
    values = rng.poisson(20, (1, 3, 120, 101)).astype(np.uint16)
    stack = stack_of(values, "CZYX")
    whole = streamed(model, stack, (3, 120, 101))
    close = {"rtol": 1e-4, "atol": 1e-5 * np.ptp(whole)}
    np.testing.assert_allclose(streamed(model, stack, (2, 32, 48)), whole, **close)
    cut = streamed(model, stack, (3, 32, 32), halo=4)
    assert np.abs(cut - whole).max() > 1e-3 * np.ptp(whole)


def test_a_student_looks_at_every_channel_in_units_of_its_noise(
    rng: np.random.Generator,
) -> None:
    both = noise_student(starts=2)
    values = rng.poisson(20, (2, 3, 40, 33)).astype(np.uint16)
    result = nb.predict(both, values, axes="CZYX").image
    alone = noise_student()
    first = nb.predict(alone, values[0], axes="ZYX").image
    np.testing.assert_allclose(result[0], first, rtol=1e-4, atol=1e-3)
    second = nb.predict(alone, values[1], axes="ZYX").image
    assert np.abs(result[1] - second).max() > 1
    alone.network.take_noise(Affine(0.08, 0.01, FLOOR))  # type: ignore[union-attr, operator]
    second = nb.predict(alone, values[1], axes="ZYX").image
    np.testing.assert_allclose(result[1], second, rtol=1e-4, atol=1e-3)


def test_a_student_of_plain_units_takes_no_noise() -> None:
    network = StudentNetwork(StudentSettings(width=4, depth=1, context=0))
    before = {name: one.clone() for name, one in network.state_dict().items()}
    network.take_noise(Affine(0.1, 0.1, FLOOR))
    assert network.eyes is None
    for name, one in network.state_dict().items():
        assert torch.equal(one, before[name])


def test_a_network_in_units_of_noise_forgets_how_bright_the_light_was() -> None:
    """Twice the photons in twice the units are the same image to the U-Nets."""
    network = BlindSpotNetwork(
        NetworkSettings(width=4, depth=1, context=0, units="noise")
    ).double()
    network.wake()
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    assert network.eyes is not None
    network.eyes.fit(0.1, 0.02, FLOOR)
    once = network(x)
    network.eyes.fit(0.2, 0.08, FLOOR)
    twice = network(2 * x)
    torch.testing.assert_close(twice.mean, 2 * once.mean)
    torch.testing.assert_close(twice.variance, 4 * once.variance, rtol=1e-4, atol=1e-9)
