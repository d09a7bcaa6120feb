"""Widgets for single settings, with the names, defaults and help texts of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from magicgui.widgets import CheckBox, ComboBox, FileEdit, LineEdit
from magicgui.widgets.bases import ValuedContainerWidget, ValueWidget

from napari_blindspot.config import DenoiseSettings

if TYPE_CHECKING:
    from napari_blindspot.config import Settings

Field = ValueWidget | FileEdit | ValuedContainerWidget  # type: ignore[type-arg]


def described(name: str, label: str) -> dict[str, Any]:
    """Return name, label, help text and default of the widget for a setting."""
    return {**bare(name, label), "value": default(name)}


def bare(name: str, label: str) -> dict[str, Any]:
    """Return name, label and help text of the widget for a setting."""
    return {"name": name, "label": label, "tooltip": help_text(name)}


def default(name: str) -> Any:
    """Return the default of a setting of a run."""
    return DenoiseSettings.model_fields[name].default


def help_text(name: str, kind: type[Settings] = DenoiseSettings) -> str:
    """Return what a setting means."""
    return kind.model_fields[name].description or ""


def limits(name: str) -> dict[str, Any]:
    """Return the least and the largest value of a setting that has both."""
    marks = DenoiseSettings.model_fields[name].metadata
    return {
        "min": next(mark.ge for mark in marks if hasattr(mark, "ge")),
        "max": next(mark.le for mark in marks if hasattr(mark, "le")),
    }


def choice(name: str, label: str) -> ComboBox:
    """Return a list for a setting that is one of a few words."""
    words = get_args(DenoiseSettings.model_fields[name].annotation)
    return ComboBox(choices=words, **described(name, label))


def check_box(name: str, text: str) -> CheckBox:
    """Return a box for a setting that is on or off."""
    return CheckBox(value=default(name), text=text, name=name, tooltip=help_text(name))


def optional_text(
    name: str, label: str, *, empty: str, kind: type[Settings] = DenoiseSettings
) -> LineEdit:
    """Return a field for a setting that may be left out.

    Parameters
    ----------
    name, label
        Of the setting, and what stands before the field.
    empty
        What stands in the field, in grey, while it is empty.
    kind
        The settings that the setting belongs to.
    """
    field = LineEdit(value="", name=name, label=label, tooltip=help_text(name, kind))
    native: Any = field.native
    native.setPlaceholderText(empty)
    return field


def shown(widget: Field) -> Any:
    """Return the value of a widget, an empty text for an empty field."""
    # An empty FileEdit has the value Path("."), the current folder.
    field = widget.line_edit if isinstance(widget, FileEdit) else widget
    return field.value.strip() if isinstance(field.value, str) else field.value
