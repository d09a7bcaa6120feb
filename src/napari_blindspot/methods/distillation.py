"""Distillation (Chen et al. 2024): several blind-spot teachers, one plain student.

The teachers are one network queried at several holes. The student minimises the *sum*
of its L1 distances to all of them, Σ_k |s − t_k|, whose minimum is the median teacher
of every voxel. The distance to their mean would ignore how they disagree; and with
squares the sum has the same gradient as the mean, so nothing would be gained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from napari_blindspot.networks.student import RADIUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from napari_blindspot.networks.student import StudentNetwork

_RIDGE = 1e-4  # of the mean eigenvalue
_LEAST_UNIT = 1e-6
_ROWS = 50_000  # voxels of a batch that the linear fit uses


def distance(answer: Tensor, teachers: Tensor, weight: Tensor) -> Tensor:
    """Return the sum over teachers of the mean absolute distance, a scalar.

    Parameters
    ----------
    answer
        (N, S, S) of the student; of several channels (N, S, S, C).
    teachers
        (K, N, …) of the teachers.
    weight
        (N, S, S), 1 where a voxel counts, else 0.
    """
    apart = (answer - teachers).abs().sum(0)
    if apart.ndim > weight.ndim:
        apart = apart.mean(-1)
    return (apart * weight).sum() / weight.sum().clamp(min=1)


def fit_linear(student: StudentNetwork, lessons: Iterable[Sequence[Tensor]]) -> None:
    """Set the student's linear filter to the one nearest to the teachers.

    Parameters
    ----------
    student
        On the CPU; its `kernel` and `unit` are set in place.
    lessons
        Batches of planes (N, maps, S, S), teachers (K, N, S, S), or (K, N, S, S, C) of
        several channels, and weight (N, S, S), 1 where a voxel counts; what comes
        after them is not looked at.
    """
    channels, maps, size, _ = student.kernel.shape
    taps = maps * size * size
    normal = torch.zeros(taps, taps, dtype=torch.float64)
    right = torch.zeros(taps, channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    count = 0
    for lesson in lessons:
        planes, teachers, weight, *_ = lesson
        seen, told = _neighbourhoods(planes, teachers, weight, size)
        normal += seen.T @ seen
        right += seen.T @ told
        squares += (told**2).sum(0)
        count += len(seen)
    if count <= taps:
        return  # too few voxels for so many weights: the noisy value stays the start
    ridge = _RIDGE * normal.trace() / taps * torch.eye(taps, dtype=torch.float64)
    weights = torch.linalg.solve(normal + ridge, right)
    left = (
        squares - 2 * (weights * right).sum(0) + ((normal @ weights) * weights).sum(0)
    )
    student.kernel.copy_(weights.T.reshape(student.kernel.shape))
    student.unit.fill_(max(float(left.mean() / count) ** 0.5, _LEAST_UNIT))


def _neighbourhoods(
    planes: Tensor, teachers: Tensor, weight: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Return the taps around some voxels, (n, taps), and the mean teacher, (n, C)."""
    height, width = planes.shape[-2:]
    seen = functional.unfold(planes, size, padding=RADIUS)  # (N, taps, S·S)
    told = teachers.mean(0).flatten(1, 2)  # (N, S·S[, C])
    told = told[..., None] if told.ndim == 2 else told
    inner = torch.zeros(height, width, dtype=torch.bool)
    inner[RADIUS:-RADIUS, RADIUS:-RADIUS] = True
    inside = inner.flatten()
    counts = weight.flatten(1)[:, inside].flatten() > 0
    seen = seen[..., inside].transpose(1, 2).flatten(0, 1)[counts]
    told = told[:, inside].flatten(0, 1)[counts]
    step = max(1, len(seen) // _ROWS)
    return seen[::step].double(), told[::step].double()


def inherit(student: nn.Module, teacher: nn.Module) -> int:
    """Copy the teacher's weights into the student's layers of the same shape.

    Parameters
    ----------
    student, teacher
        U-Nets of the same plan; layers correspond by their place in it.

    Returns
    -------
    int
        How many tensors were copied.
    """
    theirs = dict(teacher.named_parameters())
    copied = 0
    with torch.no_grad():
        for name, own in student.named_parameters():
            if name in theirs and theirs[name].shape == own.shape:
                own.copy_(theirs[name])
                copied += 1
    return copied
