"""Questions of the preview and their answers, worked out off the GUI thread. No Qt.

The latest question alone counts: a new one cancels the one before, and what is still
told of that is known by its number and dropped.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_blindspot._napari.wording import in_panel
from napari_blindspot.config import OutputSettings, PredictSettings
from napari_blindspot.config.blind2grad import AnswerSettings
from napari_blindspot.errors import BlindspotError, Cancelled
from napari_blindspot.progress import CancelToken, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindspot._napari.preview_start import Search
    from napari_blindspot.config import DenoiseSettings, DeviceSettings
    from napari_blindspot.inference.places import Place
    from napari_blindspot.inference.previewing import Previewer
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack

logger = logging.getLogger(__name__)

By = Literal["noisy", "student", "teacher", "training"]

BY: dict[By, str] = {
    "student": "By the student.",
    "teacher": "By the trained network.",
    "training": "By the network as it trains.",
}

DECIDING = frozenset(PredictSettings.model_fields) - set(OutputSettings.model_fields)
"""Settings that decide about what is shown."""

UNASKED = dict.fromkeys(AnswerSettings.model_fields)
"""What a model of another method cannot be asked, taken out of the settings."""

LOOK_S = 0.3
"""Time after which a look at the network in training begins no further piece."""

_KEPT = 4  # models at their holes that stay on the device


@dataclass(frozen=True, slots=True)
class Models:
    """What can answer.

    Parameters
    ----------
    teacher
        Answers best; None if there is none.
    student
        Answers first; None if there is none.
    file
        A model file that is read instead of the two.
    """

    teacher: Model | None = None
    student: Model | None = None
    file: Path | None = None

    def __bool__(self) -> bool:
        return any((self.teacher, self.student, self.file))


def predicting(chosen: DenoiseSettings) -> PredictSettings:
    """Return the settings that decide about the pixels, before the blend."""
    values = {name: getattr(chosen, name) for name in DECIDING}
    return PredictSettings(**values | {"strength": 1.0})


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is to be shown.

    Parameters
    ----------
    number
        Tells the latest from others.
    layer, pixels
        What is previewed, and its data when it was asked.
    place
        Which part of it.
    settings
        How it is read, its camera, the hole, the device; the strength is 1.
    token
        Cancelled as soon as the answer is not wanted any more.
    """

    number: int
    layer: Any
    pixels: Any
    place: Place
    settings: PredictSettings
    token: CancelToken = field(default_factory=CancelToken)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of an answer: a piece of a plane in data units, and who it is by."""

    number: int
    place: Place
    pixels: NDArray[np.float32]
    by: By


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a question has no answer, in a sentence."""

    number: int
    sentence: str


class PreviewThread:
    """Answers one question after the other in a thread of its own.

    Parameters
    ----------
    tell
        Called in that thread with every part of an answer, and with failures; and in
        another one with a search, whenever that has found something.
    """

    def __init__(self, tell: Callable[[Part | Failure | Search], object]) -> None:
        self._tell = tell
        self._pool = ThreadPoolExecutor(1, "blindspot-preview")
        self._answers = Answers()
        self._searching = ThreadPoolExecutor(1, "blindspot-preview-start")

    def search(self, search: Search) -> None:
        """Look for what answers before training, beside the answers themselves."""
        self._searching.submit(search.work, self._tell)

    def ask(self, question: Question, models: Models) -> None:
        """Answer a question when those before it have ended."""
        self._pool.submit(self._answer, question, models)

    def close(self) -> None:
        """End the thread, with what it does at the moment if that is not cancelled."""
        for pool in (self._pool, self._searching):
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question, models: Models) -> None:
        told(question, self._answers.of(question, models), self._tell)


class Watcher:
    """Shows the network that trains, as far as it gets in a short look.

    A look goes on where the last one ended, so that all of the view comes round.

    Parameters
    ----------
    layer
        What the network is trained on.
    wanted
        Returns the latest question; None if nothing is to be shown.
    tell
        Called with every part of an answer, and with failures.
    """

    def __init__(
        self,
        layer: Any,
        wanted: Callable[[], Question | None],
        tell: Callable[[Part | Failure], object],
    ) -> None:
        self._layer, self._wanted, self._tell = layer, wanted, tell
        self._answers = Answers()
        self._left: list[Place] = []
        self._number = -1

    def __call__(self, model: Model) -> None:
        """Look at a model in the thread that trains it."""
        question = self._wanted()
        if question is not None and question.layer is self._layer:
            told(question, self._look(question, model), self._tell)

    def _look(self, question: Question, model: Model) -> Iterator[Part]:
        end_s = time.monotonic() + LOOK_S
        previewer = self._answers.looking(question, model)
        number, place = question.number, question.place
        if number != self._number:
            self._number, self._left = number, []
            yield Part(number, place, previewer.noisy(place), "noisy")
        self._left = self._left or place.pieces()
        while self._left:
            pixels = previewer(self._left[0], question.token)
            yield Part(number, self._left.pop(0), pixels, "training")
            if time.monotonic() > end_s:
                break


