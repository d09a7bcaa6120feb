from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_blindspot.errors import InputError
from napari_blindspot.tiling import plan_axis, plan_tiles, round_up

axes = st.tuples(
    st.integers(1, 300),  # length
    st.integers(1, 20),  # core in strides
    st.integers(0, 60),  # halo
    st.sampled_from([1, 2, 4, 8, 16]),  # stride
)


@given(axes)
def test_cores_partition_the_axis(numbers: tuple[int, int, int, int]) -> None:
    length, cores, halo, stride = numbers
    counted = np.zeros(length, int)
    for span in plan_axis(length, cores * stride, halo, stride):
        counted[span.core] += 1
    assert (counted == 1).all()


@given(axes)
def test_reads_are_aligned_inside_and_hold_the_halo(
    numbers: tuple[int, int, int, int],
) -> None:
    length, cores, halo, stride = numbers
    for span in plan_axis(length, cores * stride, halo, stride):
        assert 0 <= span.read_start <= span.core_start
        assert span.core_stop <= span.read_stop <= length
        assert span.read_start % stride == 0
        assert span.read_stop == length or span.read_stop % stride == 0
        assert span.core_start - span.read_start >= min(halo, span.core_start)
        assert span.read_stop - span.core_stop >= min(halo, length - span.core_stop)


@given(st.tuples(*(st.integers(1, 40) for _ in range(3))), st.integers(1, 4))
def test_copying_the_cores_rebuilds_the_volume(
    shape: tuple[int, int, int], cores: int
) -> None:
    volume = np.arange(np.prod(shape)).reshape(shape)
    rebuilt = np.full(shape, -1)
    tiles = plan_tiles(
        shape, core=(cores, 4 * cores, 4 * cores), halo=(1, 5, 5), stride=(1, 4, 4)
    )
    for tile in tiles:
        spans = (tile.planes, tile.y, tile.x)
        read = volume[tuple(span.read for span in spans)]
        rebuilt[tuple(span.core for span in spans)] = read[
            tuple(span.core_in_read for span in spans)
        ]
    assert np.array_equal(rebuilt, volume)


def test_a_core_that_does_not_fit_the_stride_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        plan_axis(200, 40, 10, 16)


def test_one_tile_needs_no_multiple() -> None:
    (span,) = plan_axis(37, 37, 155, 16)
    assert (span.read_start, span.read_stop) == (0, 37)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="length=0"):
        plan_axis(0, 16, 0, 16)


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_round_up_is_the_next_multiple(n: int, multiple: int) -> None:
    assert round_up(n, multiple) % multiple == 0
    assert 0 <= round_up(n, multiple) - n < multiple
