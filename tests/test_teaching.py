"""A student learns what its teachers say, from their answers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_blindspot.config.students import StudentRecipe, StudentSettings
from napari_blindspot.errors import Cancelled
from napari_blindspot.methods.distillation import distance, fit_linear, inherit
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.progress import CancelToken, Job, run
from napari_blindspot.training.teaching import Lessons, Taught, teach

SMALL = StudentSettings(width=4, depth=2, context=1)
QUICK = StudentRecipe(steps=60, minutes=10, batch=4, checks=6)


def smooth(planes: torch.Tensor) -> torch.Tensor:
    """A teacher that no 5×5 filter can imitate: the rectified 3×3×3 mean."""
    kernel = torch.full((1, planes.shape[1], 3, 3), 1 / (9 * planes.shape[1]))
    mean = functional.conv2d(functional.pad(planes, [1] * 4, "replicate"), kernel)
    return mean[:, 0].clamp(min=0)


def make_lessons(count: int = 40, side: int = 24, seed: int = 0) -> Lessons:
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(count, 3, side, side, generator=generator)
    told = smooth(planes)
    every = torch.ones(count, side, side)
    told_twice, first = torch.stack([told, 1.1 * told]), torch.zeros(count).long()
    return Lessons(planes, told_twice, every, first, context=1)


def teach_small(
    lessons: Lessons, seed: int = 0, cancel: CancelToken | None = None
) -> Job[Taught]:
    return teach(
        StudentNetwork(SMALL),
        lessons.part(slice(4, None)),
        lessons.part(slice(0, 4)),
        QUICK,
        device=torch.device("cpu"),
        seed=seed,
        cancel=cancel or CancelToken(),
    )


def test_the_distance_is_to_every_teacher_not_to_their_mean() -> None:
    answer, every = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    teachers = torch.stack([torch.ones(1, 2, 2), -torch.ones(1, 2, 2)])
    assert float(distance(answer, teachers, every)) == 2.0
    assert float(distance(answer, teachers.mean(0, keepdim=True), every)) == 0.0


def test_voxels_without_weight_count_nowhere() -> None:
    lessons = make_lessons(6)
    blind = lessons.weight.clone()
    blind[:, :9] = 0
    spoilt = lessons.teachers.clone()
    spoilt[:, :, :9] = 1e6
    answer = torch.zeros(6, 24, 24)
    assert distance(answer, spoilt, blind) == distance(answer, lessons.teachers, blind)
    several = distance(answer[..., None], spoilt[..., None], blind)
    torch.testing.assert_close(several, distance(answer, spoilt, blind))
    starts = []
    for teachers in (spoilt, lessons.teachers):
        starts.append(StudentNetwork(SMALL))
        fit_linear(starts[-1], [(lessons.planes, teachers, blind)])
    assert torch.equal(starts[0].kernel, starts[1].kernel)
    assert not torch.equal(starts[0].kernel, StudentNetwork(SMALL).kernel)


def test_the_linear_start_finds_a_linear_teacher() -> None:
    generator = torch.Generator().manual_seed(1)
    kernel = torch.randn(1, 3, 5, 5, generator=generator)
    planes = torch.randn(12, 3, 32, 32, generator=generator)
    told = functional.conv2d(planes, kernel, padding=2)[:, 0]
    student = StudentNetwork(SMALL)
    fit_linear(student, [(planes, told[None], torch.ones_like(told))])
    torch.testing.assert_close(student.kernel, kernel, rtol=0.01, atol=0.01)
    assert float(student.unit) < 0.05


def test_few_voxels_leave_the_noisy_value_as_the_start() -> None:
    student = StudentNetwork(SMALL).eval()
    planes = torch.randn(1, 3, 6, 6)
    fit_linear(student, [(planes, torch.zeros(1, 1, 6, 6), torch.ones(1, 6, 6))])
    with torch.no_grad():
        torch.testing.assert_close(student(planes), planes[:, 1])


def test_a_student_gets_nearer_to_its_teachers_than_its_linear_start() -> None:
    lessons = make_lessons()
    before = StudentNetwork(SMALL)
    fit_linear(before, lessons.batches(8))
    with torch.no_grad():
        planes, teachers, weight, _ = next(lessons.batches(len(lessons)))
        start = float(distance(before(planes), teachers, weight)) / 2
    torch.manual_seed(0)
    taught = run(teach_small(lessons))
    assert taught.distance < 0.75 * start
    assert taught.steps <= QUICK.steps


def test_the_same_seed_teaches_the_same_weights() -> None:
    weights = []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        taught = run(teach_small(make_lessons(16), seed))
        weights.append(taught.network.last.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_teaching_can_be_cancelled() -> None:
    token = CancelToken()
    job = teach_small(make_lessons(16), cancel=token)
    next(job)
    token.cancel()
    with pytest.raises(Cancelled):
        next(job)


def test_lessons_and_answers_are_turned_alike() -> None:
    lessons = make_lessons(8)
    rng = np.random.default_rng(0)
    for _ in range(12):
        planes, teachers, *_ = lessons.drawn(rng, 4)
        torch.testing.assert_close(smooth(planes), teachers[0], rtol=1e-4, atol=1e-5)


def test_weights_are_turned_with_what_they_weigh() -> None:
    lessons = make_lessons(8)
    sign = (lessons.teachers[0] > 0.1).float()
    rng = np.random.default_rng(0)
    for _ in range(12):
        _, teachers, weight, _ = replace(lessons, weight=sign).drawn(rng, 4)
        assert torch.equal(weight, (teachers[0] > 0.1).float())


def test_weights_of_equal_shape_are_inherited() -> None:
    teacher, same, wider = PlainUNet(3, 4, 2), PlainUNet(3, 4, 2), PlainUNet(3, 8, 2)
    total = len(list(teacher.parameters()))
    assert inherit(same, teacher) == total
    for one, other in zip(same.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(one, other)
    assert inherit(wider, teacher) == 0


@pytest.mark.parametrize("channels", [1, 2])
def test_a_padded_tile_gives_what_the_whole_plane_gives(channels: int) -> None:
    torch.manual_seed(2)
    settings = StudentSettings(width=4, depth=2, context=1, channels=channels)
    student = StudentNetwork(settings).double().eval()
    torch.nn.init.normal_(student.last.weight)
    planes = torch.randn(1, 3 * channels, 83, 71, dtype=torch.float64)
    halo, stride = student.halo(), student.stride
    start = -(-halo // stride) * stride
    with torch.no_grad():
        whole = student(planes)
        tile = student(planes[..., 40 - start :, :])
        torch.testing.assert_close(tile[:, start:], whole[:, 40:], rtol=0, atol=1e-10)
        misaligned = student(planes[..., 40 - start - 1 :, :])
        assert (misaligned[:, start + 1 :] - whole[:, 40:]).abs().max() > 1e-6
