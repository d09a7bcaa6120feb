"""Blind spots: which are chosen, which are refused, and answers behind all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.config import (
    DenoiseSettings,
    NoiseSettings,
    Recipe,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import InputError
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.methods import get_method
from napari_blindspot.networks.blind_filter import BlindFilter
from napari_blindspot.stack import Stack
from napari_blindspot.training.holes import Holes, choose_holes, found_holes
from napari_blindspot.training.varying import deeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import Hole

HOLES: list[Hole] = [(1, 1, 1), (1, 3, 5), (1, 9, 9), (1, 13, 13), (3, 1, 1), (9, 5, 5)]


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


def scene_of(rng: np.random.Generator, side: int = 160) -> NDArray[np.float64]:
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.normal(size=(6, side, side)), (1.5, 9, 9))
    return 200 + 400 * (field - field.min())


def noise_of(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return noise of standard deviation 30: white, or shared along an axis."""
    from scipy import ndimage

    noise = rng.normal(size=shape)
    if kind == "rows":
        noise = ndimage.uniform_filter1d(noise, 3, axis=-1, mode="wrap")
    if kind == "columns":
        noise = ndimage.uniform_filter1d(noise, 3, axis=-2, mode="wrap")
    return 30 * noise / noise.std()


def stack_of(*channels: NDArray[Any]) -> Stack:
    values = np.stack(channels).astype(np.float32)
    return Stack(da.from_array(values, chunks=(1, 2, 64, 64)), "CZYX")


def chosen(stack: Stack | None = None, method: str = "bayesian", **given: Any) -> Holes:
    settings = parse_settings(TrainSettings, method=method, **given)
    known = () if stack is None else measure_channels([stack], NoiseSettings())
    stacks = [] if stack is None else [stack]
    return choose_holes(settings, get_method(method), stacks, known)


@pytest.mark.parametrize(
    ("method", "given", "train", "result"),
    [
        ("bayesian", {}, (1, 1, 1), (1, 1, 1)),
        ("bayesian", {"hole": (1, 3, 5)}, (1, 3, 5), (1, 3, 5)),
        ("bayesian", {"train_hole": (1, 5, 5)}, (1, 5, 5), (1, 1, 1)),
        (
            "bayesian",
            {"train_hole": (1, 5, 5), "hole": (1, 3, 1)},
            (1, 5, 5),
            (1, 3, 1),
        ),
        ("atbsn", {}, (1, 9, 9), (1, 3, 3)),
        ("atbsn", {"hole": (1, 1, 1)}, (1, 9, 9), (1, 1, 1)),
        ("atbsn", {"hole": (1, 11, 3)}, (1, 11, 9), (1, 11, 3)),
        ("atbsn", {"hole": (3, 3, 3)}, (3, 9, 9), (3, 3, 3)),
        ("atbsn", {"train_hole": (1, 1, 9)}, (1, 1, 9), (1, 1, 3)),
    ],
)
def test_the_holes_follow_settings_then_method(
    method: str, given: dict[str, Any], train: Hole, result: Hole
) -> None:
    assert chosen(method=method, **given) == Holes(train, result)


