"""Tiles are read in the order in which few chunks are decoded twice."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest

from napari_blindspot.planes import plane_series
from napari_blindspot.stack import Stack
from napari_blindspot.streaming.order import Kept, best_order, decoded
from napari_blindspot.streaming.plan import StreamPlan
from napari_blindspot.streaming.reading import TileReader

if TYPE_CHECKING:
    from napari_blindspot.streaming.order import Box

SHAPE = (24, 600, 600)


def plan_of(core: Box, order: Box = (0, 1, 2)) -> StreamPlan:
    return StreamPlan(SHAPE, 1, core, (1, 24, 24), (1, 8, 8), 2**16, order)


def decoded_chunks(plan: StreamPlan, chunk: Box, cache: int) -> float:
    """Read all tiles of a stack, and return how often its chunks were decoded."""
    reads: Counter[tuple[int, ...]] = Counter()

    def counted(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        assert block_info is not None
        reads[tuple(block_info[0]["chunk-location"])] += 1
        return block

    data = da.zeros(SHAPE, chunks=chunk, dtype="u2").map_blocks(counted, dtype="u2")
    reads.clear()
    (series,) = plane_series(Stack(data, "ZYX"), "z")
    reader = TileReader([series], cache)
    for block in range(len(plan)):
        reader.read(*plan.place(block))
    return sum(reads.values()) / len(reads)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_holds_every_tile_once(order: Box) -> None:
    plan = plan_of((5, 200, 304), order)
    seen = np.zeros(SHAPE, np.uint8)
    for block in range(len(plan)):
        _, tile = plan.place(block)
        seen[tile.planes.core, tile.y.core, tile.x.core] += 1
    assert (seen == 1).all()
    assert StreamPlan.from_dict(plan.as_dict()) == plan


# A layer of 25 chunks takes 6.5 MB, two layers below a tile at most 4.7 MB.
@pytest.mark.parametrize(
    ("chunk", "cache"), [((8, 128, 128), 6_000_000), ((8, 128, 128), 30_000_000)]
)
def test_chunks_below_a_tile_are_decoded_about_once(chunk: Box, cache: int) -> None:
    kept = Kept(chunk, cache // (2 * np.prod(chunk, dtype=int)))
    natural = plan_of((1, 304, 304))
    order = best_order(natural.spans, kept)
    made = plan_of((1, 304, 304), order)
    assert decoded_chunks(made, chunk, cache) <= 1.5
    if cache == 6_000_000:
        assert decoded_chunks(natural, chunk, cache) > 3


def test_whole_planes_are_read_one_after_the_other() -> None:
    # A plane is one chunk: to go down through planes would decode each in every tile.
    plan = plan_of((4, 304, 304))
    assert best_order(plan.spans, Kept((1, 600, 600), 8))[0] == 0


@pytest.mark.parametrize("chunk", [(8, 128, 128), (1, 600, 600), (24, 300, 300)])
@pytest.mark.parametrize("megabytes", [2, 5, 9, 30])
def test_the_order_that_is_chosen_is_not_the_worse_one(
    chunk: Box, megabytes: int
) -> None:
    cache = megabytes * 10**6
    kept = Kept(chunk, cache // (2 * np.prod(chunk, dtype=int)))
    plan = plan_of((2, 304, 304))
    chosen = plan_of((2, 304, 304), best_order(plan.spans, kept))
    before, after = (decoded_chunks(one, chunk, cache) for one in (plan, chosen))
    assert after <= 1.2 * before


def test_what_is_told_is_about_what_is_read() -> None:
    chunk, plan = (8, 128, 128), plan_of((2, 304, 304))
    for cache in (5 * 10**6, 10**7, 3 * 10**7):
        kept = Kept(chunk, cache // (2 * np.prod(chunk, dtype=int)))
        told = decoded(plan.spans, kept, plan.order)
        assert told == pytest.approx(decoded_chunks(plan, chunk, cache), rel=0.5)


def test_deep_chunks_make_narrow_tiles() -> None:
    shape = (512, 4096, 4096)
    kept = Kept((128, 128, 128), 33)  # 138 MB of uint16
    side = kept.largest_plane(shape, 300) ** 0.5
    assert (np.ceil(side / 128) + 1) ** 2 <= 36
    assert kept.largest_plane(shape, 2000) == 2000**2
    assert Kept((1, 4096, 4096), 1).largest_plane(shape, 300) == 4096**2
