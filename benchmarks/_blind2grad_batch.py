"""Several networks of Blind2Grad as one batch, beside one after the other.

A set of images, each with a network of its own, can be trained as one batch: weights
are stacked, and every convolution runs in as many groups as there are networks.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from napari_blindspot.device import channels_last
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.training.recipes import MASKED_RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

COUNTS = (2, 4, 8)
"""Networks of a batch."""

_RECIPE = MASKED_RECIPES["cpu"]["balanced"]
_STEPS = 15

Asked = tuple[Tensor, Tensor, Tensor, Tensor]
"""Images (N, 1, Y, X), what is seen, what is spared, chances: of one network, or of
several along a first axis."""


def measure(count: int) -> dict[str, float]:
    """Return the milliseconds of CPU time that a network takes for a step.

    A step is what a training does: an answer to the whole crops, one to the masked
    crops, the gradient of a squared error, and Adam. Both ways take turns.

    Parameters
    ----------
    count
        Networks.

    Returns
    -------
    dict
        ``"single"`` and ``"batch"``, the least of all steps, and ``"apart"``, by how
        much the answers of the two differ at the start.
    """
    nets, asked = _networks(count), _asked(count)
    single, batch = _one_by_one(nets, asked), _as_batch(nets, asked)
    apart = float((single() - batch()).abs().max())
    found = {"single": float("inf"), "batch": float("inf")}
    for _ in range(_STEPS):
        for name, step in (("single", single), ("batch", batch)):
            began = time.process_time()
            step()
            spent = 1000 * (time.process_time() - began) / count
            found[name] = min(found[name], spent)
    return {name: round(value, 1) for name, value in found.items()} | {"apart": apart}


def _networks(count: int) -> list[Blind2GradNetwork]:
    torch.manual_seed(0)
    alone = _RECIPE.network.model_copy(update={"context": 0})
    return [
        channels_last(Blind2GradNetwork(alone), torch.device("cpu"))
        for _ in range(count)
    ]


def _asked(count: int) -> Asked:
    generator = torch.Generator().manual_seed(1)
    side = _RECIPE.crop

    def drawn(*shape: int) -> Tensor:
        return torch.rand(count, _RECIPE.batch, *shape, generator=generator)

    half = (side // 2, side // 2)
    seen = (drawn(side, side) > _RECIPE.network.mask_rate).float()
    return drawn(1, side, side), seen, drawn(*half) > 0.5, drawn(*half)


def _one_by_one(nets: list[Blind2GradNetwork], asked: Asked) -> Callable[[], Tensor]:
    ours = [copy.deepcopy(net) for net in nets]
    optimisers = [_adam(net.parameters()) for net in ours]

    def step() -> Tensor:
        said = []
        for net, optimiser, *words in zip(ours, optimisers, *asked, strict=True):
            with torch.no_grad():
                net(words[0])
            answer = net(*words)
            _learn(((answer - words[0][:, 0]) ** 2).mean(), optimiser)
            said.append(answer.detach())
        return torch.stack(said)

    return step


def _as_batch(nets: list[Blind2GradNetwork], asked: Asked) -> Callable[[], Tensor]:
    weights, buffers = stack_module_state(nets)
    shape = copy.deepcopy(nets[0])

    def one(weights: dict[str, Tensor], *words: Tensor) -> Tensor:
        said: Tensor = functional_call(shape, (weights, buffers), words)
        return said

    every, optimiser = vmap(one), _adam(weights.values())

    def step() -> Tensor:
        with torch.no_grad():
            every(weights, asked[0])
        answer: Tensor = every(weights, *asked)
        errors = ((answer - asked[0][:, :, 0]) ** 2).mean((1, 2, 3))
        _learn(errors.sum(), optimiser)
        return answer.detach()

    return step


def _adam(weights: Iterable[Tensor]) -> torch.optim.Adam:
    return torch.optim.Adam(weights, lr=_RECIPE.learning_rate)


def _learn(loss: Tensor, optimiser: torch.optim.Adam) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
