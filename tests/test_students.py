"""Students: taught on a small stack, tiled, and used in place of their teacher."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.asked import distill_settings
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.inference.matching import series_for
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.io import open_sink
from napari_blindspot.joint import together
from napari_blindspot.progress import run
from napari_blindspot.stack import Stack
from napari_blindspot.training import distilling
from napari_blindspot.training.distilling import holes_of
from napari_blindspot.training.teaching import Lessons
from streams import stream_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.model import Model

QUICK = distilling.student_recipe("cpu").model_copy(update={"lessons": 24, "crop": 40})


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and small lessons, for students that need not be good."""
    monkeypatch.setattr(distilling, "student_recipe", lambda _: QUICK)


def streamed(
    model: Model, stack: Stack, block: tuple[int, int, int], halo: int | None = None
) -> NDArray[np.float32]:
    predictor = make_predictor(model, torch.device("cpu"))
    if halo is not None:
        predictor.halo = halo
    work: Any = series_for(model, stack)
    if model.settings.channels > 1:
        work, _ = together(work, work)
    fields = [predictor.noise_field(one.channel) for one in work]
    shape = dict(zip("ZYX", block, strict=True))
    sink = open_sink(
        None,
        stack,
        np.dtype(np.float32),
        tuple(shape.get(axis, 1) for axis in stack.axes),
        provenance={},
        overwrite=False,
    )
    stream_blocks(predictor, work, fields, block, sink)
    image: NDArray[np.float32] = run(sink.finish())
    return image


def stack_of(values: NDArray[Any], axes: str) -> Stack:
    return Stack(da.from_array(values, chunks=values.shape), axes)


TILED = {
    "student": random_student(),
    "joint student": random_student(channels=2),
    "mean alone": random_teacher(answer="mean", hole=(1, 9, 9), result_hole=(1, 3, 3)),
    "larger hole": random_teacher(result_hole=(3, 5, 11)),
    "joint, other hole": random_teacher(channels=2, result_hole=(1, 7, 3)),
}


@pytest.mark.parametrize("kind", TILED)
def test_tiled_equals_whole(kind: str, rng: np.random.Generator) -> None:
    model, (planes, rows, columns) = TILED[kind], (3, 120, 101)
    values = rng.poisson(20, (model.n_channels, planes, rows, columns))
    stack = stack_of(values.astype(np.uint16), "CZYX")
    whole = streamed(model, stack, (planes, rows, columns))
    close = {"rtol": 1e-4, "atol": 1e-5 * np.ptp(whole)}
    for block in ((1, 32, 32), (2, 120, 48)):
        np.testing.assert_allclose(streamed(model, stack, block), whole, **close)
    cut = streamed(model, stack, (planes, 32, 32), halo=4)
    assert np.abs(cut - whole).max() > 1e-3 * np.ptp(whole)


@pytest.mark.parametrize("channels", [1, 2])
def test_missing_voxels_stay_missing_in_a_students_result(
    channels: int, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (channels, 3, 30, 30)).astype(np.float32)
    values[0, 1, 5:9, 5:9] = np.nan
    result = nb.predict(random_student(channels=channels), values, axes="CZYX")
    assert np.array_equal(np.isnan(result.image), np.isnan(values))
    assert result.metrics["expected_psnr"] is None


@pytest.mark.parametrize(
    "model", [random_student(), random_teacher(answer="mean")], ids=["student", "mean"]
)
def test_no_uncertainty_is_refused_before_anything_is_written(
    model: Model, tmp_path: Path, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (3, 30, 30)).astype(np.uint16)
    with pytest.raises(
        InputError, match=r"uncertainty=True cannot be given: the model"
    ):
        nb.predict(model, values, tmp_path / "out.ome.zarr", uncertainty=True)
    path = nb.save_model(model, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"uncertainty=True cannot be given"):
        nb.denoise(values, tmp_path / "out.tif", model=path, uncertainty=True)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "given",
    [
        {"method": "atbsn"},
        {"method": "atbsn", "student": "none"},
        {"student": "tiny"},
        {"student": "full", "model": "teacher.safetensors"},
    ],
    ids=str,
)
def test_no_uncertainty_is_refused_as_a_setting(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="uncertainty=True cannot be given"):
        parse_settings(DenoiseSettings, uncertainty=True, **given)


@pytest.fixture(scope="module")
def teacher() -> Model:
    from napari_blindspot.sample import nuclei_phantom

    return nb.train(nuclei_phantom((8, 64, 64), seed=1).noisy, steps=20)


