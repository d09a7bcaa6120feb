"""The border between numpy and torch where channels are denoised together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindspot.inference.cores import framed, noise_in, widened
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.joint import JointField
from napari_blindspot.methods.bayesian_joint import joint_posterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Corner
    from napari_blindspot.networks.blindspot import Prior
    from napari_blindspot.networks.views import Core

_COVARIANCES = 12  # that are alive at the same time, float32


class JointPredictor(Predictor):
    """Posterior mean and standard deviation of all channels of some planes.

    As `Predictor`, but planes are (P, C, Y, X), parameters of the noise (n, 1 or Y,
    1 or X, C), and results (n, C, Y, X). A voxel that is missing stays missing; the
    other channels of its pixel do without it.
    """

    def noise_field(self, channel: int = 0) -> Any:
        """Return the noise of all channels, the same in all planes and pixels."""
        own = range(self.model.settings.channels)
        one = super().noise_field
        return JointField(tuple(one(index) for index in own))

    def _to_network(self, planes: NDArray[Any], channel: int) -> NDArray[np.float32]:
        pairs = zip(self.model.scales, np.moveaxis(planes, 1, 0), strict=True)
        return np.stack([scale.forward(values) for scale, values in pairs], axis=1)

    def _to_data(
        self, mean: NDArray[np.float32], std: NDArray[np.float32], channel: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scales = enumerate(self.model.scales)
        both = [
            (s.inverse(mean[:, c]), std[:, c] * np.float32(s.scale)) for c, s in scales
        ]
        means, stds = zip(*both, strict=True)
        return np.stack(means, axis=1), np.stack(stds, axis=1)

    def _run(
        self,
        t: NDArray[np.float32],
        noise: Any,
        missing: NDArray[np.bool_],
        channel: int,
        corner: Corner = (0, 0, 0),
        core: Core | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        del corner
        n, planes, channels, *shape = t.shape
        wide = widened(core, shape)
        with torch.inference_mode():
            y, prior = self._prior(
                t.reshape(n, planes * channels, *shape), channel, wide
            )
            gaps = None
            if missing.any():
                seen = missing if wide is None else missing[(..., *wide)]
                gaps = torch.from_numpy(np.moveaxis(seen, 1, -1).copy()).to(y.device)
            noise = self._on_device(noise_in(noise, wide))
            answer = self._answer(y, prior, noise, channel, gaps)
            mean, std = (
                np.ascontiguousarray(one.movedim(-1, 1).cpu().numpy()) for one in answer
            )
        return framed(mean, wide, shape), framed(std, wide, shape)

    def _answer(
        self,
        y: torch.Tensor,
        prior: Prior,
        noise: Any,
        channel: int,
        missing: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        del channel  # all of them
        if self.model.answer == "mean":
            return prior.mean, torch.zeros_like(prior.mean)
        return joint_posterior(y, prior, noise, self.model.recalibration, missing)

    def _bytes_per_pixel(self) -> int:
        covariance = 4 * self.model.settings.channels**2
        return super()._bytes_per_pixel() + _COVARIANCES * covariance
