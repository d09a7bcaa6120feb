"""A core for the tests of the panel that waits and fails when it is told to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Image

    from napari_blindspot.config import DenoiseSettings
    from napari_blindspot.progress import CancelToken, Job, Stage


@dataclass(frozen=True)
class SteeredNoise:
    gain: float = 2.0

    def as_dict(self) -> dict[str, float]:
        return {"gain": self.gain, "offset": 100.0, "read_noise": 1.5}


@dataclass(frozen=True)
class SteeredResult:
    image: Any
    uncertainty: Any = None
    model: Any = None
    noise: tuple[SteeredNoise, ...] = (SteeredNoise(),)
    metrics: dict[str, Any] = field(default_factory=dict)
    path: Any = None
    provenance: dict[str, Any] = field(default_factory=lambda: {"method": "bayesian"})
    teacher: Any = None


@dataclass
class SteeredCore:
    """Stands for the core: yields real events, waits and fails when told to.

    It trains until `gate` is set, which it is unless a test clears it, and then goes
    through the stages `after`, in the last until `way` is set, which it is too. What it
    has trained is `model`, and `teacher` if that is a student.
    """

    steps: int = 400
    error: Exception | None = None
    metrics: dict[str, Any] = field(default_factory=lambda: {"expected_psnr": 31.25})
    gate: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[Any, Any, Any]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    after: tuple[Stage, ...] = ()
    way: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    model: Any = None
    teacher: Any = None

    def denoise_job(
        self,
        source: Image,
        settings: DenoiseSettings,
        out: Path | None,
        cancel: CancelToken,
        watch: Callable[[Any], object] | None,
    ) -> Job[SteeredResult]:
        self.calls.append((source, settings, out))
        self.thread = threading.current_thread()
        try:
            yield Progress("open", 0, 1, "steps", "The axes were guessed.")
            yield Progress("noise", 1, 1, "steps", "Noise: gain 2.")
            pixels = np.asarray(source.data, np.float32)
            self.begun.set()
            while not self.gate.wait(0.01):
                cancel.raise_if_cancelled()
                if watch is not None and self.model is not None:
                    watch(self.model)
                yield Progress("train", 1, self.steps, "steps")
            yield Progress("train", self.steps, self.steps, "steps", "Checking")
            for stage in self.after:
                yield Progress(stage, 0, 1, "steps")
            while self.after and not self.way.wait(0.01):
                cancel.raise_if_cancelled()
            if self.error is not None:
                raise self.error
            return SteeredResult(
                image=pixels - 1,
                uncertainty=np.sqrt(pixels) if settings.uncertainty else None,
                metrics=self.metrics,
                model=self.model,
                teacher=self.teacher,
            )
        finally:
            self.closed.set()
