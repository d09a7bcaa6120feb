"""A training that is stopped and goes on, as several tests need it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from napari_blindspot.errors import Cancelled
from napari_blindspot.progress import CancelToken, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.progress import Job, Progress


class Memory:
    """Keeps the state of a training in this process."""

    name = "result.partial"

    def __init__(self, content: bytes | None = None, fingerprint: str = "a") -> None:
        self.content, self.fingerprint = content, fingerprint
        self.saved: list[bytes] = []

    def load(self) -> bytes | None:
        return self.content

    def save(self, content: bytes) -> None:
        self.saved.append(content)
        self.content = content


class Gone(Exception):
    """Whoever followed the training has gone away."""


class Follower:
    """Follows a job, and stops it after a step: by its token, or by going away."""

    def __init__(self, after: int | None = None, *, by_token: bool = True) -> None:
        self.after, self.by_token = after, by_token
        self.token = CancelToken()
        self.steps: list[int] = []
        self.told: list[str] = []

    def __call__(self, event: Progress) -> None:
        if event.message:
            self.told.append(event.message)
        if "step" not in event.metrics:
            return
        self.steps.append(int(event.metrics["step"]))
        if self.steps[-1] == self.after:
            if not self.by_token:
                raise Gone
            self.token.cancel()

    def run(self, job: Callable[[CancelToken], Job[Any]]) -> Any:
        """Return the result, None if the job was stopped."""
        try:
            return run(job(self.token), self)
        except (Cancelled, Gone):
            assert self.after is not None
            return None


def recording(
    channels: int = 1, side: int = 32, *, shared: bool = False
) -> NDArray[np.float32]:
    """Return smooth scenes (channels, planes, Y, X) in white or 3×3 blurred noise."""
    rng = np.random.default_rng(7)
    scene = ndimage.gaussian_filter(rng.normal(size=(6, side, side)), (1.5, 9, 9))
    scene = (scene - scene.min()) / np.ptp(scene)
    noise = rng.normal(size=(channels, *scene.shape))
    for axis in (2, 3) if shared else ():
        noise = ndimage.convolve1d(noise, [0.25, 0.5, 0.25], axis=axis, mode="wrap")
    light = np.linspace(1, 2, channels)[:, None, None, None] * scene
    return np.float32(200 + 400 * light + 30 * noise / noise.std())


def assert_same(one: Model, other: Model) -> None:
    """Compare two models in everything but times."""
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert [n for n in ours if not torch.equal(ours[n], theirs[n])] == []
    assert one.settings == other.settings
    assert one.noise == other.noise
    assert _hole(one) == _hole(other)
    facts = [json.loads(json.dumps(model.provenance)) for model in (one, other)]
    assert _timeless(facts[0]) == _timeless(facts[1])
    for mine, its in zip(one.recalibration, other.recalibration, strict=True):
        assert mine.as_dict() == its.as_dict()


def _hole(model: Model) -> object:
    """Return the hole of the result, None of a network without."""
    return model.hole or getattr(model.settings, "hole", None)


def _timeless(facts: Any) -> Any:
    if isinstance(facts, dict):
        kept = facts.keys() - {"seconds", "created"}
        return {name: _timeless(facts[name]) for name in kept}
    return facts
