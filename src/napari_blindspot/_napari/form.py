"""The widgets in which the user chooses, and the settings that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from magicgui.types import FileDialogMode
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    LineEdit,
    PushButton,
    SpinBox,
    create_widget,
)
from magicgui.widgets.bases import ValueWidget, Widget

from napari_blindspot.config import (
    TRAINING_ONLY,
    Context,
    DenoiseSettings,
    OutputDtype,
    Quality,
    parse_settings,
)
from napari_blindspot.errors import InputError
from napari_blindspot.methods import METHODS

QUALITIES: tuple[str, ...] = get_args(Quality)
LIMITS = ("minutes", "steps")
DEVICES = ("auto", "cpu", "cuda", "mps")
CLOSED, OPEN = "▸  Advanced", "▾  Advanced"


class AdvancedForm(Container[Widget]):
    """The seldom needed widgets, folded away at first."""

    def __init__(self) -> None:
        self.context = ComboBox(
            choices=get_args(Context), **_described("context", "Context axis")
        )
        self.axes = LineEdit(value="", **_bare("axes", "Axes"))
        self.dtype = ComboBox(
            choices=get_args(OutputDtype), **_described("dtype", "Pixel type")
        )
        self.model = FileEdit(
            mode=FileDialogMode.EXISTING_FILE,
            filter="*.safetensors",
            **_bare("model", "Model file"),
        )
        self.device = ComboBox(choices=DEVICES, **_described("device", "Device"))
        self.seed = SpinBox(min=0, max=2**31 - 1, **_described("seed", "Seed"))
        self.overwrite = _check_box("overwrite", "Replace an existing output file")
        super().__init__(name="advanced")
        # Added afterwards, because only then all labels get the same width.
        self.extend(
            [
                self.context, self.axes, self.dtype, self.model, self.device, self.seed,
                self.overwrite,
            ]
        )  # fmt: skip
        self.margins = (0, 0, 0, 0)
        self.visible = False


class DenoiseForm(Container[Widget]):
    """Widgets for `DenoiseSettings`, each under the name of its setting.

    The defaults, the choices and the help texts are those of the settings. The
    seldom needed ones are in the folded `advanced`.
    """

    def __init__(self) -> None:
        self.layer = cast(
            "ComboBox",
            create_widget(
                annotation="napari.layers.Image",
                name="layer",
                label="Layer",
                options={"tooltip": "The image layer to denoise; it is only read."},
            ),
        )
        self.method = ComboBox(
            choices=[(method.title, name) for name, method in METHODS.items()],
            **_described("method", "Method"),
        )
        self.budget = ComboBox(
            choices=[*QUALITIES, *LIMITS],
            value="balanced",
            name="budget",
            label="Training",
            tooltip=f"How long the network may learn. {_help('quality')}",
        )
        self.minutes = FloatSpinBox(
            value=5.0, min=0.01, max=1440.0, step=1.0, **_bare("minutes", "Minutes")
        )
        self.steps = SpinBox(
            value=500, min=1, max=1_000_000, step=50, **_bare("steps", "Steps")
        )
        self.uncertainty = _check_box("uncertainty", "Also show the uncertainty")
        self.output = FileEdit(
            mode=FileDialogMode.OPTIONAL_FILE,
            filter="*.ome.zarr *.zarr *.ome.tif *.tif",
            name="output",
            label="Output file",
            tooltip="Write the result here, block by block (.ome.zarr, .zarr, "
            ".ome.tif). Empty: keep it in memory.",
        )
        self.fold = PushButton(text=CLOSED, name="fold")
        self.advanced = AdvancedForm()
        self.main: Container[Widget] = Container(name="main")
        self.main.extend(
            [
                self.layer, self.method, self.budget, self.minutes, self.steps,
                self.uncertainty, self.output,
            ]
        )  # fmt: skip
        self.main.margins = (0, 0, 0, 0)
        super().__init__(widgets=[self.main, self.fold, self.advanced], labels=False)
        self.fold.native.setFlat(True)
        self.fold.native.setStyleSheet(
            "text-align: left; padding: 2px; background: transparent;"
        )
        self.fold.changed.connect(self._toggle_advanced)
        self.budget.changed.connect(self._show_limit)
        self._show_limit()

    def settings(self) -> DenoiseSettings:
        """Return the settings that the widgets show.

        Raises
        ------
        InputError
            Naming the setting that does not fit.
        """
        shown = {
            name: _shown(widget)
            for name, widget in self._fields().items()
            if name not in LIMITS
        }
        options = {name: value for name, value in shown.items() if value != ""}
        options |= self._budget()
        if "model" in options:  # it brings its training along
            options = {k: v for k, v in options.items() if k not in TRAINING_ONLY}
        return parse_settings(DenoiseSettings, **options)

    def out(self) -> Path | None:
        """Return the output file, None to keep the result in memory."""
        chosen = _shown(self.output)
        return Path(chosen).expanduser() if chosen else None

    def set_options(self, **options: object) -> None:
        """Show settings, given by name as in `DenoiseSettings`.

        Raises
        ------
        InputError
            If the panel has no widget for a setting, or not this choice.
        """
        for name, value in options.items():
            if name == "quality" or name in LIMITS:
                self._choose("budget", value if name == "quality" else name)
            if name != "quality":
                self._choose(name, value)

    def _choose(self, name: str, value: object) -> None:
        fields = {**self._fields(), "budget": self.budget}
        if name not in fields:
            raise InputError(
                f"{name}={value!r} cannot be set in the panel; it shows quality, "
                f"{', '.join(self._fields())}."
            )
        try:
            # None stands for the default, which a text field shows as empty.
            fields[name].value = "" if value is None else value
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{name}={value!r} cannot be chosen in the panel: {error}."
            ) from error

    def _budget(self) -> dict[str, Any]:
        chosen = self.budget.value
        if chosen in LIMITS:
            return {chosen: self._fields()[chosen].value}
        return {"quality": chosen}

    def _fields(self) -> dict[str, ValueWidget[Any] | FileEdit]:
        """Return the widgets that are named after a setting."""
        known = DenoiseSettings.model_fields
        return {
            widget.name: widget
            for widget in [*self.main, *self.advanced]
            if isinstance(widget, ValueWidget | FileEdit) and widget.name in known
        }

    def _show_limit(self) -> None:
        self.minutes.visible = self.budget.value == "minutes"
        self.steps.visible = self.budget.value == "steps"

    def _toggle_advanced(self) -> None:
        opened = not self.advanced.visible
        self.advanced.visible = opened
        self.fold.text = OPEN if opened else CLOSED


def _shown(widget: ValueWidget[Any] | FileEdit) -> Any:
    """Return the value of a widget, an empty text for an empty field."""
    # An empty FileEdit has the value Path("."), the current folder.
    field = widget.line_edit if isinstance(widget, FileEdit) else widget
    return field.value.strip() if isinstance(field.value, str) else field.value


def _check_box(name: str, text: str) -> CheckBox:
    default = DenoiseSettings.model_fields[name].default
    return CheckBox(value=default, text=text, name=name, tooltip=_help(name))


def _described(name: str, label: str) -> dict[str, Any]:
    """Return name, label, help text and default of the widget for a setting."""
    default = DenoiseSettings.model_fields[name].default
    return {**_bare(name, label), "value": default}


def _bare(name: str, label: str) -> dict[str, Any]:
    return {"name": name, "label": label, "tooltip": _help(name)}


def _help(name: str) -> str:
    return DenoiseSettings.model_fields[name].description or ""
