"""Draw Fourier correlations over frequency, and where they cross 1/7."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg

from napari_blindspot._napari.plots import COLOURS, StillPlot
from napari_blindspot.quality.fourier import THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.quality import ChannelQuality


class CurvePlot(StillPlot):
    """Correlation over spatial frequency; a dashed line at 1/7, dots at crossings."""

    def __init__(self) -> None:
        super().__init__("Fourier correlation", "frequency")
        self.setYRange(-0.05, 1.0)
        self.addLegend(offset=(-8, 8))

    def show_channels(self, channels: Sequence[ChannelQuality]) -> None:
        """Draw the curves of all channels: planes solid, the volume dotted."""
        self.clear()
        dashed = pg.mkPen("gray", style=pg.QtCore.Qt.PenStyle.DashLine)
        self.addLine(y=THRESHOLD, pen=dashed)
        for index, channel in enumerate(channels):
            colour = COLOURS[index % len(COLOURS)]
            self._draw(channel, colour)

    def _draw(self, channel: ChannelQuality, colour: str) -> None:
        line = pg.QtCore.Qt.PenStyle
        curves = {
            "planes": (channel.ring, line.SolidLine),
            "volume": (channel.shell, line.DotLine),
        }
        for where, (curve, style) in curves.items():
            if curve is None:
                continue
            self.setLabel("bottom", f"frequency (1/{curve.unit})")
            self.plot(
                curve.frequency,
                curve.correlation,
                pen=pg.mkPen(colour, width=2, style=style),
                name=f"{channel.name} {where}".strip(),
            )
            if curve.resolution is not None and not curve.sampling_limited:
                self.plot(
                    [1.0 / curve.resolution],
                    [THRESHOLD],
                    pen=None,
                    symbol="o",
                    symbolBrush=colour,
                )
