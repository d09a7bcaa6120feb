"""What all tests share: seeds, a small known stack, real stacks, one torch thread."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

# Read by torch when it is imported; on a shared machine one thread is the fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Of a terminal that the processes of pytest-xdist do not have; rich would believe it.
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)

from napari_blindspot.sample import Phantom, nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator, fresh for every test."""
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A small noisy stack (8, 64, 64) with known truth and camera."""
    return nuclei_phantom((8, 64, 64), seed=1)


@pytest.fixture(scope="module")
def tiny_networks() -> Iterator[None]:
    """Train tiny networks, in tests of what happens around a training."""
    from models import tiny_recipes

    with tiny_recipes():
        yield


@pytest.fixture(scope="session")
def real_stacks() -> Path:
    """The folder of real stacks; without it the test is skipped."""
    where = REPOSITORY / "benchmarks" / "_data.py"
    spec = importlib.util.spec_from_file_location("_blindspot_data", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        folder: Path = module.find_data()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Undo what an earlier test set, so that timing and sums do not depend on it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        assert torch.get_num_threads() == 1
