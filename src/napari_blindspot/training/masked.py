"""A training of Blind2Grad: draw crops, hide voxels, step, average, check, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.training.course import Course
from napari_blindspot.training.keeping import Keeping
from napari_blindspot.training.loop import follow
from napari_blindspot.training.trainer import Trainer

if TYPE_CHECKING:
    import torch

    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.methods.blind2grad import MaskedObjective
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.training.loop import Look, Trained
    from napari_blindspot.training.sampling import CropSampler


class MaskedCourse(Course):
    """A training of a masked network between two of its steps; always cold."""

    preparing = ""

    def begin(self, cancel: CancelToken) -> str:
        """Note the score of random weights; there is nothing to say about it."""
        del cancel
        self.start = {"name": "cold", "used": False}
        self._check()
        self._choose_recipe()
        return ""


def train_masked(
    objective: MaskedObjective,
    sampler: CropSampler,
    recipe: Plan,
    *,
    device: torch.device,
    seed: int,
    cancel: CancelToken,
    look: Look | None = None,
    keep: Keeping | None = None,
) -> Job[Trained]:
    """Train a masked network on the crops of a sampler.

    Parameters
    ----------
    objective
        With a fresh network, which is changed in place.
    sampler
        Draws the crops.
    recipe
        Budget and schedule.
    device, seed, cancel, look, keep
        As of `loop.train_network`.

    Yields
    ------
    Progress
        As of `loop.train_network`.

    Returns
    -------
    Trained
        Its network is on the CPU, with the best averaged weights. The held-out score
        is the logarithm of the mean squared error on hidden voxels.
    """
    course = MaskedCourse(Trainer(objective, recipe, device), sampler, seed)
    return (yield from follow(course, (), cancel, look, keep or Keeping()))
