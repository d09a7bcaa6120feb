"""The widgets for what is seldom needed: method, channels, device and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, SpinBox

from napari_blindspot._napari.fields import (
    bare,
    check_box,
    choice,
    default,
    described,
    optional_text,
    shown,
)
from napari_blindspot._napari.layout import Rows
from napari_blindspot._napari.start_edit import StartEdit
from napari_blindspot.methods import METHODS

if TYPE_CHECKING:
    from napari_blindspot._napari.fields import Field

DEVICES = ("auto", "cpu", "cuda", "mps")


class AdvancedForm(Rows):
    """Widgets for what is seldom needed, each under the name of its setting."""

    def __init__(self) -> None:
        self._several = False
        self.method = ComboBox(
            choices=[(method.title, name) for name, method in METHODS.items()],
            **described("method", "Method"),
        )
        self.context = choice("context", "Context axis")
        self.channels = choice("channels", "Channels")
        self.covariance = choice("covariance", "Covariance")
        self.stop_gradient = check_box("stop_gradient", "Noise held in each step")
        self.start = StartEdit("start", "Start from")
        self.axes = optional_text("axes", "Axes", empty="of the layer")
        self.model = FileEdit(
            mode=FileDialogMode.EXISTING_FILE,
            filter="*.safetensors",
            **bare("model", "Model file"),
        )
        self.device = ComboBox(choices=DEVICES, **described("device", "Device"))
        self.threads = optional_text("threads", "Threads", empty="measured")
        self.memory = optional_text(
            "memory", "Memory", empty="a quarter of what is free"
        )
        self.seed = SpinBox(min=0, max=2**31 - 1, **described("seed", "Seed"))
        self._training: tuple[Field, ...] = (
            self.channels,
            self.covariance,
            self.stop_gradient,
            self.start,
        )
        self.plain: tuple[Field, ...] = (
            self.method, self.context, self.axes, self.model, self.device,
            self.threads, self.memory, self.seed,
        )  # fmt: skip
        super().__init__(
            "advanced", [*self.plain[:2], *self._training, *self.plain[2:]]
        )
        for decides in (self.channels, self.method):
            decides.changed.connect(self._show_asked)
        self._show_asked()

    def offer_channels(self, several: bool) -> None:
        """Show what several channels can do together, where there are several."""
        self._several = several
        self._show_asked()

    def given(self) -> dict[str, Any]:
        """Return what was changed of the training, by the names of the settings."""
        asked = {one.name: shown(one) for one in self._training if self.is_asked(one)}
        return {name: v for name, v in asked.items() if v != default(name)}

    def is_asked(self, widget: Field) -> bool:
        """Return whether a setting has a meaning beside the others.

        Channels that were to be joint stay in sight, so that the choice is not lost
        without a word where the layer has one channel; so does a start that was chosen
        for a method that begins with nothing.
        """
        is_masked = METHODS[self.method.value].network == "masked"
        if widget in (self.start, self.stop_gradient):
            return not is_masked or shown(widget) != default(widget.name)
        joint = self.channels.value == "joint"
        if widget is self.channels:
            return self._several or joint
        if widget is self.covariance:
            return joint and not (is_masked and shown(widget) == default("covariance"))
        return True

    def _show_asked(self) -> None:
        for widget in self._training:
            widget.visible = self.is_asked(widget)
