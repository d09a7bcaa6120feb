"""The border between numpy and torch for students, and the choice of a predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.inference.predictor_joint import JointPredictor
from napari_blindspot.networks.precision import half_where_it_pays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.model import Model


class StudentPredictor(Predictor):
    """Answers of a student, in data units; as `Predictor`, with no uncertainty."""

    def _run(
        self,
        t: NDArray[np.float32],
        noise: Any,
        missing: NDArray[np.bool_],
        channel: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        del noise, missing  # it learned from a teacher what to make of them
        with torch.inference_mode():
            x, kind = self._input(t.reshape(len(t), -1, *t.shape[-2:]), channel)
            with half_where_it_pays(self.device):
                answer = self.network(x, kind)
            if answer.ndim == 4:
                answer = answer.movedim(-1, 1)
            mean = np.ascontiguousarray(answer.float().cpu().numpy())
            return mean, np.zeros_like(mean)

    def _halo(self) -> int:
        return int(self.network.halo())


class JointStudentPredictor(StudentPredictor, JointPredictor):
    """Answers of a student for all channels of some planes, as `JointPredictor`."""


def make_predictor(
    model: Model, device: torch.device, strength: float = 1.0
) -> Predictor:
    """Return the predictor that fits the model.

    Parameters
    ----------
    model, device, strength
        As of `Predictor`.
    """
    joint = model.settings.channels > 1
    if model.is_student:
        kind: type[Predictor] = JointStudentPredictor if joint else StudentPredictor
    else:
        kind = JointPredictor if joint else Predictor
    return kind(model, device, strength)