def test_a_student_comes_close_to_its_teacher_and_leaves_it_alone(
    teacher: Model, phantom: Any
) -> None:
    weights = copy.deepcopy(teacher.network.state_dict())
    student = nb.distill(teacher, phantom.noisy, student="tiny", steps=60)
    assert student.is_student
    assert not student.has_uncertainty
    assert student.settings.width == 8
    for name, tensor in teacher.network.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    told, taught = (nb.predict(m, phantom.noisy).image for m in (teacher, student))
    apart = np.sqrt(np.mean((told - taught) ** 2))
    errors = [np.sqrt(np.mean((a - phantom.truth) ** 2)) for a in (told, taught)]
    noisy = np.sqrt(np.mean((phantom.noisy - phantom.truth) ** 2))
    assert apart < 0.2 * noisy
    assert errors[1] < errors[0] + 0.1 * (noisy - errors[0])
    facts = student.provenance["distillation"]
    assert facts["student"] == "tiny"
    assert facts["holes"] == [[1, 1, 1]]


@pytest.mark.usefixtures("quick")
def test_the_same_seed_gives_the_same_student(teacher: Model, phantom: Any) -> None:
    students = [
        nb.distill(teacher, phantom.noisy, student="tiny", steps=60, seed=seed)
        for seed in (1, 1, 2)
    ]
    one, same, other = (m.network.state_dict() for m in students)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["last.weight"], other["last.weight"])


KINDS = {
    "image": ("YX", (70, 66), random_teacher(0)),
    "volume without context": ("ZYX", (4, 48, 50), random_teacher(0)),
    "movie": ("TYX", (5, 48, 50), random_teacher(axis="t")),
    "movie of volumes": ("TZYX", (4, 2, 48, 50), random_teacher(axis="t")),
    "channels, each": ("CZYX", (2, 4, 48, 50), random_teacher(starts=2)),
    "channels of one model": ("CZYX", (2, 4, 48, 50), random_teacher()),
    "channels, joint": ("CZYX", (2, 4, 48, 50), random_teacher(channels=2)),
    "planes below a lesson": ("ZYX", (3, 24, 33), random_teacher()),
    "smallest planes": ("ZYX", (3, 16, 17), random_teacher()),
    "mean alone": ("ZYX", (4, 48, 50), random_teacher(answer="mean", hole=(1, 5, 5))),
    "joint, mean alone": (
        "CZYX",
        (2, 4, 48, 50),
        random_teacher(channels=2, answer="mean"),
    ),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
def test_students_of_every_kind_of_stack(
    kind: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    axes, shape, model = KINDS[kind]
    values = rng.poisson(20, shape).astype(np.uint16)
    student = nb.distill(model, values, axes=axes, student="tiny", steps=4)
    assert student.settings.context == model.settings.context
    assert student.settings.channels == model.settings.channels
    result = nb.predict(student, values, axes=axes)
    assert result.image.shape == shape
    assert np.isfinite(result.image).all()
    back = nb.load_model(nb.save_model(student, tmp_path / "student"))
    assert np.array_equal(nb.predict(back, values, axes=axes).image, result.image)


@pytest.mark.usefixtures("quick")
def test_the_level_of_every_plane_and_a_dark_stack_are_told_to_the_teacher(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    values = (rng.poisson(40, (6, 48, 48)) + 100).astype(np.uint16)
    frames = rng.normal(100, 2, (40, 48, 48)).round().astype(np.uint16)
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, frames)
    for known in ({"noise_per_plane": True}, {"dark": dark}):
        student = nb.distill(random_teacher(), values, student="tiny", steps=2, **known)
        assert np.isfinite(nb.predict(student, values, **known).image).all()


@pytest.mark.usefixtures("quick")
def test_a_stack_of_other_channels_is_refused(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (3, 4, 48, 48)).astype(np.uint16)
    for model in (random_teacher(starts=2), random_teacher(channels=2)):
        with pytest.raises(InputError, match=r"2 channels .* stack has 3"):
            nb.distill(model, values, axes="CZYX", steps=2)


def test_a_student_teaches_nobody(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (4, 48, 48)).astype(np.uint16)
    with pytest.raises(InputError, match="is a student"):
        nb.distill(random_student(), values, steps=2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"student": "none"}, "student='none'"),
        ({"student": "huge"}, "student='huge'"),
        ({"minutes": 1, "steps": 5}, r"minutes=1 and steps=5"),
        ({"steps": 0}, "steps=0"),
        ({"minutes": float("nan")}, "minutes=nan"),
        ({"hole": (1, 3, 3)}, "is not a setting"),
    ],
    ids=str,
)
def test_what_cannot_be_taught_is_refused(
    given: dict[str, Any], sentence: str, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (4, 48, 48)).astype(np.uint16)
    with pytest.raises(InputError, match=sentence):
        nb.distill(random_teacher(), values, **given)


