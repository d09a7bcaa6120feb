"""A widget for what training starts from: a choice, and a model file of one's own."""

from __future__ import annotations

from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit
from magicgui.widgets.bases import ValuedContainerWidget

from napari_blindspot._napari.fields import bare, default, shown

OWN = "model"
CHOICES = [("shipped weights", "warm"), ("nothing", "cold"), ("a model file", OWN)]


class StartEdit(ValuedContainerWidget[Any]):
    """Widget for a setting that is ``"warm"``, ``"cold"`` or the path of a model file.

    Parameters
    ----------
    name, label
        Of the setting, and what stands before the widget.
    """

    def __init__(self, name: str, label: str) -> None:
        described = bare(name, label)
        tooltip = described["tooltip"]
        self.choice = ComboBox(
            choices=CHOICES, value=default(name), name="choice", tooltip=tooltip
        )
        self.file = FileEdit(
            mode=FileDialogMode.EXISTING_FILE,
            filter="*.safetensors",
            name="file",
            tooltip=tooltip,
        )
        super().__init__(
            widgets=[self.choice, self.file],
            labels=False,
            layout="vertical",
            **described,
        )
        self.margins = (0, 0, 0, 0)
        self._show_file()
        self.choice.changed.connect(self._on_choice)
        self.file.changed.connect(self._tell)

    def get_value(self) -> str:
        """Return the choice, or the path as it stands in the field."""
        if self.choice.value != OWN:
            return str(self.choice.value)
        return str(shown(self.file))

    def set_value(self, value: Any) -> None:
        """Show a value of the setting; what is no choice is a path."""
        if value in ("warm", "cold"):
            self.choice.value = value
        else:
            self.file.line_edit.value = str(value)  # as it was typed, not resolved
            self.choice.value = OWN

    def _on_choice(self) -> None:
        self._show_file()
        self._tell()

    def _show_file(self) -> None:
        self.file.visible = self.choice.value == OWN

    def _tell(self) -> None:
        self.changed.emit(self.value)
