"""Networks for tests: small, in float64, with no weight at zero."""

from __future__ import annotations

import torch

from napari_blindspot.config import NetworkSettings
from napari_blindspot.networks.blindspot import BlindSpotNetwork


def random_network(
    seed: int = 0, *, dtype: torch.dtype = torch.float64, **settings: object
) -> BlindSpotNetwork:
    """Return a network whose every weight, the head's included, is random."""
    shape = {"width": 4, "depth": 2, "context": 1, "neighbour_width": 4, **settings}
    network = BlindSpotNetwork(NetworkSettings.model_validate(shape))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
            parameter.copy_(noise * (2 / fan_in) ** 0.5)
        kernel = torch.rand(network.start.kernel.shape, generator=generator) + 0.1
        network.start.kernel.copy_(kernel / kernel.sum())
        network.spread.fill_(1.0)
        network.unit.fill_(1.0)
    return network.to(dtype).eval()
