"""The state of a training as bytes: safetensors with a JSON header, never a pickle."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from napari_blindspot.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FORMAT = 1
"""Of what is written; another one is not gone on from."""

BEGIN_ANEW = (
    "begin anew with --overwrite instead of --resume (overwrite=True instead of "
    "resume=True)"
)
"""The way out where a training cannot go on, for the end of a sentence."""

_KEY = "napari_blindspot_training"
_SUM = "sha256"
_LONGEST_HEADER = 10**8  # bytes that safetensors allows
_LENGTH_BYTES = 8  # of the length of a safetensors header, at the start of the file


def pack(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return facts and tensors as bytes.

    Parameters
    ----------
    facts
        JSON-able; NaN and infinity are allowed.
    tensors
        By name; on any device.
    """
    from safetensors.torch import save

    whole = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
    text = json.dumps({"format": FORMAT, **facts})
    content: bytes = save(whole, {_KEY: text, _SUM: digest(text, whole)})
    return content


def unpack(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the facts and tensors that `pack` was given; the tensors on the CPU.

    Parameters
    ----------
    content
        What `pack` returned.
    name
        Of the place it comes from, for messages.

    Raises
    ------
    CheckpointError
        If it is damaged, or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        header = _header(content)
        facts: dict[str, Any] = json.loads(header[_KEY])
        version = int(facts["format"])
        tensors: dict[str, Tensor] = load(content) if version == FORMAT else {}
        is_whole = header[_SUM] == digest(header[_KEY], tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(_damaged(name)) from error
    if version != FORMAT:
        raise CheckpointError(
            f"{name} was kept by another version of napari-blindspot (training format "
            f"{version}, this version goes on from {FORMAT}); go on with that version, "
            f"or {BEGIN_ANEW}."
        )
    if not is_whole:
        raise CheckpointError(_damaged(name))
    return facts, tensors


def is_state(path: Path) -> bool:
    """Return whether a file is the state of a training, damaged or not."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            return f'"{_KEY}"'.encode() in file.read(min(length, _LONGEST_HEADER))
    except OSError:
        return False


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under names that begin with a prefix."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimiser knows of its parameters, as `N.name`."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, known in state.items()
        for name, value in known.items()
    }


def restore_moments(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser what `moments` returned of one with the same parameters.

    What has the shape of its parameter gets its memory layout too, so that every number
    goes through the same instructions as before, to the last bit.
    """
    whole = optimiser.state_dict()
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        like = parameters[int(index)]
        if value.shape == like.shape and value.ndim:
            value = torch.empty_like(like, requires_grad=False).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**whole, "state": state})


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a sum (SHA-256) over a text and tensors on the CPU, by their names."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        told = f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        found.update(told.encode())
        found.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _header(content: bytes) -> dict[str, Any]:
    """Return what a safetensors file says of itself, which `load` leaves out."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    text = content[_LENGTH_BYTES : _LENGTH_BYTES + length]
    header: dict[str, Any] = json.loads(text)["__metadata__"]
    return header


def _damaged(name: str) -> str:
    return f"{name} is damaged or holds no training that was stopped; {BEGIN_ANEW}."
