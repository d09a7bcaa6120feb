"""Plots that are only looked at: no mouse, no menu, as narrow as a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg

from napari_blindspot.noise.whiteness import ALARM, LAGS
from napari_blindspot.reporting.report import half_band as half_band

if TYPE_CHECKING:
    from napari_blindspot.noise.whiteness import AxisCorrelation
    from napari_blindspot.reporting.findings import ChannelDiagnosis

COLOURS = ("#4fc3f7", "#ffb74d", "#aed581", "#f06292", "#ba68c8", "#fff176")
WIDTH, HEIGHT = 260, 230
LABEL_ROOM = 8

_BAR = 0.26  # of the distance between two lags, so that three axes fit side by side
_LINE_POINTS = 60


class StillPlot(pg.PlotWidget):  # type: ignore[misc]
    """A plot in the colours of napari's theme that does not react to the mouse.

    Parameters
    ----------
    left, bottom
        What the axes show, with units.
    """

    def __init__(self, left: str, bottom: str) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.setBackground(None)  # that of napari's theme
        self.setMouseEnabled(x=False, y=False)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setLabel("left", left)
        self.setLabel("bottom", bottom)
        for side in ("left", "bottom"):
            self.getAxis(side).enableAutoSIPrefix(False)  # no "(x0.001)"
        # By itself the label of the axis below is cut.
        self.getPlotItem().layout.setContentsMargins(1, 1, 4, LABEL_ROOM)

    def sizeHint(self) -> pg.QtCore.QSize:
        """Ask for no more width than a panel has; by itself a plot wants 640 px."""
        return pg.QtCore.QSize(WIDTH, HEIGHT)


class MeanVariancePlot(StillPlot):
    """Measured noise variance over signal, the line fitted to it and its 95 % band."""

    def __init__(self) -> None:
        super().__init__("noise variance (grey values²)", "signal (grey values)")

    def show_channel(self, channel: ChannelDiagnosis) -> None:
        """Draw one channel in place of what was drawn before."""
        self.clear()
        points = channel.points
        if points.mean.size < 2:
            return
        x = np.linspace(points.mean.min(), points.mean.max(), _LINE_POINTS)
        line, half = channel.noise.variance(x), half_band(channel, x)
        edges = [
            pg.PlotDataItem(x, line + side * half, pen=pg.mkPen(COLOURS[1], width=0.5))
            for side in (-1, 1)
        ]
        band = pg.FillBetweenItem(*edges, brush=pg.mkBrush(f"{COLOURS[1]}40"))
        for item in (*edges, band):
            self.addItem(item)
        self.plot(
            points.mean,
            points.variance,
            pen=None,
            symbol="o",
            symbolSize=5,
            symbolPen=None,
            symbolBrush=COLOURS[0],
            name="points",
        )
        self.plot(x, line, pen=pg.mkPen(COLOURS[1], width=2), name="line")


class CorrelationPlot(StillPlot):
    """Correlation of the noise with that of neighbours, along z, y and x.

    Bars with two standard errors; between the dashed lines it is of no matter.
    """

    def __init__(self) -> None:
        super().__init__("correlation", "distance (px, planes)")
        self.addLegend(offset=(-8, 8))

    def show_channel(self, channel: ChannelDiagnosis) -> None:
        """Draw one channel in place of what was drawn before."""
        self.clear()
        dashed = pg.mkPen("#ff6b5e", style=pg.QtCore.Qt.PenStyle.DashLine)
        for level in (-ALARM, ALARM):
            self.addLine(y=level, pen=dashed)
        self.addLine(y=0.0, pen=pg.mkPen("gray"))
        found = channel.correlation
        names = (channel.context, "y", "x")
        for place, one in enumerate((found.z, found.y, found.x)):
            if one.values:
                self._draw(one, names[place], place)
        self.setXRange(0.5, LAGS + 0.5)
        self._fit_height((found.z, found.y, found.x))

    def _draw(self, one: AxisCorrelation, name: str, place: int) -> None:
        height = np.array(one.values[:LAGS])
        error = 2.0 * np.array(one.errors[:LAGS])
        at = np.arange(1, len(height) + 1) + (place - 1) * _BAR
        colour = COLOURS[place]
        self.addItem(
            pg.BarGraphItem(
                x=at, height=height, width=_BAR, brush=colour, pen=None, name=name
            )
        )
        self.addItem(
            pg.ErrorBarItem(
                x=at, y=height, height=2 * error, beam=_BAR / 2, pen=pg.mkPen("gray")
            )
        )

    def _fit_height(self, axes: tuple[AxisCorrelation, ...]) -> None:
        """Leave the alarm line well inside, so that white noise looks like it."""
        ends = [
            value + side * 2.0 * error
            for one in axes
            for value, error in zip(one.values[:LAGS], one.errors[:LAGS], strict=True)
            for side in (-1, 1)
        ]
        self.setYRange(min(-2 * ALARM, *ends), max(4 * ALARM, *ends))


class LevelPlot(StillPlot):
    """Noise level of the planes, where it drifts: points with two standard errors."""

    def __init__(self) -> None:
        super().__init__("noise level (of the model)", "plane")

    def show_channel(self, channel: ChannelDiagnosis) -> None:
        """Draw one channel in place of what was drawn before."""
        self.clear()
        drift = channel.drift
        self.setVisible(drift is not None and drift.found)
        if drift is None or not drift.found:
            return
        self.setLabel("bottom", f"plane along {channel.context}")
        x, level, error = (
            np.array(part, float) for part in (drift.planes, drift.levels, drift.errors)
        )
        dashed = pg.mkPen("#ff6b5e", style=pg.QtCore.Qt.PenStyle.DashLine)
        self.addLine(y=1.0, pen=dashed)
        self.addItem(
            pg.ErrorBarItem(x=x, y=level, height=4 * error, pen=pg.mkPen("gray"))
        )
        self.plot(
            x,
            level,
            pen=None,
            symbol="o",
            symbolSize=5,
            symbolPen=None,
            symbolBrush=COLOURS[0],
            name="levels",
        )
