"""Teach a student: the teachers answer once, then the student learns their answers."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindspot.device import channels_last
from napari_blindspot.methods.distillation import distance, fit_linear
from napari_blindspot.networks.precision import half_where_it_pays
from napari_blindspot.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_blindspot.config.students import StudentRecipe
    from napari_blindspot.networks.student import StudentNetwork
    from napari_blindspot.progress import CancelToken, Job

    Lesson = tuple[Tensor, Tensor, Tensor, Tensor]  # planes, teachers, weight, kind

_BETAS = (0.9, 0.99)
_WARMUP = 0.05  # of the budget
_LEAST_GAIN = 1e-3  # of the distance, by which a check must be better to count
_FITTED = 24  # lessons of the linear filter


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Crops and what the teachers say of them, network units, on the CPU.

    Parameters
    ----------
    planes
        (N, maps, S, S), what a network takes.
    teachers
        (K, N, S, S) answers of K teachers; of several channels (K, N, S, S, C).
    weight
        (N, S, S), 1 where a voxel counts: neither missing nor saturated, and of a
        held-out block only in lessons that are kept back.
    kind
        (N,) int64, which channel every crop is of.
    context
        Neighbour planes on either side.
    quarter_turns
        Whether rows may become columns: not where the noise runs along one of them
        and the teacher's blind spot with it, or the student would have to tell noise
        from signal in both.
    """

    planes: Tensor
    teachers: Tensor
    weight: Tensor
    kind: Tensor
    context: int
    quarter_turns: bool = True

    def __len__(self) -> int:
        return len(self.planes)

    def part(self, chosen: slice) -> Lessons:
        """Return some of the lessons."""
        return replace(
            self,
            planes=self.planes[chosen],
            teachers=self.teachers[:, chosen],
            weight=self.weight[chosen],
            kind=self.kind[chosen],
        )

    def drawn(self, rng: np.random.Generator, count: int) -> Lesson:
        """Return some lessons as of `batches`, turned and mirrored, all alike."""
        index = torch.from_numpy(rng.choice(len(self), min(count, len(self)), False))
        planes, *told = self.planes[index], self.teachers[:, index], self.weight[index]
        turns, mirror, flip = (int(rng.integers(n)) for n in (4, 2, 2))
        if not self.quarter_turns:
            turns -= turns % 2
        if flip:
            n, maps, height, width = planes.shape
            split = planes.reshape(n, 2 * self.context + 1, -1, height, width)
            planes = split.flip(1).reshape(n, maps, height, width)
        teachers, weight = told
        if mirror:
            planes, teachers, weight = planes.flip(3), teachers.flip(3), weight.flip(2)
        return (
            torch.rot90(planes, turns, (2, 3)),
            torch.rot90(teachers, turns, (2, 3)),
            torch.rot90(weight, turns, (1, 2)),
            self.kind[index],
        )

    def batches(self, size: int) -> Iterator[Lesson]:
        """Return planes, teachers, weight and kind of all lessons in their order."""
        for start in range(0, len(self), size):
            one = self.part(slice(start, start + size))
            yield one.planes, one.teachers, one.weight, one.kind


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What teaching gives back.

    Parameters
    ----------
    network
        The student, on the CPU, with its best weights.
    steps, seconds
        What it took.
    distance
        Mean absolute distance to the teachers on the lessons kept back, network
        units.
    stopped
        ``"budget"`` or ``"distance"``.
    """

    network: StudentNetwork
    steps: int
    seconds: float
    distance: float
    stopped: str


def teach(
    student: StudentNetwork,
    lessons: Lessons,
    kept_back: Lessons,
    recipe: StudentRecipe,
    *,
    device: torch.device,
    seed: int,
    cancel: CancelToken,
    warm: bool = False,
) -> Job[Taught]:
    """Teach a student from lessons, until it comes no nearer on others.

    Parameters
    ----------
    student
        Fresh, or with start weights; changed in place.
    lessons
        What it learns from.
    kept_back
        Lessons on held-out blocks, whose voxels count in none of the others.
    recipe
        Budget and schedule.
    device
        Where it learns.
    seed
        Of the order and the turns of the lessons.
    cancel
        Asked before every step.
    warm
        Whether its weights say something already: then its linear filter, which they
        were learnt beside, is not fitted.

    Yields
    ------
    Progress
        One event per step, in per cent of the budget, with the metrics ``step``,
        ``loss`` and, where a check was made, ``held_out``.

    Returns
    -------
    Taught
    """
    if not warm:
        fit_linear(student, lessons.part(slice(0, _FITTED)).batches(recipe.batch))
    channels_last(student, device).train()
    optimiser = torch.optim.Adam(
        student.parameters(), lr=recipe.learning_rate, betas=_BETAS
    )
    rng, start = np.random.default_rng([seed, 5]), time.perf_counter()
    best, bad, checked, step, spent = _Best(student), 0, 0.0, 0, 0.0
    best.better(_score(student, kept_back, recipe.batch, device))
    while spent < 1 and bad < recipe.patience:
        cancel.raise_if_cancelled()
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _warmth(spent)
        loss = _loss(student, lessons.drawn(rng, recipe.batch), device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        step += 1
        minutes = (time.perf_counter() - start) / 60
        spent = max(step / recipe.steps, minutes / recipe.minutes)
        metrics = {"step": float(step), "loss": float(loss.detach())}
        if spent >= 1 or spent - checked >= 0.999 / recipe.checks:
            checked = spent
            metrics["held_out"] = _score(student, kept_back, recipe.batch, device)
            bad = 0 if best.better(metrics["held_out"]) else bad + 1
        yield Progress("distill", 100 * min(spent, 1), 100, "%", "", metrics)
    student.load_state_dict(best.weights)
    channels_last(student, torch.device("cpu")).eval()
    return Taught(
        student,
        step,
        time.perf_counter() - start,
        best.score / len(lessons.teachers),
        "budget" if spent >= 1 else "distance",
    )


class _Best:
    """The best weights so far."""

    def __init__(self, student: StudentNetwork) -> None:
        self.student = student
        self.score = math.inf
        self.weights: dict[str, Tensor] = {}

    def better(self, score: float) -> bool:
        """Keep the weights if they are the best; say whether by a step that counts."""
        counts = score < self.score * (1 - _LEAST_GAIN)
        if score < self.score:
            self.score = score
            self.weights = copy.deepcopy(self.student.state_dict())
        return counts


def _loss(student: StudentNetwork, lesson: Lesson, device: torch.device) -> Tensor:
    planes, teachers, weight, kind = lesson
    planes = planes.to(device).contiguous(memory_format=torch.channels_last)
    with half_where_it_pays(device):
        answer = student(planes, kind.to(device))
    return distance(answer, teachers.to(device), weight.to(device))


def _score(
    student: StudentNetwork, lessons: Lessons, batch: int, device: torch.device
) -> float:
    total = count = 0.0
    with torch.no_grad():
        for lesson in lessons.batches(batch):
            voxels = float(lesson[2].sum())
            total += float(_loss(student, lesson, device)) * voxels
            count += voxels
    return total / max(count, 1.0)


def _warmth(spent: float) -> float:
    """Return the learning rate's factor: a short ramp up, then a cosine to 0."""
    ramp = min(1.0, (spent + 1e-3) / _WARMUP)
    return ramp * 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))