@pytest.mark.usefixtures("quick")
def test_a_run_denoises_with_the_student_of_a_model_file(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        distilling, "student_recipe", lambda _: QUICK.model_copy(update={"steps": 3})
    )
    values = rng.poisson(20, (4, 48, 48)).astype(np.uint16)
    path = nb.save_model(random_teacher(), tmp_path / "teacher.safetensors")
    result = nb.denoise(
        values, model=path, student="small", hole=(1, 3, 3), strength=0.5
    )
    assert result.model.is_student
    assert result.model.provenance["distillation"]["holes"] == [[1, 3, 3]]
    assert result.metrics["student"] == "small"
    alone = nb.denoise(values, model=path, student="none")
    assert not alone.model.is_student


@pytest.mark.parametrize(
    ("budget", "minutes"),
    [
        ({"minutes": 0.2}, 0.2),
        ({"minutes": 60}, None),
        ({"steps": 5}, None),
        ({"steps": 10**6}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_student_is_not_taught_for_longer_than_its_teacher_may_train(
    budget: dict[str, float], minutes: float | None
) -> None:
    settings = parse_settings(DenoiseSettings, method="atbsn", device="cpu", **budget)
    taught = distill_settings(settings, "small")
    steps = {5: 5, 10**6: QUICK.steps}.get(int(budget.get("steps", 0)))
    assert (taught.minutes, taught.steps) == (minutes, steps)


def test_the_teachers_of_a_mean_go_one_step_beyond_the_trained_hole() -> None:
    square = random_teacher(answer="mean", hole=(1, 9, 9), result_hole=(1, 3, 3))
    sizes = [(1, size, size) for size in (0, 1, 3, 5, 7, 9, 11)]
    assert holes_of(square) == tuple(sizes)
    rows = random_teacher(answer="mean", hole=(1, 1, 5))
    assert holes_of(rows) == ((1, 0, 0), (1, 1, 1), (1, 3, 3), (1, 3, 5), (1, 3, 7))
    assert holes_of(random_teacher(result_hole=(1, 3, 5))) == ((1, 3, 5),)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("model", "turned"),
    [
        (random_teacher(), True),
        (random_teacher(hole=(1, 5, 5)), True),
        (random_teacher(hole=(1, 1, 5)), False),
        (random_teacher(hole=(1, 5, 5), result_hole=(1, 1, 3)), False),
        (random_teacher(answer="mean", hole=(1, 3, 9)), False),
    ],
    ids=["white", "square", "rows", "answers in rows", "mean of rows"],
)
def test_rows_stay_rows_where_the_blind_spot_knows_them_from_columns(
    model: Model,
    turned: bool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Lessons] = []

    def noted(student: Any, lessons: Lessons, *args: Any, **kwargs: Any) -> Any:
        seen.append(lessons)
        return teach(student, lessons, *args, **kwargs)

    teach = distilling.teach
    monkeypatch.setattr(distilling, "teach", noted)
    values = rng.poisson(20, (4, 48, 48)).astype(np.uint16)
    nb.distill(model, values, student="tiny", steps=1)
    assert seen[0].quarter_turns == turned


@pytest.mark.parametrize("quarter_turns", [True, False])
def test_lessons_without_quarter_turns_keep_their_rows(quarter_turns: bool) -> None:
    stripes = torch.arange(16.0).expand(8, 3, 16, 16).mT.contiguous()  # along x
    every = torch.ones(8, 16, 16)
    first = torch.zeros(len(stripes), dtype=torch.long)
    lessons = Lessons(stripes, stripes[None, :, 1], every, first, 1, quarter_turns)
    rng, kept = np.random.default_rng(0), []
    for _ in range(24):
        planes, teachers, *_ = lessons.drawn(rng, 2)
        assert torch.equal(planes[:, 1], teachers[0])
        kept.append(bool((planes.diff(dim=3) == 0).all()))
    assert all(kept) == (not quarter_turns)
