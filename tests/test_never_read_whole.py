from __future__ import annotations

import numpy as np
import pytest

import napari_blindspot as nb
from io_files import Guarded
from models import random_teacher
from napari_blindspot.sample import nuclei_phantom
from napari_blindspot.streaming import plan


@pytest.fixture
def guarded() -> Guarded:
    """A stack that raises when more than a quarter of it is asked for at once."""
    noisy = nuclei_phantom((12, 64, 64), seed=1).noisy
    return Guarded(noisy, most=noisy.size // 4)


def test_training_never_reads_the_stack_whole(guarded: Guarded) -> None:
    model = nb.train(guarded, axes="ZYX", steps=2)
    assert model.provenance["training"]["steps"] == 2
    assert 0 < guarded.largest <= 12 * 64 * 64 // 4


def test_denoising_never_reads_the_stack_whole(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tiles of one plane and its neighbours: this stack would fit into a single tile.
    monkeypatch.setattr(plan, "LARGEST_TILE", 3 * 64 * 64)
    result = nb.predict(random_teacher(context=1), guarded, axes="ZYX")
    assert np.isfinite(result.image).all()


def test_the_guard_itself_raises(guarded: Guarded) -> None:
    with pytest.raises(MemoryError, match="at once"):
        guarded[...]
