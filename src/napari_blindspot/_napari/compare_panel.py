"""The panel "Compare": choose two layers, see figures and Fourier correlation.

Nothing is computed here: the core compares in a worker thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from magicgui.widgets import ComboBox, Container, PushButton, create_widget
from qtpy.QtWidgets import QApplication

from napari_blindspot._napari.curve_plot import CurvePlot
from napari_blindspot._napari.fields import help_text, optional_text, shown
from napari_blindspot._napari.figure_table import FigureTable
from napari_blindspot._napari.figures import channel_figures, table_text
from napari_blindspot._napari.job_panel import JobPanel
from napari_blindspot._napari.layers import METADATA_KEY
from napari_blindspot._napari.layout import Rows, scrolled, wrapped_text
from napari_blindspot.config import BinBy, CompareSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.reporting.comparing import compare_job

if TYPE_CHECKING:
    from magicgui.widgets.bases import Widget
    from napari.layers import Image

    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.quality import Comparison


class ComparePanel(JobPanel):
    """Panel that measures one image layer against another.

    It can be driven by a script: set ``panel.result.value`` and
    ``panel.reference.value``, then call `run`; listen to `finished` and `failed`.
    """

    def __init__(self) -> None:
        super().__init__(
            "compare", doing="Comparing", run_text="Compare", counted=("compare",)
        )
        self._comparison: Comparison | None = None
        self._add_choices()
        self.copy_button = PushButton(text="Copy table", name="copy_button")
        self.copy_button.changed.connect(self.copy)
        self.buttons.append(self.copy_button)
        self.extend([self.choices, self.buttons, self.progress, self.stage])
        self._add_figures()
        self.result.changed.connect(self._suggest_bins)
        self.reference.changed.connect(self._suggest_bins)
        self.native_parent_changed.connect(self._on_reparented)
        self._enable()

    def settings(self) -> CompareSettings:
        """Return the settings that the widgets show.

        Raises
        ------
        InputError
            Naming the setting that does not fit.
        """
        fields = {field.name: shown(field) for field in self._numbers}
        given = {name: value for name, value in fields.items() if value}
        return parse_settings(CompareSettings, bin_by=self.bin_by.value, **given)

    def copy(self) -> None:
        """Put the table on the clipboard, for a spreadsheet."""
        if self._comparison is not None:
            clipboard: Any = QApplication.clipboard()
            clipboard.setText(table_text(self._comparison))

    def _job(self, token: CancelToken) -> Job[Comparison]:
        result, reference = self.result.value, self.reference.value
        if result is None or reference is None:
            raise InputError(
                "result or reference is empty; open two image layers and choose one "
                "in each field."
            )
        return compare_job(result, reference, self.settings(), token)

    def _show(self, comparison: Comparison) -> Comparison:
        self._comparison = comparison
        self.table.show_columns(
            [one.name or "Value" for one in comparison.channels],
            [channel_figures(one) for one in comparison.channels],
        )
        self.plot.show_channels(comparison.channels)
        self.stage.value = f"{comparison.result} against {comparison.reference}"
        self.notes.value = "\n".join(comparison.notes)
        self.notes.visible = bool(comparison.notes)
        self.area.setVisible(True)
        return comparison

    def _add_choices(self) -> None:
        self.result = _layer_choice("result", "Result", "What is measured.")
        self.reference = _layer_choice(
            "reference", "Reference", "The truth, a repeat, or the noisy input."
        )
        self.bin_by = ComboBox(
            choices=get_args(BinBy),
            name="bin_by",
            label="Bin by",
            tooltip=help_text("bin_by", CompareSettings),
        )
        self._numbers = (
            optional_text(
                "data_range",
                "Data range",
                empty="of the reference",
                kind=CompareSettings,
            ),
            optional_text("offset", "Offset", empty="none", kind=CompareSettings),
        )
        self.data_range, self.offset = self._numbers
        self.choices = Rows(
            "choices", [self.result, self.reference, self.bin_by, *self._numbers]
        )

    def _add_figures(self) -> None:
        self.notes = wrapped_text("notes")
        self.table, self.plot = FigureTable(), CurvePlot()
        figures: Container[Widget] = Container(
            widgets=[self.notes], labels=False, name="figures"
        )
        figures.margins = (0, 0, 0, 0)
        inner: Any = figures.native.layout()
        inner.addWidget(self.table)
        inner.addWidget(self.plot)
        self.area = scrolled(figures)
        self.area.setVisible(False)
        outer: Any = self.native.layout()
        outer.addWidget(self.area, stretch=1)

    def _enable(self) -> None:
        super()._enable()
        self.choices.enabled = not self.running
        self.copy_button.enabled = self._comparison is not None

    def _suggest_bins(self) -> None:
        """Bin by the result where the reference is what it was made from."""
        own_input = self._source_of_result()
        if own_input is not None and self.reference.value is not None:
            made_from = own_input == self.reference.value.name
            self.bin_by.value = "result" if made_from else "reference"

    def _source_of_result(self) -> str | None:
        layer: Image | None = self.result.value
        made = {} if layer is None else layer.metadata.get(METADATA_KEY, {})
        return made.get("source")

    def _on_reparented(self) -> None:
        if self.native.parent() is None:  # the dock widget was closed
            self.cancel()
            return
        layers = self.result.choices
        if len(layers) > 1 and self.result.value is self.reference.value:
            self.result.value = layers[-1]


def _layer_choice(name: str, label: str, tooltip: str) -> ComboBox:
    widget = create_widget(
        annotation="napari.layers.Image",
        name=name,
        label=label,
        options={"tooltip": tooltip},
    )
    return cast("ComboBox", widget)
