"""The panel "Denoise": start the job, show how far it is, show the result.

Nothing is computed here. The widgets say what is wanted (`form`), the core does it in
a worker thread (`job`), and the result becomes layers (`layers`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from napari.utils.notifications import show_error, show_warning
from psygnal import Signal
from qtpy.QtWidgets import QSizePolicy

from napari_blindspot._napari.denoising import denoise_layer
from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot._napari.job import start_job
from napari_blindspot._napari.layers import add_layers, verdict
from napari_blindspot._napari.time_left import TimeLeft
from napari_blindspot.device import describe_device
from napari_blindspot.errors import BlindspotError, Cancelled, InputError
from napari_blindspot.progress import TITLES, CancelToken

if TYPE_CHECKING:
    import napari.viewer

    from napari_blindspot._napari.denoising import Denoised
    from napari_blindspot._napari.job import JobWorker, Outcome
    from napari_blindspot.device import DeviceReport
    from napari_blindspot.progress import Job, Progress

logger = logging.getLogger(__name__)

WARNING_STYLE = "color: #ff6b5e; font-weight: bold;"
PROGRESS_STEPS = 1000
COUNTED = ("train", "predict", "pyramid")
LOOKING = "Looking for a device"


class DenoisePanel(DenoiseForm):
    """Panel that denoises an image layer.

    It can be driven by a script: set ``panel.layer.value`` and the other widgets,
    then call `run`; listen to `finished` and `failed`.

    Parameters
    ----------
    viewer
        Viewer that gets the result layers.
    """

    finished = Signal(object)
    """The `Result`, after its layers were added."""

    failed = Signal(object)
    """The exception, after it was shown; `Cancelled` after a cancelled run."""

    # napari passes the viewer only where this annotation reads literally so: not
    # quoted, and with its whole path.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._worker: JobWorker | None = None
        self._alive = True
        self._time_left = TimeLeft()
        self._add_status()
        self.layer.changed.connect(self._enable)
        self.advanced.device.changed.connect(self._ask_device)
        self.native_parent_changed.connect(self._on_reparented)
        self.native.destroyed.connect(self._on_destroyed)
        self._enable()
        self._ask_device()

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._worker is not None

    def run(self) -> None:
        """Denoise the chosen layer with the chosen settings, in a worker thread.

        A wrong setting is shown, and told by `failed`. While a job is under way
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
        self.verdict.value = ""
        self.stage.value = "Starting"
        self._worker = start_job(
            job, token, progressed=self._on_progress, ended=self._on_ended
        )
        self._enable()

    def cancel(self) -> None:
        """Ask the running job to stop at its next tile or training step."""
        if self._worker is not None:
            self._worker.quit()
            if self._alive:
                self.stage.value = "Stopping"

    def _job(self, token: CancelToken) -> Job[Denoised]:
        layer = self.layer.value
        if layer is None:
            raise InputError(
                "layer is empty; open an image or choose an image layer first."
            )
        return denoise_layer(layer, self.settings(), self.out(), token)

    def _on_progress(self, event: Progress) -> None:
        if not self._alive or self._worker is None:
            return
        worked = event.fraction if event.stage in COUNTED else 0.0
        self.progress.value = round(worked * PROGRESS_STEPS)
        if event.message not in ("", TITLES[event.stage]):
            self._tell(event.message)
        token = self._worker.token
        if token is None or not token.cancelled:
            self.stage.value = self._time_left.sentence(event)

    def _tell(self, sentence: str) -> None:
        """Add a line to what was found in this run."""
        self.verdict.value = f"{self.verdict.value}\n{sentence}".strip()

    def _on_ended(self, outcome: Outcome[Denoised]) -> None:
        self._worker = None
        if not self._alive:
            return
        self._enable()
        if outcome.value is not None:
            self._show(outcome.value)
        elif outcome.error is not None:
            self._fail(outcome.error)

    def _show(self, denoised: Denoised) -> None:
        try:
            add_layers(self._viewer, denoised.layers)
        except Exception as error:  # a slot that raises ends a PyQt6 process
            self._fail(error)
            return
        self.progress.value = PROGRESS_STEPS
        self.stage.value = "Done"
        self._tell(verdict(denoised.result))
        self.finished.emit(denoised.result)

    def _fail(self, error: Exception) -> None:
        self.progress.value = 0
        if isinstance(error, Cancelled):
            self.stage.value = str(error)
        elif isinstance(error, BlindspotError):
            self.stage.value = "Not done: see the message."
            show_error(str(error))
        else:
            logger.error("Denoising failed", exc_info=error)
            self.stage.value = "Failed: see the message."
            show_error(
                f"Denoising failed unexpectedly ({type(error).__name__}: {error}); the "
                f"source is untouched, and the terminal shows the details for a report."
            )
        self.failed.emit(error)

    def _add_status(self) -> None:
        self.device_report = _text("device_report", LOOKING)
        self.run_button = PushButton(text="Run", name="run_button")
        self.cancel_button = PushButton(text="Cancel", name="cancel_button")
        self.run_button.changed.connect(self.run)
        self.cancel_button.changed.connect(self.cancel)
        buttons: Container[PushButton] = Container(
            widgets=[self.run_button, self.cancel_button],
            layout="horizontal",
            labels=False,
            name="buttons",
        )
        buttons.margins = (0, 0, 0, 0)
        self.progress = ProgressBar(
            value=0, max=PROGRESS_STEPS, name="progress", label=""
        )
        self.stage = _text("stage")
        self.verdict = _text("verdict")
        self.extend(
            [self.device_report, buttons, self.progress, self.stage, self.verdict]
        )

    def _enable(self) -> None:
        self.main.enabled = self.advanced.enabled = not self.running
        self.run_button.enabled = not self.running and self.layer.value is not None
        self.cancel_button.enabled = self.running

    def _ask_device(self) -> None:
        # In a worker thread: looking loads torch, which takes a second or more.
        device = self.advanced.device.value
        start_job(
            _describe(device),
            CancelToken(),
            progressed=lambda event: None,
            ended=self._on_device,
        )

    def _on_device(self, outcome: Outcome[DeviceReport]) -> None:
        if not self._alive:
            return
        label = self.device_report
        if outcome.value is None:
            label.value = str(outcome.error)
            label.native.setStyleSheet(WARNING_STYLE)
            return
        report = outcome.value
        label.value = f"Runs on {report.name}. {report.warning}".strip()
        label.native.setStyleSheet(WARNING_STYLE if report.warning else "")
        if report.warning:
            show_warning(report.warning)

    def _on_reparented(self) -> None:
        # The dock widget was closed; the panel can no longer be seen.
        if self.running and self.native.parent() is None:
            self.cancel()

    def _on_destroyed(self) -> None:
        self._alive = False
        self.cancel()


def _text(name: str, value: str = "") -> Label:
    """Return a text that wraps instead of widening the panel."""
    text = Label(value=value, name=name)
    text.native.setWordWrap(True)
    policy = QSizePolicy.Policy
    text.native.setSizePolicy(policy.Expanding, policy.Minimum)
    return text


def _describe(device: str) -> Job[DeviceReport]:
    """Return the report as a job without events."""
    yield from ()
    return describe_device(device)