class Answers:
    """Answers questions; keeps what several of them have in common.

    One of them belongs to one thread.
    """

    def __init__(self) -> None:
        self._source: tuple[Any, Any] = (None, None)
        self._stack: Stack | None = None
        self._file: tuple[object, Model | None] = (None, None)
        self._looked: tuple[tuple[Any, ...], Previewer | None] = ((), None)
        self._made: list[tuple[tuple[Any, ...], Previewer]] = []

    def of(self, question: Question, models: Models) -> Iterator[Part]:
        """Answer a question: by the student first, then by the teacher.

        Where the method gives no posterior, the student's is the better answer and
        the teacher is not asked; where a hole is asked for, the teacher alone.
        """
        teacher, student = self._found(models)
        turned = teacher is not None and question.settings.hole is not None
        if student is not None and not turned:
            yield from self._by(question, student, "student")
            if teacher is None or teacher.answer == "mean":
                return
        if teacher is not None:
            noisy = student is None or turned
            yield from self._by(question, teacher, "teacher", noisy=noisy)

    def previewer(self, question: Question, model: Model) -> Previewer:
        """Return what denoises parts of planes by a model just as it is."""
        from napari_blindspot.inference.previewing import Previewer

        stack, token = self._opened(question), question.token
        return Previewer(model, stack, question.settings, cancel=token)

    def looking(self, question: Question, model: Model) -> Previewer:
        """Return the same for a model in training: look by look, read once."""
        wanted = (self._opened(question), question.settings)
        before, made = self._looked
        if made is not None and before[0] is wanted[0] and before[1] == wanted[1]:
            made = made.with_model(model)
        else:
            made = self.previewer(question, model)
        self._looked = (wanted, made)
        return made

    def _by(
        self, question: Question, model: Model, by: By, *, noisy: bool = True
    ) -> Iterator[Part]:
        number, place, token = question.number, question.place, question.token
        with fixed_number_of_threads(question.settings):
            previewer = self._kept(question, model)
            if noisy:
                yield Part(number, place, previewer.noisy(place), "noisy")
            if by == "student":
                yield Part(number, place, previewer(place, token), by)
                return
            for piece, pixels in previewer.pieces(place, token):
                yield Part(number, piece, pixels, by)

    def _kept(self, question: Question, model: Model) -> Previewer:
        """Return what denoises behind the hole that is asked for, made once."""
        settings, stack = question.settings, self._opened(question)
        for (other, its_settings, its_stack), previewer in self._made:
            if other is model and its_stack is stack and its_settings == settings:
                return previewer
        from napari_blindspot.asked import as_asked

        turned = model
        if not model.is_student:
            asked = settings
            if model.kind != "masked":  # it was chosen for the next run
                asked = settings.model_copy(update=UNASKED)
            turned = run(as_asked(model, stack, asked))
        made = self.previewer(question, turned)
        self._made = [((model, settings, stack), made), *self._made[: _KEPT - 1]]
        return made

    def _opened(self, question: Question) -> Stack:
        from napari_blindspot.jobs import open_with

        pixels, settings = question.pixels, question.settings
        if question.layer.data is not pixels:
            raise Cancelled("The layer has other data by now.")
        known, axes = self._source
        if self._stack is None or known is not pixels or axes != settings.axes:
            self._made.clear()
            self._stack = open_with(question.layer, settings)
            self._source = (pixels, settings.axes)
        return self._stack

    def _found(self, models: Models) -> tuple[Model | None, Model | None]:
        """Return teacher and student, read from the file if there is one."""
        if models.file is None:
            return models.teacher, models.student
        from napari_blindspot.model_file import load_model

        version = (models.file, models.file.exists() and models.file.stat().st_mtime_ns)
        known, model = self._file
        if model is None or known != version:
            model = load_model(models.file)
            self._file = (version, model)
        return (None, model) if model.is_student else (model, None)


def told(
    question: Question,
    parts: Iterator[Part],
    tell: Callable[[Part | Failure], object],
) -> None:
    """Tell an answer part by part, or why there is none; never raise.

    Whoever is told may be gone by then, which Qt reports as a ``RuntimeError``.
    """
    try:
        question.token.raise_if_cancelled()  # before anything is read
        for part in parts:
            question.token.raise_if_cancelled()
            tell(part)
    except Cancelled:
        return
    except Exception as error:
        if question.token.cancelled:
            return  # the layer, or the panel, is not what it was
        with suppress(RuntimeError):
            tell(Failure(question.number, sentence_of(error)))


def sentence_of(error: Exception) -> str:
    """Return what an error says to the user; of an unexpected one what to do."""
    if isinstance(error, BlindspotError):
        return in_panel(str(error))
    logger.error("The preview failed", exc_info=error)
    return (
        f"The preview failed unexpectedly ({type(error).__name__}: {error}); the "
        f"terminal shows the details for a report."
    )


def fixed_number_of_threads(settings: DeviceSettings) -> AbstractContextManager[int]:
    """Set the number of CPU threads, without the seconds it takes to measure it."""
    from napari_blindspot.device import cpu_threads, fixed_threads, pick_device

    wanted = settings.threads or fixed_threads()
    settings = settings.model_copy(update={"threads": wanted})
    return cpu_threads(settings, pick_device(settings.device))
