"""What answers for a layer before any training: start weights, told its noise. No Qt.

A `Search` finds it off the GUI thread, for one layer and one set of settings. Finished
ones are kept as long as their layer, so that what was looked at once comes at once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_blindspot._napari.preview_answers import (
    Models,
    fixed_number_of_threads,
    sentence_of,
)
from napari_blindspot.config import BudgetSettings, TrainSettings
from napari_blindspot.errors import Cancelled, ModelFileError
from napari_blindspot.progress import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_blindspot._napari.preview_answers import By
    from napari_blindspot.config import DenoiseSettings

_KEPT = 4  # searches of a layer

NO_MODEL = (
    "No network yet: press Run, or choose a model file under Advanced. While a network "
    "trains, its present state is shown."
)
MEASURING = "Measuring the noise, then the start weights answer."
BY_START: dict[By, str] = {
    "student": "By the start weights, the smallest network: not trained on this stack "
    "yet. A larger one follows.",
    "teacher": "By the start weights: not trained on this stack yet. Press Run for "
    "more.",
}
BY_FILTER = (
    "The start weights do not fit this stack: this is the best linear filter. Press "
    "Run to train."
)
BY_MODEL = "By the model that is the start: not trained on this stack yet."

STARTING = (
    frozenset(TrainSettings.model_fields) - set(BudgetSettings.model_fields) - {"seed"}
)
"""Settings that decide about what is shown before training.

The seed draws the voxels that the filter is fitted to: too little to begin anew."""


class Search:
    """Finds what answers for a layer before training.

    Parameters
    ----------
    layer
        What is previewed; the search does not keep it alive.
    pixels
        Its data when it was asked.
    settings
        How it would be trained.
    """

    def __init__(self, layer: Any, pixels: Any, settings: TrainSettings) -> None:
        self._layer, self._pixels, self._settings = ref(layer), pixels, settings
        self._found = Models()
        self.token = CancelToken()
        self.is_over = False
        self.sentence = MEASURING
        self.by = dict(BY_START)

    @property
    def models(self) -> Models:
        """What answers by now."""
        return self._found

    def is_of(self, pixels: Any, settings: TrainSettings) -> bool:
        """Return whether it is for these pixels and settings, and was not given up."""
        same = self._pixels is pixels and self._settings == settings
        return same and not self.token.cancelled

    def work(self, tell: Callable[[Search], object]) -> None:
        """Do the work, in a thread of its own, and tell of every step; never raise."""
        try:
            for _ in self._steps():
                self.token.raise_if_cancelled()
                tell(self)
            self.is_over = True
        except Cancelled:
            self.token.cancel()  # what was given up half-way answers nobody
        except Exception as error:
            if self.token.cancelled:
                return  # the layer, or the panel, is not what it was
            self._explain(error)
            self.is_over = True
            with suppress(RuntimeError):  # so says Qt of who is gone
                tell(self)

    def _steps(self) -> Iterator[None]:
        from napari_blindspot.jobs import open_with
        from napari_blindspot.training.at_once import models_at_once

        layer = self._layer()
        if layer is None or layer.data is not self._pixels:
            raise Cancelled("The layer has other data by now.")
        stack = open_with(layer, self._settings)
        del layer
        with fixed_number_of_threads(self._settings):
            for model in models_at_once(stack, self._settings, self.token):
                if model.is_student:
                    self._found = Models(None, model)
                else:
                    self._found = Models(model, self._found.student)
                    self.by["teacher"] = self._said_of(model.provenance["start"])
                yield
        if self._found.teacher is None:
            self.by["student"] = BY_START["teacher"]  # it has the last word
            yield

    def _said_of(self, start: dict[str, Any]) -> str:
        if not start["used"]:
            return BY_FILTER
        return BY_START["teacher"] if self._settings.start == "warm" else BY_MODEL

    def _explain(self, error: Exception) -> None:
        told = sentence_of(error)
        missing = isinstance(error, ModelFileError) and self._settings.start == "warm"
        self.sentence = f"{NO_MODEL} {told}" if missing else told


class Searches:
    """The searches of all layers: one is under way, finished ones are kept."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Any, list[Search]] = WeakKeyDictionary()
        self._latest: Search | None = None

    @property
    def latest(self) -> Search | None:
        """The search that was asked for last, None if it was given up."""
        return self._latest

    def of(
        self, layer: Any, chosen: DenoiseSettings, begin: Callable[[Search], object]
    ) -> Search:
        """Return the search for a layer; `begin` a new one where there is none."""
        values = {name: getattr(chosen, name) for name in STARTING}
        pixels, settings = layer.data, TrainSettings(**values)
        kept = [one for one in self._of.get(layer, []) if not one.token.cancelled]
        found = next((one for one in kept if one.is_of(pixels, settings)), None)
        if found is None:
            self.stop()
            found = Search(layer, pixels, settings)
            begin(found)
        others = [one for one in kept if one is not found and one.is_over]
        self._of[layer] = [found, *others[: _KEPT - 1]]
        self._latest = found
        return found

    def stop(self) -> None:
        """Give up the search that is under way; forget it if it found nothing."""
        latest = self._latest
        if latest is not None and not (latest.is_over and latest.models):
            latest.token.cancel()
        self._latest = None
