"""A widget for a blind spot: a choice, and three boxes for sizes of one's own."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import ComboBox, TupleEdit
from magicgui.widgets.bases import ValuedContainerWidget
from qtpy.QtWidgets import QAbstractSpinBox

from napari_blindspot._napari.fields import bare
from napari_blindspot.config import LARGEST_HOLE

DEFAULT, AUTO, OWN = "of the method", "auto", "own sizes"
NARROW = "min-width: 30px; padding: 1px 4px;"  # napari asks for 70 px and more


class HoleEdit(ValuedContainerWidget[Any]):
    """Widget for a setting that is None, ``"auto"`` or three sizes (z, y, x).

    Parameters
    ----------
    name, label
        Of the setting, and what stands before the widget.
    auto
        Whether ``"auto"`` is offered.
    """

    def __init__(self, name: str, label: str, *, auto: bool) -> None:
        described = bare(name, label)
        choices = (DEFAULT, AUTO, OWN) if auto else (DEFAULT, OWN)
        self.choice = ComboBox(
            choices=choices, name="choice", tooltip=described["tooltip"]
        )
        self.sizes = _size_boxes(described["tooltip"])
        super().__init__(widgets=[self.choice, self.sizes], labels=False, **described)
        self.margins = (0, 0, 0, 0)
        self._show_sizes()
        self.choice.changed.connect(self._on_choice)
        self.sizes.changed.connect(self._tell)

    def get_value(self) -> Any:
        """Return None for the default, ``"auto"``, or three sizes."""
        if self.choice.value == OWN:
            return tuple(self.sizes.value)
        return AUTO if self.choice.value == AUTO else None

    def set_value(self, value: Any) -> None:
        """Show a value of the setting.

        Raises
        ------
        ValueError
            If the widget does not offer it.
        """
        if isinstance(value, (tuple, list)):
            if len(value) != len(self.sizes):
                raise ValueError("give three sizes z y x")
            self.sizes.value = tuple(value)
            self.choice.value = OWN
        else:
            self.choice.value = DEFAULT if value is None else value

    def _on_choice(self) -> None:
        self._show_sizes()
        self._tell()

    def _show_sizes(self) -> None:
        self.sizes.visible = self.choice.value == OWN

    def _tell(self) -> None:
        self.changed.emit(self.value)


def _size_boxes(tooltip: str) -> TupleEdit:
    """Return three boxes that step from one odd size to the next.

    They step by the arrow keys and the wheel: with buttons they were wider than a dock.
    """
    edit = TupleEdit(
        name="sizes",
        tooltip=tooltip,
        value=(1, 1, 1),
        options={"min": 1, "max": LARGEST_HOLE, "step": 2},
    )
    for axis, box in zip("zyx", edit, strict=True):
        box.tooltip = f"Along {axis}. {tooltip}"
        box.native.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        box.native.setStyleSheet(NARROW)
    return edit