def test_planes_never_seen_in_training_are_not_asked_for_unless_told() -> None:
    holes = chosen(method="atbsn", train_hole=(3, 9, 9))
    assert (holes.train, holes.result) == ((3, 9, 9), (3, 3, 3))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"hole": (1, 2, 1)}, r"hole=\(1, 2, 1\) has an even size"),
        ({"train_hole": (1, 4, 5)}, r"train_hole=\(1, 4, 5\) has an even size"),
        ({"hole": "auto", "train_hole": (1, 4, 4)}, "train_hole=.* even size"),
        ({"hole": (1, -3, 1)}, r"hole=\(1, -3, 1\) is no blind spot; .* from 1 to 63"),
        ({"hole": (0, 0, 0)}, r"hole=\(0, 0, 0\) is no blind spot"),
        ({"hole": (1, 1, 65)}, r"hole=\(1, 1, 65\) is no blind spot"),
        ({"train_hole": (1, 0, 1)}, r"train_hole=\(1, 0, 1\) is no blind spot"),
        ({"hole": (3, 3)}, "three odd sizes z y x"),
        ({"hole": 5}, "hole=5 is no blind spot"),
        ({"hole": "big"}, "'big' is no blind spot; .* or 'auto'"),
        ({"hole": ("1", "x", "1")}, "is no blind spot"),
        ({"train_hole": "auto"}, "train_hole='auto' is no blind spot"),
        (
            {"hole": (1, 5, 5), "train_hole": (1, 5, 3)},
            r"hole=\(1, 5, 5\) is larger than train_hole=\(1, 5, 3\)",
        ),
    ],
    ids=str,
)
def test_other_holes_are_refused_in_a_sentence(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        parse_settings(DenoiseSettings, **given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [20, 23])
def test_a_hole_as_large_as_a_crop_is_refused_before_training(
    side: int, rng: np.random.Generator
) -> None:
    values = rng.poisson(50, (4, side, 40)).astype(np.uint16)
    with pytest.raises(InputError, match=r"\(1, 17, 1\) .* training crop of 16 px"):
        nb.train(values, hole=(1, 17, 1), steps=1)


def test_white_noise_asks_for_the_smallest_hole(rng: np.random.Generator) -> None:
    clean = scene_of(rng)
    holes = chosen(stack_of(clean + noise_of(rng, "white", clean.shape)), hole="auto")
    assert (holes.train, holes.result) == ((1, 1, 1), (1, 1, 1))
    assert holes.sentence.startswith("The noise is white: blind spot 1 1 1 (z y x)")
    assert not holes.tunable


def test_noise_that_rows_share_asks_for_a_hole_along_x(
    rng: np.random.Generator,
) -> None:
    clean = scene_of(rng)
    holes = chosen(stack_of(clean + noise_of(rng, "rows", clean.shape)), hole="auto")
    z, y, x = holes.result
    assert (z, y) == (1, 1)
    assert x >= 5  # three pixels share their noise: two on either side
    assert "row-correlated" in holes.sentence
    assert "weighed by the noise model" in holes.sentence


def test_channels_that_differ_get_the_union_of_their_holes(
    rng: np.random.Generator,
) -> None:
    clean = scene_of(rng)
    stack = stack_of(
        *(clean + noise_of(rng, k, clean.shape) for k in ("rows", "columns"))
    )
    holes = chosen(stack, hole="auto")
    z, y, x = holes.result
    assert z == 1
    assert min(y, x) >= 5
    assert "row-correlated and column-correlated" in holes.sentence


def test_of_several_stacks_every_axis_gets_the_largest_size(
    rng: np.random.Generator,
) -> None:
    clean = scene_of(rng)
    stacks = [
        stack_of(clean + noise_of(rng, kind, clean.shape))
        for kind in ("white", "rows", "columns")
    ]
    channels = measure_channels(stacks, NoiseSettings())
    alone = [found_holes([one], channels).result for one in stacks]
    assert alone[0] == (1, 1, 1)
    assert alone[1][2] >= 5
    assert alone[2][1] >= 5
    together = found_holes(stacks, channels)
    assert together.result == tuple(map(max, zip(*alone, strict=True)))
    for words in ("white and row-correlated", "that one of the 3 stacks asks for"):
        assert words in together.sentence
    assert "stacks" not in found_holes(stacks[:1], channels).sentence


def test_a_stack_too_small_to_tell_gets_the_smallest_hole_and_a_sentence(
    rng: np.random.Generator,
) -> None:
    values = rng.poisson(50, (4, 24, 24)).astype(np.uint16)
    holes = chosen(stack_of(values), hole="auto")
    assert holes.result == (1, 1, 1)
    assert holes.sentence.startswith("It cannot be told whether neighbours share")


def test_the_sentence_does_not_promise_a_noise_model_where_there_is_none(
    rng: np.random.Generator,
) -> None:
    clean = scene_of(rng)
    stack = stack_of(clean + noise_of(rng, "rows", clean.shape))
    holes = chosen(stack, method="atbsn", hole="auto")
    assert "noise model" not in holes.sentence


def test_auto_keeps_the_training_hole_of_the_method(rng: np.random.Generator) -> None:
    clean = scene_of(rng)
    stack = stack_of(clean + noise_of(rng, "rows", clean.shape))
    holes = chosen(stack, method="atbsn", hole="auto")
    assert holes.result[1] == 1 < holes.result[2]
    assert holes.train == (1, 9, max(9, holes.result[2]))


def test_a_training_hole_too_small_for_the_noise_is_refused(
    rng: np.random.Generator,
) -> None:
    clean = scene_of(rng)
    stack = stack_of(clean + noise_of(rng, "rows", clean.shape))
    assert chosen(stack, hole="auto", train_hole=(1, 9, 9)).train == (1, 9, 9)
    with pytest.raises(InputError, match=r"train_hole=\(1, 3, 3\) is smaller than"):
        chosen(stack, hole="auto", train_hole=(1, 3, 3))


@pytest.mark.parametrize("hole", [(1, 1, 1), (3, 1, 1), (5, 1, 1), (9, 1, 1)], ids=str)
def test_withheld_planes_reach_every_depth_and_never_less_than_the_hole(
    hole: Hole,
) -> None:
    recipe, rng = Recipe(drop_planes=1.0), np.random.default_rng(0)
    depths = {deeper(hole, 2, recipe, rng) for _ in range(60)}
    least = min(hole[0] // 2, 2)
    assert depths == {(2 * k + 1, 1, 1) for k in range(least, 3)}
    assert deeper(hole, 2, Recipe(), rng) is None


def test_training_behind_a_hole_deeper_than_the_context_runs(
    rng: np.random.Generator,
) -> None:
    values = rng.poisson(50, (6, 40, 40)).astype(np.uint16)
    model = nb.train(values, hole=(9, 1, 1), train_hole=(9, 3, 3), steps=12)
    assert model.result_hole == (9, 1, 1)
    assert np.isfinite(nb.predict(model, values).image).all()


def negative_far_taps() -> BlindFilter:
    """A filter as least squares fits it to sharp images, whose far taps subtract."""
    start = BlindFilter(context=1)
    kernel = torch.zeros_like(start.kernel)
    kernel[0, 1, 4:7, 4:7], kernel[0, 1, 5, 5] = 0.2, 0
    kernel[0, 1, 3, 3:8] = kernel[0, 1, 7, 3:8] = -0.06
    start.kernel.copy_(kernel)
    assert float(kernel.sum()) == pytest.approx(1)
    return start


@pytest.mark.parametrize("hole", [(1, 3, 3), (1, 5, 5), (1, 9, 9), (3, 3, 3)], ids=str)
def test_a_filter_stays_an_average_behind_a_larger_hole(hole: Hole) -> None:
    start = negative_far_taps()
    kernel = start.behind(hole)
    assert float((kernel * (1 - start.visible(hole))).abs().sum()) == 0
    planes = 5 + torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    mean = start(planes, hole)[0, 0]
    inner = mean[6:-6, 6:-6]
    assert 4 < float(inner.min()) < float(inner.max()) < 6
    assert float(mean.abs().max()) < 15


def test_a_filter_behind_its_own_hole_is_as_it_was_fitted() -> None:
    start = negative_far_taps()
    assert torch.equal(start.behind((1, 1, 1)), start.kernel)


def test_nothing_to_see_gives_zero_rather_than_nonsense() -> None:
    start = BlindFilter(context=0)
    assert float(start(torch.ones(1, 1, 20, 20), (1, 11, 11)).abs().max()) == 0


@pytest.mark.parametrize("method", ["bayesian", "atbsn"])
def test_a_trained_teacher_answers_sensibly_behind_every_hole(
    method: str, phantom: Any
) -> None:
    model = nb.train(phantom.noisy, method=method, steps=25)
    noisy = np.sqrt(np.mean((phantom.noisy - phantom.truth) ** 2))
    spread = phantom.truth.std()
    for hole in HOLES:
        image = nb.predict(model, phantom.noisy, hole=hole).image
        error = np.sqrt(np.mean((image - phantom.truth) ** 2))
        assert error < 1.5 * max(noisy, spread), hole


def test_predict_answers_behind_the_hole_that_is_asked_for(
    rng: np.random.Generator,
) -> None:
    values = rng.poisson(20, (3, 40, 37)).astype(np.uint16)
    model = random_teacher(hole=(1, 3, 3))
    own = nb.predict(model, values)
    assert np.array_equal(nb.predict(model, values, hole=(1, 3, 3)).image, own.image)
    for hole in HOLES:
        result = nb.predict(model, values, hole=hole)
        assert result.model.result_hole == hole
        assert not np.array_equal(result.image, own.image)
    assert model.result_hole == (1, 3, 3)


def test_another_hole_forgets_what_was_found_out_about_the_trained_one(
    rng: np.random.Generator,
) -> None:
    values = rng.poisson(20, (6, 48, 48)).astype(np.uint16)
    model = nb.train(values, steps=4)
    assert model.recalibration
    assert model.at_hole((1, 1, 1)).recalibration == model.recalibration
    (turned,) = model.at_hole((1, 3, 3)).recalibration
    assert turned.noise == model.recalibration[0].noise
    assert set(turned.variance) == {1.0}
    assert turned.shift == ()


def test_the_hole_may_come_from_the_stack_that_is_denoised(
    rng: np.random.Generator,
) -> None:
    clean = scene_of(rng)
    stack = stack_of(clean + noise_of(rng, "rows", clean.shape))
    model, told = random_teacher(), []
    result = nb.predict(
        model, stack, hole="auto", on_progress=lambda event: told.append(event.message)
    )
    assert result.model.result_hole[2] >= 5
    assert any("row-correlated" in message for message in told)


def test_the_noise_model_is_checked_behind_the_hole_of_the_result(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_blindspot.training import checking

    seen, inspect = [], checking.inspect

    def noted(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["hole"])
        return inspect(*args, **kwargs)

    monkeypatch.setattr(checking, "inspect", noted)
    values = rng.poisson(50, (4, 48, 48)).astype(np.uint16)
    nb.train(values, hole=(1, 1, 3), train_hole=(1, 5, 5), steps=2)
    assert seen == [(1, 1, 3)]


@pytest.mark.parametrize("hole", [(1, 3, 3), "auto"])
def test_a_student_has_no_hole_to_turn(hole: Any, rng: np.random.Generator) -> None:
    values = rng.poisson(20, (3, 40, 37)).astype(np.uint16)
    with pytest.raises(InputError, match=r"hole=.* is a student, .* leave hole out"):
        nb.predict(random_student(), values, hole=hole)


def test_the_halo_grows_with_the_hole() -> None:
    small, large = (
        Predictor(random_teacher(result_hole=hole), torch.device("cpu"))
        for hole in ((1, 1, 1), (1, 1, 9))
    )
    assert large.halo == small.halo + 4
