"""The tab "Noise": what the noise of the chosen layer is like, in plots and words.

Nothing is computed here: the core diagnoses in a worker thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, LineEdit, PushButton
from napari.utils.notifications import show_error, show_info
from psygnal import Signal
from qtpy.QtWidgets import QFileDialog

from napari_blindspot._napari.diagnosing import diagnose_layer
from napari_blindspot._napari.fields import shown
from napari_blindspot._napari.job_panel import JobPanel
from napari_blindspot._napari.layout import Rows, wrapped_text
from napari_blindspot._napari.noise_figures import figures_text, notes_of
from napari_blindspot._napari.plots import CorrelationPlot, LevelPlot, MeanVariancePlot
from napari_blindspot.config import DiagnoseSettings, parse_settings
from napari_blindspot.errors import BlindspotError, InputError
from napari_blindspot.reporting.report import write_report

if TYPE_CHECKING:
    from pathlib import Path

    from magicgui.widgets.bases import Widget

    from napari_blindspot._napari.region_edit import RegionEdit
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.reporting.findings import ChannelDiagnosis, Diagnosis

HINT = (
    "Measures the noise of the layer above: the camera, whether neighbours share "
    "their noise, and which blind spot hides that. It takes seconds and trains nothing."
)


class NoiseTab(JobPanel):
    """Panel that diagnoses the noise of a layer.

    It can be driven by a script: call `run`; listen to `finished` and `failed`.

    Parameters
    ----------
    layer
        Where the user chooses the layer.
    axes
        Where the user names its axes; may be empty.
    region
        Where the user chooses a part of it.
    """

    hole_chosen = Signal(tuple)
    """The proposed blind spot (z, y, x), when the user wants to denoise with it."""

    def __init__(self, layer: ComboBox, axes: LineEdit, region: RegionEdit) -> None:
        super().__init__(
            "noise", doing="Diagnosing", run_text="Diagnose", counted=("noise",)
        )
        self._layer, self._axes, self._region = layer, axes, region
        self._diagnosis: Diagnosis | None = None
        self.stage.value = HINT
        self.extend([self.buttons, self.progress, self.stage])
        self._add_findings()
        layer.changed.connect(self._enable)
        self._enable()

    def use_hole(self) -> None:
        """Hand the proposed blind spot on."""
        if self._diagnosis is not None:
            self.hole_chosen.emit(self._diagnosis.hole)

    def save_report(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the diagnosis as an HTML page, or show why that cannot be done.

        Parameters
        ----------
        path
            ``.html`` file to write.
        overwrite
            Replace an existing file.
        """
        if self._diagnosis is None:
            return
        try:
            written = write_report(self._diagnosis, path, overwrite=overwrite)
        except BlindspotError as error:
            show_error(str(error))
        else:
            show_info(f"Report written: {written}")

    def _job(self, token: CancelToken) -> Job[Diagnosis]:
        layer = self._layer.value
        if layer is None:
            raise InputError(
                "layer is empty; open an image or choose an image layer first."
            )
        axes = shown(self._axes) or None
        region = self._region.region_of(layer, axes)
        settings = parse_settings(DiagnoseSettings, axes=axes, region=region)
        return diagnose_layer(layer, settings, token)

    def _show(self, diagnosis: Diagnosis) -> Diagnosis:
        self._diagnosis = diagnosis
        names = [one.name for one in diagnosis.channels]
        self.channel.choices = [(name, place) for place, name in enumerate(names)]
        self.channel.value = 0
        self.findings.visible = True
        self.channel_row.visible = len(names) > 1
        self._show_channel()
        self.stage.value = f"Noise of {diagnosis.name}"
        return diagnosis

    def _show_channel(self) -> None:
        if self._diagnosis is None or self.channel.value is None:
            return
        channel: ChannelDiagnosis = self._diagnosis.channels[self.channel.value]
        self.verdict.value = channel.verdict
        self.notes.value = notes_of(self._diagnosis, channel)
        self.notes.visible = bool(self.notes.value)
        self.figures.value = figures_text(channel)
        self.mean_variance.show_channel(channel)
        self.correlation.show_channel(channel)
        self.levels.show_channel(channel)

    def _enable(self) -> None:
        super()._enable()
        self.run_button.enabled = not self.running and self._layer.value is not None
        for button in (self.use_button, self.report_button):
            button.enabled = self._diagnosis is not None and not self.running

    def _add_findings(self) -> None:
        self.channel = ComboBox(choices=[], name="channel", label="Channel")
        self.channel.changed.connect(self._show_channel)
        self.channel_row = Rows("channel_row", [self.channel])
        self.verdict = wrapped_text("verdict")
        self.figures = wrapped_text("figures")
        self.notes = wrapped_text("notes")
        self.use_button = PushButton(
            text="Use this blind spot",
            name="use_button",
            tooltip="Put the proposed blind spot into the form of the tab Denoise. "
            "Gain, offset and read noise are estimated there anyway.",
        )
        self.report_button = PushButton(
            text="Save report...",
            name="report_button",
            tooltip="Write these plots and words as one HTML page.",
        )
        self.use_button.changed.connect(self.use_hole)
        self.report_button.changed.connect(self._ask_and_save)
        actions: Container[PushButton] = Container(
            widgets=[self.use_button, self.report_button],
            layout="horizontal",
            labels=False,
            name="actions",
        )
        actions.margins = (0, 0, 0, 0)
        self.findings: Container[Widget] = Container(
            widgets=[self.channel_row, self.verdict, self.notes, actions],
            labels=False,
            name="findings",
        )
        self.findings.margins = (0, 0, 0, 0)
        self.mean_variance, self.correlation = MeanVariancePlot(), CorrelationPlot()
        self.levels = LevelPlot()
        layout: Any = self.findings.native.layout()
        plots = (self.mean_variance, self.correlation, self.levels)
        for native in (*plots, self.figures.native):
            layout.addWidget(native)
        self.findings.visible = False
        self.append(self.findings)

    def _ask_and_save(self) -> None:
        name = self._diagnosis.name if self._diagnosis is not None else "stack"
        path, _ = QFileDialog.getSaveFileName(
            self.native, "Save report", f"{name} noise.html", "HTML page (*.html)"
        )
        if path:  # the dialog has asked about replacing a file
            self.save_report(path, overwrite=True)
