"""Which networks are pretrained for the package, and how their weights are written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save

from napari_blindspot import __version__
from napari_blindspot.config.students import DEPTH, WIDTHS, StudentSettings
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.pretraining.training import FIRST_OF_EXAM
from napari_blindspot.starts.shipped import CONTEXT, Shipped, read_index
from napari_blindspot.training.recipes import RECIPES

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from napari_blindspot.config import NetworkSettings
    from napari_blindspot.pretraining.training import Exam, Pretraining


def _teachers() -> dict[str, NetworkSettings]:
    """Return the teachers of the recipes: the one for a CPU and the one for a GPU.

    The half-planes of both see all planes, so that one can grow from the other.
    """
    shared = {
        "context": CONTEXT,
        "units": "noise",
        "starts": 1,
        "channels": 1,
        "half_planes": "all",
    }
    return {
        f"teacher-{device}": RECIPES[device]["fast"].network.model_copy(update=shared)
        for device in ("cpu", "gpu")
    }


def _students() -> dict[str, StudentSettings]:
    return {
        f"student-{size}": StudentSettings(
            width=width, depth=DEPTH, context=CONTEXT, units="noise"
        )
        for size, width in WIDTHS.items()
    }


KINDS: dict[str, NetworkSettings | StudentSettings] = {**_teachers(), **_students()}
"""The networks that are pretrained, by the names of their files."""


def make_network(name: str) -> BlindSpotNetwork | StudentNetwork:
    """Return a fresh network of `KINDS`."""
    settings = KINDS[name]
    if isinstance(settings, StudentSettings):
        return StudentNetwork(settings)
    network = BlindSpotNetwork(settings)
    network.wake()
    return network


def write_start(folder: Path, name: str, training: Pretraining, exam: Exam) -> Shipped:
    """Write the averaged weights in half precision, and enter them in the index.

    Parameters
    ----------
    folder
        Where to; its ``index.json`` is made or changed.
    name
        One of `KINDS`.
    training
        What was trained.
    exam
        Recordings that it was not trained on; the index states the mean loss on all of
        them, and on the first few, which is looked at again more often.

    Returns
    -------
    Shipped
        Its entry in the index.
    """
    content = save(half_weights(training.average))
    (folder / f"{name}.safetensors").write_bytes(content)
    losses = exam.losses(training.average)
    facts: dict[str, Any] = {
        "steps": training.step,
        "plan": asdict(training.plan),
        "begun_with": training.begun,
        "exam": round(float(np.mean(losses)), 4),
        "exam_recordings": len(losses),
        "exam_of_first": round(float(np.mean(losses[:FIRST_OF_EXAM])), 4),
        "napari_blindspot": __version__,
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    entry = Shipped(name, hashlib.sha256(content).hexdigest(), KINDS[name], facts)
    others = [one for one in read_index(folder) if one.name != name]
    listed = [
        {
            "name": one.name,
            "sha256": one.sha256,
            "network": one.network.model_dump(mode="json"),
            "facts": one.facts,
        }
        for one in sorted([*others, entry], key=lambda one: one.name)
    ]
    (folder / "index.json").write_text(json.dumps(listed, indent=1) + "\n")
    return entry


def half_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return what was learnt, without what belongs to a stack, in half precision."""
    return {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in network.named_parameters()
    }
