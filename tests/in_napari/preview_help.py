"""What the tests of the preview share: waiting, a gate in the core, counted reads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot._napari.preview_answers import Answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.panel import DenoisePanel
    from napari_blindspot._napari.preview_answers import Part

WITHIN_MS = 20_000


def shown_plane(panel: DenoisePanel) -> NDArray[np.float32]:
    """Return the plane that the preview shows, (rows, columns)."""
    image = panel.preview.image
    assert image is not None
    letters = panel.preview._letters
    axes = tuple(letters.index(axis) for axis in "YX")
    index = tuple(slice(None) if i in axes else 0 for i in range(len(letters)))
    plane = image.data[index]
    return plane if axes[0] < axes[1] else plane.T


def wait_until_shown(
    qtbot: QtBot, panel: DenoisePanel, expected: NDArray[np.float32]
) -> None:
    """Wait until the preview shows these values, but for the order of sums."""

    def is_shown() -> bool:
        if panel.preview.image is None:
            return False
        found = shown_plane(panel)
        return found.shape == expected.shape and np.allclose(found, expected, 1e-4)

    qtbot.waitUntil(is_shown, timeout=WITHIN_MS)


def preview_threads() -> list[str]:
    """Return the names of the threads of previews that are alive."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("blindspot-preview")]


@dataclass
class Gate:
    """Holds every answer of the core back until it is opened; notes what was asked."""

    opened: threading.Event = field(default_factory=threading.Event)
    questions: list[Any] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Gate:
        """Stand between the preview and its answers."""
        answer = Answers.of

        def gated(answers: Answers, question: Any, models: Any) -> Iterator[Part]:
            self.questions.append(question)
            for part in answer(answers, question, models):
                self.opened.wait(WITHIN_MS / 1000)
                self.parts.append(part)
                yield part

        monkeypatch.setattr(Answers, "of", gated)
        return self


class Counting:
    """An array-like that notes what is read of it off the GUI thread."""

    def __init__(self, array: NDArray[Any], chunks: tuple[int, ...]) -> None:
        self._array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype
        self.ndim, self.size = array.ndim, array.size
        self.reads: list[tuple[slice, ...]] = []

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if threading.current_thread() is not threading.main_thread():
            self.reads.append(index)
        return self._array[index]

    def bounds(self, axis: int) -> tuple[int, int]:
        """Return the least and the largest index that was read along an axis."""
        parts = [index[axis].indices(self.shape[axis]) for index in self.reads]
        return min(part[0] for part in parts), max(part[1] for part in parts)


def recorded(panel: DenoisePanel) -> list[Any]:
    """Return a list that grows by every plane that the preview brings into view."""
    shown: list[Any] = []
    draw: Callable[..., None] = panel.preview.show_pixels

    def note(pixels: NDArray[Any], geometry: dict[str, Any]) -> None:
        shown.append((panel.preview._canvas.place, panel.preview_note.value))
        draw(pixels, geometry)

    panel.preview.show_pixels = note
    return shown
