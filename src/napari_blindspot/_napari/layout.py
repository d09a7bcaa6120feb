"""What the panels are laid out with: aligned rows, folds, wrapped text, scrolling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, Label, PushButton
from magicgui.widgets.bases import Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QFrame, QLabel, QScrollArea, QSizePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

CLOSED, OPEN = "▸", "▾"

LEAST_WIDTH = 290
"""Width of a page in pixels that most pages need, so that it seldom changes."""

_NEW_FONT = (QEvent.Type.Show, QEvent.Type.FontChange, QEvent.Type.StyleChange)


class Rows(Container[Widget]):
    """Widgets one above the other, with labels of one width before them.

    magicgui measures its labels before napari's theme gives them their font, and then
    they end at different places. Here they are measured again whenever they are shown.

    Parameters
    ----------
    name
        Name of the container.
    widgets
        What it holds.
    """

    def __init__(self, name: str, widgets: Sequence[Widget]) -> None:
        super().__init__(name=name)
        self.extend(widgets)
        self.margins = (0, 0, 0, 0)
        self._aligner = _Aligner(self.native)


class _Aligner(QObject):
    """Gives the labels of a container's rows the width of the widest one."""

    def __init__(self, rows: Any) -> None:
        super().__init__(rows)
        rows.installEventFilter(self)

    def eventFilter(self, rows: Any, event: Any) -> bool:
        if event.type() in _NEW_FONT:
            children = (rows.layout().itemAt(i) for i in range(rows.layout().count()))
            labels = [
                label
                for child in children
                for label in child.widget().findChildren(
                    QLabel, options=Qt.FindChildOption.FindDirectChildrenOnly
                )
            ]
            widest = max((label.sizeHint().width() for label in labels), default=0)
            for label in labels:
                label.setMinimumWidth(widest)
        return False


class Fold(Container[Widget]):
    """A headline that unfolds what belongs to it; folded at first.

    Parameters
    ----------
    title
        The headline.
    body
        What is folded away.
    """

    def __init__(self, title: str, body: Widget) -> None:
        self._title = title
        self.body = body
        self.head = PushButton(text=f"{CLOSED}  {title}", name="head")
        super().__init__(
            widgets=[self.head, body], labels=False, name=f"{body.name}_fold"
        )
        self.margins = (0, 0, 0, 0)
        self.head.native.setFlat(True)
        self.head.native.setStyleSheet(
            "text-align: left; padding: 2px; background: transparent;"
        )
        body.visible = False
        self.head.changed.connect(self.toggle)

    def toggle(self) -> None:
        """Unfold what is folded, and the other way round."""
        self.unfold(self.body.native.isHidden())

    def unfold(self, opened: bool = True) -> None:
        """Show what belongs to the headline, or hide it."""
        self.body.visible = opened
        self.head.text = f"{OPEN if opened else CLOSED}  {self._title}"


def wrapped_text(name: str, value: str = "") -> Label:
    """Return a text to read and copy, which wraps instead of widening the panel."""
    text = Label(value=value, name=name)
    text.native.setWordWrap(True)
    text.native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    policy = QSizePolicy.Policy
    text.native.setSizePolicy(policy.Expanding, policy.Minimum)
    return text


def scrolled(content: Container[Widget]) -> QScrollArea:
    """Return an area in which something higher than the window can be scrolled."""
    layout: Any = content.native.layout()
    layout.addStretch(1)
    return _Scrolled(content.native)


class _Scrolled(QScrollArea):
    """Scrolls up and down alone: it is never narrower than what it shows."""

    def __init__(self, content: Any) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

    def minimumSizeHint(self) -> QSize:
        content: Any = self.widget()
        bar: Any = self.verticalScrollBar()
        width = content.minimumSizeHint().width() + bar.sizeHint().width()
        return QSize(max(width, LEAST_WIDTH), super().minimumSizeHint().height())

    def eventFilter(self, content: Any, event: Any) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:  # something was unfolded
            self.updateGeometry()
        return bool(super().eventFilter(content, event))
