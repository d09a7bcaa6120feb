"""The last rows and columns of planes whose sides are no multiple of the stride."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_blindspot as nb
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from napari_blindspot.model import Model

SHAPE = (6, 102, 94)  # 6 more than a multiple of 8, as far from it as can be


def started(noisy: np.ndarray) -> Model:
    return nb.train(noisy, axes="ZYX", steps=0, threads=1)


def shipped(noisy: np.ndarray) -> Model:
    return nb.shipped_student(noisy, axes="ZYX", student="small")


@pytest.mark.parametrize("make", [started, shipped])
def test_the_last_rows_are_denoised_as_well_as_the_first(make) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    phantom = nuclei_phantom(SHAPE)
    # Turned around, the first rows are the last: the same pixels at both ends.
    errors = []
    for noisy, truth in (
        (phantom.noisy, phantom.truth),
        (phantom.noisy[:, ::-1, ::-1], phantom.truth[:, ::-1, ::-1]),
    ):
        noisy = np.ascontiguousarray(noisy)
        result = nb.predict(make(noisy), noisy, axes="ZYX", threads=1)
        errors.append((np.asarray(result.image) - truth) ** 2)
    forwards, backwards = errors
    for last, first in (
        (forwards[:, -3:], backwards[:, :3]),
        (forwards[..., -3:], backwards[..., :3]),
    ):
        assert last.mean() < 1.25 * first.mean()
