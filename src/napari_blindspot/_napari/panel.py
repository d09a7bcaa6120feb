"""The panel: choose a layer, denoise it in one tab, look at its noise in the other.

Nothing is computed here. The widgets say what is wanted (`form`), the core does it in
a worker thread (`job`), and the result becomes layers (`layers`).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, cast

from magicgui.widgets import CheckBox, ComboBox, Container, create_widget
from napari.utils.notifications import show_warning
from psygnal import Signal
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QTabWidget

from napari_blindspot._napari.denoising import denoise_layer
from napari_blindspot._napari.fields import shown
from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot._napari.job import start_job
from napari_blindspot._napari.job_panel import JobPanel
from napari_blindspot._napari.layers import (
    add_layers,
    bare_layer,
    channel_count,
    noise_verdict,
    verdict,
)
from napari_blindspot._napari.layout import Rows, scrolled, wrapped_text
from napari_blindspot._napari.noise_tab import NoiseTab
from napari_blindspot._napari.preview import Preview
from napari_blindspot._napari.preview_answers import DECIDING, Models
from napari_blindspot._napari.preview_start import STARTING
from napari_blindspot._napari.region_edit import RegionEdit
from napari_blindspot._napari.wording import in_panel
from napari_blindspot.device import describe_device
from napari_blindspot.errors import InputError
from napari_blindspot.progress import TITLES, CancelToken

if TYPE_CHECKING:
    import napari.viewer
    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from napari_blindspot._napari.denoising import Denoised
    from napari_blindspot._napari.job import Outcome
    from napari_blindspot.api import Result
    from napari_blindspot.config import DenoiseSettings
    from napari_blindspot.device import DeviceReport
    from napari_blindspot.noise.whiteness import Hole
    from napari_blindspot.progress import Job, Progress, Stage

WARNING_STYLE = "color: #ff6b5e; font-weight: bold;"
COUNTED: tuple[Stage, ...] = ("train", "predict", "pyramid")
AFTER_TRAINING: tuple[Stage, ...] = ("distill", "predict", "pyramid")
FINDINGS = ("open", "noise")
LOOKING = "Looking for a device"
PREVIEW = (
    "Show the plane in view denoised, in a layer above its own. It follows the "
    "sliders, the zoom, the blind spot and the strength."
)


class DenoisePanel(JobPanel):
    """Panel that denoises an image layer and diagnoses its noise.

    It can be driven by a script: set ``panel.layer.value`` and, by `set_options`, the
    other widgets, then call `run`; listen to `finished` and `failed`. The tab that
    diagnoses is `noise_tab`, with the same methods and signals.

    Parameters
    ----------
    viewer
        Viewer that gets the result layers.
    """

    finished = Signal(object)
    """The `Result`, after its layers were added."""

    # napari passes the viewer only where this annotation reads literally so: not
    # quoted, and with its whole path.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__("denoise", doing="Denoising", run_text="Run", counted=COUNTED)
        self._viewer = viewer
        self._denoised: weakref.ref[Image] | None = None
        self.layer = _layer_choice()
        self.region = RegionEdit(viewer)
        self.form = DenoiseForm()
        self.device_report = wrapped_text("device_report", LOOKING)
        self.verdict = wrapped_text("verdict")
        self.noise_verdict = wrapped_text("noise_verdict")
        self.noise_tab = NoiseTab(self.layer, self.form.advanced.axes, self.region)
        self.preview_box = CheckBox(
            text="Preview of the plane in view", name="preview", tooltip=PREVIEW
        )
        self.preview_note = wrapped_text("preview_note")
        self.preview_note.visible = False
        self.preview = Preview(
            viewer, self.settings, self._note, self._on_preview_ended
        )
        self.tabs = QTabWidget()
        self._add_tabs()
        self.layer.changed.connect(self._enable)
        self.layer.changed.connect(self._offer_channels)
        viewer.layers.events.removed.connect(self._enable_soon)
        self.form.advanced.axes.changed.connect(self._offer_channels)
        self.form.advanced.device.changed.connect(self._ask_device)
        self.noise_tab.hole_chosen.connect(self._use_hole)
        self._connect_preview()
        self.native_parent_changed.connect(self._on_reparented)
        self._enable()
        self._offer_channels()
        self._ask_device()

    def settings(self) -> DenoiseSettings:
        """Return the settings that the widgets show.

        Raises
        ------
        InputError
            Naming the setting that does not fit.
        """
        return self.form.settings()

    def set_options(self, **options: object) -> None:
        """Show settings, given by name as in `DenoiseSettings`.

        Raises
        ------
        InputError
            If the panel has no widget for a setting, or not this choice, or if the
            setting has no meaning beside the others.
        """
        self.form.set_options(**options)

    def show_noise(self) -> None:
        """Bring the tab that diagnoses to the front."""
        self.tabs.setCurrentIndex(1)

    def _job(self, token: CancelToken) -> Job[Denoised]:
        self.verdict.value = self.noise_verdict.value = ""
        layer = self.layer.value
        if layer is None:
            raise InputError(
                "layer is empty; open an image or choose an image layer first."
            )
        settings, out = self.form.settings(), self.form.out()
        region = self.region.region_of(layer, settings.axes)
        settings = settings.model_copy(update={"region": region})
        watch = None if settings.model else self.preview.watcher(layer)
        job = denoise_layer(layer, settings, out, token, watch)
        if watch is not None:
            self.preview.train()
        self._denoised = weakref.ref(bare_layer(layer))
        return job

    def _on_progress(self, event: Progress) -> None:
        super()._on_progress(event)
        found = event.stage in FINDINGS and event.message not in ("", TITLES["noise"])
        if self._alive and self.running and found:
            self._tell(event.message)
        if self._alive and event.stage in AFTER_TRAINING:
            self.preview.rest()

    def _on_ended(self, outcome: Outcome[Denoised]) -> None:
        super()._on_ended(outcome)
        self.preview.trained()

    def _tell(self, sentence: str) -> None:
        """Add a line to what was found in this run."""
        self.verdict.value = f"{self.verdict.value}\n{in_panel(sentence)}".strip()

    def _show(self, denoised: Denoised) -> Result:
        add_layers(self._viewer, denoised.layers)
        layer = None if self._denoised is None else self._denoised()
        if layer is not None:
            self.preview.use(layer, _models_of(denoised.result))
        self._tell(verdict(denoised.result))
        fits, sentences = noise_verdict(denoised.result)
        self.noise_verdict.value = sentences
        self.noise_verdict.native.setStyleSheet("" if fits else WARNING_STYLE)
        self.stage.value = "Done"
        return denoised.result

    def _add_tabs(self) -> None:
        page: Container[Widget] = Container(
            widgets=[
                self.form,
                self.device_report,
                self.buttons,
                self.progress,
                self.stage,
                self.preview_box,
                self.preview_note,
                self.verdict,
                self.noise_verdict,
            ],
            labels=False,
            name="page",
        )
        self.append(Rows("source", [self.layer, self.region]))
        self.tabs.addTab(scrolled(page), "Denoise")
        self.tabs.addTab(scrolled(self.noise_tab), "Noise")
        self.native.layout().addWidget(self.tabs)

    def _enable(self) -> None:
        super()._enable()
        self.layer.enabled = self.form.enabled = not self.running
        self.region.enabled = not self.running
        self.run_button.enabled = not self.running and self.layer.value is not None

    def _enable_soon(self, event: object = None) -> None:
        # The list tells that its choice has changed, but not that it has none left.
        QTimer.singleShot(0, self._enable_if_alive)

    def _enable_if_alive(self) -> None:
        if self._alive:
            self._enable()

    def _offer_channels(self) -> None:
        layer, axes = self.layer.value, shown(self.form.advanced.axes) or None
        several = layer is not None and channel_count(layer, axes) > 1
        self.form.advanced.offer_channels(several)

    def _use_hole(self, hole: Hole) -> None:
        self.set_options(hole=hole)
        self.form.tunable_fold.unfold()
        self.tabs.setCurrentIndex(0)

    def _connect_preview(self) -> None:
        self.preview_box.changed.connect(self._switch_preview)
        self.layer.changed.connect(self._on_layer_chosen)
        for knob in self.form.widgets_of({*DECIDING, *STARTING, "model"}):
            knob.changed.connect(self._update_preview)

    def _switch_preview(self) -> None:
        layer = self.layer.value
        if self.preview_box.value and layer is not None:
            self.preview.switch_on(layer)
        else:
            self.preview.switch_off()

    def _on_layer_chosen(self) -> None:
        shown = self.preview.layer
        if shown is not None and shown not in self._viewer.layers:
            self._on_preview_ended()  # not the user chose, what was shown is gone
        else:
            self._switch_preview()

    def _update_preview(self) -> None:
        self.preview.update()

    def _note(self, sentence: str) -> None:
        self.preview_note.value = sentence
        self.preview_note.visible = bool(sentence)

    def _on_preview_ended(self) -> None:
        self.preview_box.value = False

    def _on_destroyed(self) -> None:
        super()._on_destroyed()
        self.preview.close()

    def _ask_device(self) -> None:
        # In a worker thread: looking loads torch, which takes a second or more.
        device = self.form.advanced.device.value
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
        if self.native.parent() is None:  # closed: the panel can no longer be seen
            self.cancel()
            self.noise_tab.cancel()
            self.preview.switch_off()
            return
        active = self._viewer.layers.selection.active
        if active in self.layer.choices:
            self.layer.value = active


def _layer_choice() -> ComboBox:
    widget = create_widget(
        annotation="napari.layers.Image",
        name="layer",
        label="Layer",
        options={"tooltip": "The image layer to denoise; it is only read."},
    )
    return cast("ComboBox", widget)


def _models_of(result: Result) -> Models:
    """Return the teacher of a result and its student, if there is one."""
    if result.teacher is not None:
        return Models(result.teacher, result.model)
    if result.model is not None and result.model.is_student:
        return Models(None, result.model)
    return Models(result.model)


def _describe(device: str) -> Job[DeviceReport]:
    """Return the report as a job without events."""
    yield from ()
    return describe_device(device)
