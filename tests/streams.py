"""A whole stack through the engine, as the tests of many rooms need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot.progress import CancelToken, run
from napari_blindspot.streaming.engine import Outputs, stream_prediction
from napari_blindspot.streaming.plan import plan_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.io import Sink
    from napari_blindspot.streaming.seen import Seen


def stream_blocks(
    predictor: Predictor,
    series: Sequence[Any],
    fields: Sequence[Any],
    block: tuple[int, int, int],
    sink: Sink,
) -> Seen:
    """Denoise all series into a sink, by blocks of a given size."""
    plan = plan_stream(predictor, series[0].shape, len(series), block)
    outputs = Outputs(sink)
    return run(
        stream_prediction(predictor, series, fields, plan, outputs, CancelToken())
    )
