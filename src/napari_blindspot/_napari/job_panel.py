"""A panel that runs one job at a time: Run, Cancel, how far it is, what went wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, ProgressBar, PushButton
from magicgui.widgets.bases import Widget
from napari.utils.notifications import show_error
from psygnal import Signal

from napari_blindspot._napari.job import start_job
from napari_blindspot._napari.layout import wrapped_text
from napari_blindspot._napari.time_left import TimeLeft
from napari_blindspot._napari.wording import in_panel
from napari_blindspot.errors import BlindspotError, Cancelled
from napari_blindspot.progress import CancelToken

if TYPE_CHECKING:
    from napari_blindspot._napari.job import JobWorker, Outcome
    from napari_blindspot.progress import Job, Progress, Stage

logger = logging.getLogger(__name__)

PROGRESS_STEPS = 1000


class JobPanel(Container[Widget]):
    """Widgets and states that every panel with a job shares.

    A subclass says what the job is (`_job`) and shows what it returned (`_show`), and
    lays out `buttons`, `progress` and `stage` where it wants them.

    Parameters
    ----------
    name
        Name of the container.
    doing
        What the job does, for sentences: "Denoising".
    run_text
        What the button says that starts it.
    counted
        Stages that the bar shows; it stays empty during others.
    """

    finished = Signal(object)
    """The result of the job, after it was shown."""

    failed = Signal(object)
    """The exception, after it was shown; `Cancelled` after a cancelled run."""

    def __init__(
        self, name: str, *, doing: str, run_text: str, counted: tuple[Stage, ...]
    ) -> None:
        super().__init__(name=name, labels=False)
        self._doing, self._counted = doing, counted
        self._worker: JobWorker | None = None
        self._alive = True
        self._time_left = TimeLeft()
        self.run_button = PushButton(text=run_text, name="run_button")
        self.cancel_button = PushButton(text="Cancel", name="cancel_button")
        self.run_button.changed.connect(self.run)
        self.cancel_button.changed.connect(self.cancel)
        self.buttons: Container[PushButton] = Container(
            widgets=[self.run_button, self.cancel_button],
            layout="horizontal",
            labels=False,
            name="buttons",
        )
        self.buttons.margins = (0, 0, 0, 0)
        self.progress = ProgressBar(value=0, max=PROGRESS_STEPS, name="progress")
        self.stage = wrapped_text("stage")
        self.native.destroyed.connect(self._on_destroyed)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._worker is not None

    def run(self) -> None:
        """Start the job with what the widgets show, in a worker thread.

        A wrong choice is shown, and told by `failed`. While a job is under way
        nothing happens.
        """
        if self.running:
            return
        token = CancelToken()
        try:
            job = self._job(token)
        except BlindspotError as error:
            self._fail(error)
            return
        self._time_left = TimeLeft()
        self.stage.value = "Starting"
        self._worker = start_job(
            job, token, progressed=self._on_progress, ended=self._on_ended
        )
        self._enable()

    def cancel(self) -> None:
        """Ask the running job to stop at its next chance."""
        if self._worker is not None:
            self._worker.quit()
            if self._alive:
                self.stage.value = "Stopping"

    def _job(self, token: CancelToken) -> Job[Any]:
        """Return the job that the widgets describe, not begun yet.

        Raises
        ------
        BlindspotError
            If they describe none.
        """
        raise NotImplementedError

    def _show(self, value: Any) -> object:
        """Show what the job returned, and return what `finished` tells."""
        raise NotImplementedError

    def _enable(self) -> None:
        """Enable what may be used now."""
        self.run_button.enabled = not self.running
        self.cancel_button.enabled = self.running

    def _on_progress(self, event: Progress) -> None:
        if not self._alive or self._worker is None:
            return
        worked = event.fraction if event.stage in self._counted else 0.0
        self.progress.value = round(worked * PROGRESS_STEPS)
        token = self._worker.token
        if token is None or not token.cancelled:
            self.stage.value = self._time_left.sentence(event)

    def _on_ended(self, outcome: Outcome[Any]) -> None:
        self._worker = None
        if not self._alive:
            return
        self._enable()
        if outcome.error is None:
            self._succeed(outcome.value)
        else:
            self._fail(outcome.error)

    def _succeed(self, value: Any) -> None:
        try:
            told = self._show(value)
        except Exception as error:  # a slot that raises ends a PyQt6 process
            self._fail(error)
            return
        self.progress.value = PROGRESS_STEPS
        self._enable()
        self.finished.emit(told)

    def _fail(self, error: Exception) -> None:
        self.progress.value = 0
        if isinstance(error, Cancelled):
            self.stage.value = str(error)
        elif isinstance(error, BlindspotError):
            self.stage.value = "Not done: see the message."
            show_error(in_panel(str(error)))
        else:
            logger.error("%s failed", self._doing, exc_info=error)
            self.stage.value = "Failed: see the message."
            show_error(
                f"{self._doing} failed unexpectedly ({type(error).__name__}: {error}); "
                f"the source is untouched, and the terminal shows the details for a "
                f"report."
            )
        self.failed.emit(error)

    def _on_destroyed(self) -> None:
        self._alive = False
        self.cancel()
