"""The border between numpy and torch for students, and the choice of a predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.inference.predictor_blind2grad import (
    JointMaskedPredictor,
    MaskedPredictor,
)
from napari_blindspot.inference.predictor_joint import JointPredictor
from napari_blindspot.networks.precision import half_where_it_pays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Corner
    from napari_blindspot.model import Kind, Model
    from napari_blindspot.networks.views import Core


class StudentPredictor(Predictor):
    """Answers of a student, in data units; as `Predictor`, with no uncertainty."""

    @property
    def _cuts_cores(self) -> bool:
        return False  # every piece would need its whole halo

    def _run(
        self,
        t: NDArray[np.float32],
        noise: Any,
        missing: NDArray[np.bool_],
        channel: int,
        corner: Corner = (0, 0, 0),
        core: Core | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # It learned from a teacher what to make of them, and looks to all sides.
        del noise, missing, corner, core
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

    def _bytes_per_pixel(self) -> int:
        return (60 + 7 * self.model.settings.width) * self._item_bytes


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
    one, joint = _PREDICTORS[model.kind]
    kind = one if model.settings.channels == 1 else joint
    return kind(model, device, strength)


_PREDICTORS: dict[Kind, tuple[type[Predictor], type[Predictor]]] = {
    "teacher": (Predictor, JointPredictor),
    "student": (StudentPredictor, JointStudentPredictor),
    "masked": (MaskedPredictor, JointMaskedPredictor),
}
"""Of each kind of network, for one channel at a time and for several together."""
