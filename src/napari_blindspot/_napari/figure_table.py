"""A table of figures: one row per figure, one column per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


ROW_HEIGHT = 22


class FigureTable(QTableWidget):
    """A table that is as large as its content and cannot be edited."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrap(False)
        titles: Any = self.horizontalHeader()
        titles.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        names: Any = self.verticalHeader()
        names.setMinimumSectionSize(ROW_HEIGHT)
        names.setDefaultSectionSize(ROW_HEIGHT)

    def show_columns(
        self, titles: Sequence[str], columns: Sequence[Mapping[str, str]]
    ) -> None:
        """Show figures in place of what was shown before.

        Parameters
        ----------
        titles
            Headline of each column.
        columns
            Its figures by the names of the rows, which are the same in all.
        """
        rows = list(columns[0])
        self.setColumnCount(len(columns))
        self.setRowCount(len(rows))
        self.setVerticalHeaderLabels(rows)
        self.setHorizontalHeaderLabels(list(titles))
        for place, column in enumerate(columns):
            for row, name in enumerate(rows):
                self.setItem(row, place, QTableWidgetItem(column[name]))
        self._fit()

    def _fit(self) -> None:
        names: Any = self.verticalHeader()
        titles: Any = self.horizontalHeader()
        frame = 2 * self.frameWidth()
        self.setFixedHeight(names.length() + titles.height() + frame)
        # Room for the first column; more of them share what there is, or scroll.
        first = self.sizeHintForColumn(0)
        self.setMinimumWidth(names.sizeHint().width() + first + frame)
