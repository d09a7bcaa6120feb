"""The widgets in which the user chooses, and the settings that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

from magicgui.types import FileDialogMode
from magicgui.widgets import (
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    LineEdit,
    SpinBox,
)
from magicgui.widgets.bases import Widget

from napari_blindspot._napari.advanced_form import AdvancedForm
from napari_blindspot._napari.blind2grad_form import Blind2GradForm
from napari_blindspot._napari.fields import (
    Field,
    bare,
    check_box,
    choice,
    default,
    help_text,
    shown,
)
from napari_blindspot._napari.layout import Fold, Rows
from napari_blindspot._napari.noise_form import NoiseForm
from napari_blindspot._napari.tunable_form import TunableForm
from napari_blindspot.config import (
    TRAINING_ONLY,
    DenoiseSettings,
    Quality,
    parse_settings,
)
from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_blindspot._napari.asked_form import AskedForm

QUALITIES: tuple[str, ...] = get_args(Quality)
LIMITS = ("minutes", "steps")


class BudgetForm(Rows):
    """How long the network may learn: all that a first run asks for."""

    def __init__(self) -> None:
        self.budget = ComboBox(
            choices=[*QUALITIES, *LIMITS],
            value="balanced",
            name="budget",
            label="Training",
            tooltip=f"How long the network may learn. {help_text('quality')}",
        )
        self.minutes = FloatSpinBox(
            value=5.0, min=0.01, max=1440.0, step=1.0, **bare("minutes", "Minutes")
        )
        self.steps = SpinBox(
            value=500, min=0, max=1_000_000, step=50, **bare("steps", "Steps")
        )
        super().__init__("budget_form", [self.budget, self.minutes, self.steps])
        self.budget.changed.connect(self._show_limit)
        self._show_limit()

    def given(self) -> dict[str, Any]:
        """Return the one budget that is chosen."""
        if self.budget.value == "minutes":
            return {"minutes": self.minutes.value}
        if self.budget.value == "steps":
            return {"steps": self.steps.value}
        return {"quality": self.budget.value}

    def _show_limit(self) -> None:
        self.minutes.visible = self.budget.value == "minutes"
        self.steps.visible = self.budget.value == "steps"


class OutputForm(Rows):
    """Where the result goes and what it consists of."""

    def __init__(self) -> None:
        self.uncertainty = check_box("uncertainty", "Also show the uncertainty")
        self.output = FileEdit(
            mode=FileDialogMode.OPTIONAL_FILE,
            filter="*.ome.zarr *.zarr *.ome.tif *.tif",
            name="output",
            label="Output file",
            tooltip="Write the result here, block by block (.ome.zarr, .zarr, "
            ".ome.tif). Empty: keep it in memory.",
        )
        self.dtype = choice("dtype", "Pixel type")
        self.overwrite = check_box("overwrite", "Replace an existing output file")
        self.resume = check_box("resume", "Go on with an earlier run")
        super().__init__(
            "output_form",
            [self.uncertainty, self.output, self.overwrite, self.resume, self.dtype],
        )


class DenoiseForm(Container[Widget]):
    """Widgets for `DenoiseSettings`, each under the name of its setting.

    The defaults, the choices and the help texts are those of the settings. A newcomer
    sees the training time alone; the rest is folded away, and what one method alone
    has is there with that method only.
    """

    def __init__(self) -> None:
        self.training = BudgetForm()
        self.output = OutputForm()
        self.noise = NoiseForm()
        self.tunable = TunableForm()
        self.blind2grad = Blind2GradForm()
        self.advanced = AdvancedForm()
        self.output_fold = Fold("Output", self.output)
        self.noise_fold = Fold("Noise", self.noise)
        self.tunable_fold = Fold("Blind spot and strength", self.tunable)
        self.blind2grad_fold = Fold("Blind2Grad", self.blind2grad)
        self.advanced_fold = Fold("Advanced", self.advanced)
        super().__init__(
            widgets=[
                self.training,
                self.output_fold,
                self.noise_fold,
                self.tunable_fold,
                self.blind2grad_fold,
                self.advanced_fold,
            ],
            labels=False,
            name="form",
        )
        self.margins = (0, 0, 0, 0)
        self.advanced.method.changed.connect(self._show_method)
        self._show_method(self.advanced.method.value)

    def settings(self) -> DenoiseSettings:
        """Return the settings that the widgets show.

        Raises
        ------
        InputError
            Naming the setting that does not fit.
        """
        return parse_settings(DenoiseSettings, **self._given())

    def out(self) -> Path | None:
        """Return the output file, None to keep the result in memory."""
        chosen = shown(self.output.output)
        return Path(chosen).expanduser() if chosen else None

    def set_options(self, **options: object) -> None:
        """Show settings, given by name as in `DenoiseSettings`.

        Raises
        ------
        InputError
            If the panel has no widget for a setting, or not this choice, or if the
            setting has no meaning beside the others.
        """
        for name, value in options.items():
            if name == "quality" or name in LIMITS:
                self._choose("budget", value if name == "quality" else name)
            if name != "quality":
                self._choose(name, value)
        self._refuse_unasked(options)

    def widgets_of(self, names: Collection[str]) -> list[Field]:
        """Return the widgets of some settings, as far as the panel shows them."""
        return [widget for name, widget in self._fields().items() if name in names]

    def _given(self) -> dict[str, Any]:
        """Return what the widgets show, by the names of the settings, not checked."""
        quiet = [*self.output, *self.advanced.plain]
        fields = {one.name: shown(one) for one in quiet if _is_setting(one)}
        options = {name: value for name, value in fields.items() if value != ""}
        options |= self.training.given()
        if "model" in options:  # it brings its training along
            options = {k: v for k, v in options.items() if k not in TRAINING_ONLY}
        # What was chosen on purpose is never dropped: beside a model it is refused.
        for form in self._chosen_forms:
            options |= form.given()
        return options

    @property
    def _chosen_forms(self) -> tuple[AskedForm | AdvancedForm, ...]:
        """The forms of which what was changed is sent, if it is asked for."""
        return (self.noise, self.tunable, self.blind2grad, self.advanced)

    def _show_method(self, method: str) -> None:
        """Show what the chosen method has, and nothing that it has not."""
        self.tunable.meant_for(method)
        self.blind2grad_fold.visible = self.blind2grad.meant_for(method)

    def _refuse_unasked(self, options: dict[str, object]) -> None:
        """Let the settings say why what is hidden now cannot be chosen."""
        unasked = {
            name: options[name]
            for name, widget in self._fields().items()
            if name in options
            and options[name] not in (None, default(name))
            and not self._is_asked(widget)
        }
        if unasked:
            parse_settings(DenoiseSettings, **{**self._given(), **unasked})

    def _is_asked(self, widget: Field) -> bool:
        return all(
            form.is_asked(widget) for form in self._chosen_forms if widget in form
        )

    def _choose(self, name: str, value: object) -> None:
        fields = self._fields()
        widget = fields.get(name, self.training.budget if name == "budget" else None)
        if widget is None:
            raise InputError(
                f"{name}={value!r} cannot be set in the panel; it shows quality, "
                f"{', '.join(fields)}."
            )
        try:
            widget.value = _typed(value) if _is_typed(widget, value) else value
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{name}={value!r} cannot be chosen in the panel: {error}."
            ) from error

    def _fields(self) -> dict[str, Field]:
        """Return the widgets that are named after a setting."""
        groups = (self.training, self.output, *self._chosen_forms)
        return {
            widget.name: widget
            for group in groups
            for widget in group
            if _is_setting(widget)
        }


def _is_setting(widget: Widget) -> TypeGuard[Field]:
    known = DenoiseSettings.model_fields
    return isinstance(widget, get_args(Field)) and widget.name in known


def _is_typed(widget: Field, value: object) -> bool:
    """Return whether a value is shown as text; a choice for None is the empty one."""
    return isinstance(widget, LineEdit) or (
        isinstance(widget, ComboBox) and value is None
    )


def _typed(value: object) -> str:
    """Return a value as it is typed into a text field; None is the default: nothing."""
    return "" if value is None else str(value)
