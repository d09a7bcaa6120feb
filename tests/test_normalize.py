from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_blindspot.errors import InputError
from napari_blindspot.normalize import Normalization, fit_normalization, restore_dtype


def test_scale_spans_the_first_to_the_last_percentile(
    rng: np.random.Generator,
) -> None:
    values = rng.normal(100, 5, 50_000)
    scale = fit_normalization(values)
    low, high = np.percentile(values, [1, 99.9])
    assert scale.offset == pytest.approx(low)
    assert scale.scale == pytest.approx(high - low)


def test_forward_and_inverse_undo_each_other(rng: np.random.Generator) -> None:
    values = rng.uniform(-50, 60_000, 1000).astype(np.float32)
    scale = Normalization(100.0, 2_000.0)
    back = scale.inverse(scale.forward(values))
    np.testing.assert_allclose(back, values, rtol=1e-5, atol=1e-2)


def test_sparse_signal_still_has_a_scale() -> None:
    values = np.zeros(100_000, np.uint16)
    values[:5] = 900  # above the last percentile: p1 = p99.9 = 0
    assert fit_normalization(values) == Normalization(0.0, 900.0)


def test_values_beyond_float32_are_refused() -> None:
    values = np.array([1e299, -3e300, np.nan, np.inf])
    with pytest.raises(InputError, match=r"holds values of 3e\+300, but results are"):
        fit_normalization(values)
    large = np.array([0, 1e36], np.float32)
    assert np.isfinite(fit_normalization(large).forward(large)).all()


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_stack_is_refused(value: int) -> None:
    with pytest.raises(InputError, match=f"constant: every value is {value}"):
        fit_normalization(np.full(100, value, np.uint8))


def test_all_nan_is_refused_and_some_nan_is_left_out() -> None:
    with pytest.raises(InputError, match="no finite value"):
        fit_normalization(np.full(10, np.nan))
    with_nan = np.array([0.0, np.nan, 10.0, np.inf])
    assert fit_normalization(with_nan).offset == pytest.approx(0.1)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_small_integers_are_clipped_never_wrapped(dtype: str) -> None:
    limits = np.iinfo(dtype)
    out = restore_dtype(np.array([-1e20, 1e20], np.float32), np.dtype(dtype))
    assert out.dtype == dtype
    assert out.tolist() == [limits.min, limits.max]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_integers_are_clipped_never_wrapped(dtype: str) -> None:
    low, high = restore_dtype(np.array([-1e20, 1e20], np.float32), np.dtype(dtype))
    assert low == np.iinfo(dtype).min
    assert high > 0.999 * np.iinfo(dtype).max


@given(hnp.arrays(np.float32, 20, elements=st.floats(-3e4, 3e4, width=32)))
def test_integers_are_rounded(values: np.ndarray) -> None:
    out = restore_dtype(values, np.dtype(np.int16))
    assert np.all(np.abs(out - values.astype(float)) <= 0.5)


def test_float_results_keep_their_values() -> None:
    values = np.array([-0.25, 1e9, np.nan], np.float32)
    out = restore_dtype(values, np.dtype(np.float64))
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, values.astype(np.float64))


@pytest.mark.parametrize("dtype", ["uint32", "int64", "float64"])
def test_a_huge_offset_does_not_round_the_signal_away(dtype: str) -> None:
    values = (1_000_000_000 + np.arange(30)).astype(dtype)
    t = Normalization(1e9, 10.0).forward(values)
    np.testing.assert_allclose(t, np.arange(30) / 10, rtol=1e-6)
