"""Fit start weights to a network that sees fewer planes than they were made for.

A plane that is not there is a map of zeros to a network with ``units="noise"``, so the
weights that would meet it can be cut away, and nothing changes. Without any neighbour
planes their whole branch says nothing, and the head needs no weights for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.networks.student import StudentNetwork

_HEAD = "head.0.weight"


def load_start(
    network: BlindSpotNetwork | StudentNetwork,
    weights: Mapping[str, Tensor],
    context: int,
) -> None:
    """Load start weights into a network, cut to the planes that it sees.

    Parameters
    ----------
    network
        A teacher or a student; its parameters are set in place, its filter, scales and
        other buffers are left alone.
    weights
        Parameters by name, of a network of the same shape.
    context
        Neighbour planes on either side that the weights were made for.

    Raises
    ------
    InputError
        If the network sees more planes than the weights were made for, or differs from
        theirs in another way.
    """
    own = dict(network.named_parameters())
    fewer = context - network.settings.context
    fitted = {
        name: _cut(name, tensor, own[name].shape[1:2], context, fewer)
        for name, tensor in weights.items()
        if name in own
    }
    wrong = [name for name, one in own.items() if _shape(fitted, name) != one.shape]
    if wrong or fewer < 0:
        raise InputError(
            f"the start weights do not fit the network: {len(wrong)} of its layers "
            f"differ, and they were made for {context} neighbour planes on either side "
            f"where it sees {network.settings.context}; give start='cold', or the "
            f"model of a network of the same size."
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(fitted[name])


def _shape(fitted: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return fitted[name].shape if name in fitted else None


def _cut(
    name: str, tensor: Tensor, inputs: Sequence[int], context: int, fewer: int
) -> Tensor:
    """Cut the inputs of a layer down to what its network is shown.

    `inputs` is how many it has there; a layer of as many stays as it is.
    """
    if fewer <= 0 or tensor.ndim != 4 or tensor.shape[1] == inputs[0]:
        return tensor
    if name == _HEAD:  # of half-planes, neighbours and filter the neighbours go
        return torch.cat([tensor[:, : inputs[0] - 1], tensor[:, -1:]], dim=1)
    # The planes are the last inputs, in their order; the farthest are the outermost.
    planes = 2 * context + (0 if name.startswith("neighbour") else 1)
    below = tensor.shape[1] - planes
    near = tensor[:, below + fewer : tensor.shape[1] - fewer]
    return torch.cat([tensor[:, :below], near], dim=1)
