"""Give a network the weights of a smaller one, so that it answers the same.

In the manner of Net2Net (Chen, Goodfellow and Shlens 2016): what the smaller network
computes goes on among the first channels of every layer, which do not listen to the
others. Those are random, so that they learn once the first have begun to listen::

            ┌ smaller │    0    ┐
    layer = │─────────┼─────────│ , and of the last layer the upper half alone
            └      random       ┘

A level that the smaller network lacks is added at the bottom: what its bottom said is
handed through the new level's decoder, and what comes from below is not listened to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.unet import LEAK
from napari_blindspot.starts.adapt import load_start
from napari_blindspot.starts.shipped import ALIKE, SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindspot.config import NetworkSettings
    from napari_blindspot.networks.unet import UNet


def load_fitting(
    network: BlindSpotNetwork, weights: Mapping[str, Tensor], made_for: NetworkSettings
) -> None:
    """Load start weights of a network of the same shape, or of a smaller one.

    The answer is then that of the smaller network, up to rounding. Only within the
    reach of the padding may it differ, where the network is deeper and the sides of a
    plane are no multiple of its stride.

    Parameters
    ----------
    network
        Freshly drawn; its filter, scales and other buffers are left alone.
    weights
        Parameters by name.
    made_for
        Settings of the network that they are of.

    Raises
    ------
    InputError
        If the network is smaller than that of the weights in any of `SIZES`, sees more
        planes, or differs from it in another way.
    """
    own = network.settings
    if not _contains(own, made_for):
        load_start(network, weights, made_for.context)
        return
    planes = {"context": own.context, "starts": own.starts}
    small = BlindSpotNetwork(made_for.model_copy(update=planes))
    load_start(small, weights, made_for.context)
    with torch.no_grad():
        _grow_unet(small.halfplane, network.halfplane)
        if small.neighbour is not None and network.neighbour is not None:
            _grow_unet(small.neighbour, network.neighbour)
        _grow_head(small, network)


def _contains(large: NetworkSettings, small: NetworkSettings) -> bool:
    """Return whether a network is larger, in no size smaller, and else alike."""
    sizes = [(getattr(large, name), getattr(small, name)) for name in SIZES]
    if large.context == 0:
        sizes.pop()  # nothing sees the neighbours
    alike = all(getattr(large, name) == getattr(small, name) for name in ALIKE)
    alike = alike and large.channels == small.channels == 1
    return alike and any(a > b for a, b in sizes) and all(a >= b for a, b in sizes)


def _grow_unet(small: UNet, large: UNet) -> None:
    raw = _convolutions(small.encoder[0])[0].in_channels
    width, wide = small.out_channels // 2, large.out_channels // 2
    for old, new in zip(small.encoder, large.encoder, strict=False):
        _grow_stage(old, new, range(_convolutions(old)[0].in_channels))
    below = range(width)
    deeper = large.depth - small.depth
    if deeper:
        _hand_through(small.bottom, large.decoder[deeper - 1], width)
    else:
        _grow_stage(small.bottom, large.bottom, below)
    for index, old in enumerate(small.decoder):
        kept, skip = (raw, raw) if index == small.depth - 1 else (width, wide)
        new = large.decoder[deeper + index]
        first = _convolutions(new)[0].in_channels - skip  # the skip comes last
        _grow_stage(old, new, [*below, *range(first, first + kept)])
        below = range(2 * width)


def _grow_stage(small: nn.Module, large: nn.Module, inputs: Sequence[int]) -> None:
    for old, new in zip(_convolutions(small), _convolutions(large), strict=True):
        _embed(old.weight, old.bias, new, inputs)
        inputs = range(old.out_channels)


def _hand_through(bottom: nn.Module, stage: nn.Module, width: int) -> None:
    """Let a decoder stage say what the bottom of a shallower network said.

    There the bottom was one convolution with a leaky ReLU r; here are two. With both
    signs of its answer c the second finds it again: c = (r(c) − r(−c)) / (1 + leak).
    """
    (said,) = _convolutions(bottom)
    first, second = _convolutions(stage)
    skip = first.in_channels - first.out_channels // 2
    weight = torch.cat([said.weight, -said.weight])
    assert said.bias is not None
    bias = torch.cat([said.bias, -said.bias])
    _embed(weight, bias, first, range(skip, skip + width))
    both = weight.new_zeros(width, 2 * width, *second.kernel_size)
    one = torch.eye(width) / (1 + LEAK)
    row, column = (int(n) for n in second.padding)  # the tap of the pixel itself
    both[:, :, row, column] = torch.cat([one, -one], dim=1)
    _embed(both, weight.new_zeros(width), second, range(2 * width))


def _grow_head(small: BlindSpotNetwork, large: BlindSpotNetwork) -> None:
    """Grow what joins the half-planes, the neighbours and the filter."""
    parts = [(small.halfplane.out_channels, large.halfplane.out_channels)] * 4
    if small.neighbour is not None and large.neighbour is not None:
        parts.append((small.neighbour.out_channels, large.neighbour.out_channels))
    parts.append((small.settings.channels, large.settings.channels))
    inputs: list[int] = []
    begins = 0
    for few, many in parts:
        inputs += range(begins, begins + few)
        begins += many
    _grow_stage(small.head, large.head, inputs)
    before = small.last.in_channels
    _embed(small.last.weight, small.last.bias, large.last, range(before))


def _embed(
    weight: Tensor, bias: Tensor | None, new: nn.Conv2d, inputs: Sequence[int]
) -> None:
    """Set the first outputs of a convolution: they listen to `inputs` alone."""
    outputs = len(weight)
    new.weight[:outputs] = 0
    new.weight[:outputs, list(inputs)] = weight.to(new.weight)
    assert bias is not None
    assert new.bias is not None
    new.bias[:outputs] = bias


def _convolutions(stage: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)]
