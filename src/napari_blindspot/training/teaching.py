"""Teach a student: the teachers answer once, then the student learns their answers."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindspot.device import channels_last
from napari_blindspot.errors import RunError
from napari_blindspot.methods.distillation import distance, fit_linear
from napari_blindspot.networks.precision import half_where_it_pays
from napari_blindspot.progress import Progress
from napari_blindspot.training.checkpoint import (
    moments,
    part,
    prefixed,
    restore_moments,
)
from napari_blindspot.training.keeping import Keeping

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
_FACTS = ("step", "spent", "checked", "bad", "best_score")


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
    keep: Keeping | None = None,
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
    keep
        As of `loop.train_network`.

    Yields
    ------
    Progress
        One event per step, in per cent of the budget, with the metrics ``step``,
        ``loss`` and, where a check was made, ``held_out``.

    Returns
    -------
    Taught
    """
    course = _Course(student, recipe, device, seed)
    keep = keep or Keeping()
    if keep.taken_up(course):
        yield _told(course, f"Teaching goes on after step {course.step}")
    else:
        course.begin(lessons, kept_back, warm=warm)
    while not course.is_over:
        with keep.if_stopped(course):
            cancel.raise_if_cancelled()
            metrics = course.take_step(lessons, kept_back)
            yield replace(_told(course, ""), metrics=metrics)
            if keep.is_due:
                yield from _keep(course, keep)
    seconds = course.seconds
    yield from _keep(course, keep)
    student.load_state_dict(course.best_weights)
    channels_last(student, torch.device("cpu")).eval()
    return Taught(
        student,
        course.step,
        seconds,
        course.best_score / len(lessons.teachers),
        "budget" if course.spent >= 1 else "distance",
    )


def _keep(course: _Course, keep: Keeping) -> Job[None]:
    """Keep the state; teaching goes on where that fails, and says so."""
    try:
        course.started += keep.save(course)
    except RunError as error:
        yield _told(course, f"The state of the teaching could not be kept: {error}")


def _told(course: _Course, sentence: str) -> Progress:
    return Progress("distill", 100 * min(course.spent, 1), 100, "%", sentence)


class _Course:
    """A teaching between two of its steps; what changes is in `state`."""

    def __init__(
        self,
        student: StudentNetwork,
        recipe: StudentRecipe,
        device: torch.device,
        seed: int,
    ) -> None:
        self.student, self.recipe, self.device = student, recipe, device
        self.rng = np.random.default_rng([seed, 5])
        self.started = time.perf_counter()
        self.step, self.spent, self.checked, self.bad = 0, 0.0, 0.0, 0
        self.best_score = math.inf
        self.best_weights: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        return self.spent >= 1 or self.bad >= self.recipe.patience

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def begin(self, lessons: Lessons, kept_back: Lessons, *, warm: bool) -> None:
        """Fit the linear filter, and score it."""
        if not warm:
            few = lessons.part(slice(0, _FITTED))
            fit_linear(self.student, few.batches(self.recipe.batch))
        self._restart()
        self.started = time.perf_counter()
        self._check(kept_back)

    def take_step(self, lessons: Lessons, kept_back: Lessons) -> dict[str, float]:
        """Take one step, and check where that is due; returns the metrics of both."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _warmth(self.spent)
        lesson = lessons.drawn(self.rng, recipe.batch)
        loss = _loss(self.student, lesson, self.device)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        minutes = self.seconds / 60
        self.spent = max(self.step / recipe.steps, minutes / recipe.minutes)
        metrics = {"step": float(self.step), "loss": float(loss.detach())}
        if self.spent >= 1 or self.spent - self.checked >= 0.999 / recipe.checks:
            self.checked = self.spent
            metrics["held_out"], counts = self._check(kept_back)
            self.bad = 0 if counts else self.bad + 1
        return metrics

    def _restart(self) -> None:
        channels_last(self.student, self.device).train()
        self.optimiser = torch.optim.Adam(
            self.student.parameters(), lr=self.recipe.learning_rate, betas=_BETAS
        )

    def _check(self, kept_back: Lessons) -> tuple[float, bool]:
        """Keep the weights if they are the best; say whether by a step that counts."""
        score = _score(self.student, kept_back, self.recipe.batch, self.device)
        counts = score < self.best_score * (1 - _LEAST_GAIN)
        if score < self.best_score:
            self.best_score = score
            self.best_weights = copy.deepcopy(self.student.state_dict())
        return score, counts

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that changes: JSON-able facts, and tensors by name."""
        facts = {name: getattr(self, name) for name in _FACTS}
        facts |= {"seconds": self.seconds, "order": self.rng.bit_generator.state}
        return facts, {
            **prefixed("weights", self.student.state_dict()),
            **prefixed("best", self.best_weights),
            **prefixed("optimiser", moments(self.optimiser)),
        }

    def restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become what `state` described."""
        self._restart()
        self.student.load_state_dict(part("weights", tensors))
        restore_moments(self.optimiser, part("optimiser", tensors))
        self.best_weights = part("best", tensors)
        for name in _FACTS:
            setattr(self, name, facts[name])
        self.rng.bit_generator.state = facts["order"]
        self.started = time.perf_counter() - facts["seconds"]


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
