"""The baselines: Noise2Void and a supervised bound, on a U-Net of the same size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from _truths import GAIN, OFFSET, READ_NOISE, Case, psnr
from napari_blindspot.device import channels_last
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.unet import initialise
from napari_blindspot.planes import neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

_ROI = 5  # Noise2Void: a masked pixel takes the value of another one this near
_MASKED = 0.01  # of the pixels of a crop
_CHECKS = 8

Images = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A baseline's image, and what it took."""

    image: Images
    seconds: float
    steps: int


class UNetDenoiser(nn.Module):
    """A plain U-Net on the centre plane and its neighbours, one output."""

    def __init__(self, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.context, self.stride = context, 2**depth
        self.net = PlainUNet(2 * context + 1, width, depth)
        self.last = nn.Conv2d(2 * width, 1, 1)
        initialise(self)

    def forward(self, planes: Tensor) -> Tensor:
        """Map (N, 2·context + 1, Y, X) to (N, Y, X)."""
        height, width = planes.shape[-2:]
        pad = (0, -width % self.stride, 0, -height % self.stride)
        padded = nn.functional.pad(planes, pad)
        out: Tensor = self.last(self.net(padded))[:, 0, :height, :width]
        return out


def same_size_unet(parameters: int, context: int, depth: int) -> UNetDenoiser:
    """Return the plain U-Net whose parameter count is nearest to `parameters`."""
    candidates = [UNetDenoiser(context, width, depth) for width in range(4, 80)]
    return min(candidates, key=lambda net: abs(count(net) - parameters))


def count(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in network.parameters())


def groups(planes: int, context: int) -> NDArray[np.int64]:
    """Return for every plane its neighbours and itself, as the teacher sees them."""
    rows = []
    for index in range(planes):
        around = neighbours(index, planes, context)
        rows.append([*around[:context], index, *around[context:]])
    return np.array(rows)


def predict(net: UNetDenoiser, volume: Images, device: torch.device) -> Images:
    """Run a network over all planes of a volume in network units."""
    index = groups(len(volume), net.context)
    out = np.empty_like(volume)
    with torch.no_grad():
        for i, rows in enumerate(index):
            planes = torch.from_numpy(volume[rows])[None].to(device)
            planes = planes.contiguous(memory_format=torch.channels_last)
            out[i] = net(planes)[0].cpu().numpy()
    return out


def fit(
    net: UNetDenoiser,
    make_batch: Callable[[], tuple[Tensor, Tensor, Tensor]],
    score: Callable[[], float] | None,
    *,
    seconds: float,
    device: torch.device,
    rate: float = 2e-3,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, int]:
    """Train by mean squared error; with a score, keep the weights of its best check.

    Seconds are those of `clock`.

    Returns
    -------
    seconds, steps
        Time spent training (checks excluded) and steps at the weights that are kept.
    """
    channels_last(net, device)
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    spent, step, checks, best = 0.0, 0, 0, (-np.inf, {}, 0)
    while spent < seconds:
        start = clock()
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * spent / seconds))
        planes, target, weight = (x.to(device) for x in make_batch())
        planes = planes.contiguous(memory_format=torch.channels_last)
        loss = ((net(planes) - target) ** 2 * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        spent, step = spent + clock() - start, step + 1
        if score is not None and spent >= (checks + 1) * seconds / _CHECKS:
            checks += 1
            value = score()
            if value > best[0]:
                weights = {k: v.clone() for k, v in net.state_dict().items()}
                best = (value, weights, step)
    if best[1]:
        net.load_state_dict(best[1])
    return spent, best[2] or step


def noise2void(
    case: Case,
    net: UNetDenoiser,
    *,
    seconds: float,
    device: torch.device,
    crop: int,
    box: tuple[int, int] = (1, 1),
    clock: Callable[[], float] = time.perf_counter,
) -> Fitted:
    """Train Noise2Void on the noisy stack, best over training length (by the truth).

    The mean and standard deviation of the stack normalise it; masked pixels take the
    value of a random other pixel within 5 px and count alone in the loss. With a box
    (rows, columns, odd) the pixels around them are replaced too: structN2V.
    """
    rng = np.random.default_rng(0)
    unit = case.unit(case.noisy)
    mean, std = unit.mean(), unit.std()
    volume = ((unit - mean) / std).astype(np.float32)
    index = groups(len(volume), net.context)

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        planes, _ = _crops(rng, volume, volume, index, crop)
        target = planes[:, net.context].copy()
        mask = rng.random(target.shape) < _MASKED
        hidden = ndimage.binary_dilation(mask, np.ones((1, *box)))
        planes[:, net.context][hidden] = _replacements(rng, target, hidden)
        return tuple(  # type: ignore[return-value]
            torch.from_numpy(x) for x in (planes, target, mask.astype(np.float32))
        )

    def image() -> Images:
        return predict(net, volume, device) * std + mean

    spent, steps = fit(
        net,
        batch,
        lambda: psnr(image(), case.truth),
        seconds=seconds,
        device=device,
        clock=clock,
    )
    return Fitted(image(), spent, steps)


def supervised(
    case: Case, make_net: Callable[[], UNetDenoiser], *,
    seconds: float, device: torch.device, crop: int,
) -> Fitted:  # fmt: skip
    """Train against the truth with fresh noise; score planes that were never seen.

    Two halves of the stack, swapped: each half is denoised by the network trained on
    the other one.
    """
    rng = np.random.default_rng(0)
    half = len(case.truth) // 2
    parts = (slice(0, half), slice(half, None))
    image = np.empty_like(case.truth)
    noisy = case.unit(case.noisy)
    spent, steps = 0.0, 0
    for train, test in (parts, parts[::-1]):
        net = make_net()
        clean = case.truth[train]
        index = groups(len(clean), net.context)

        def batch(
            clean: Images = clean, index: NDArray[np.int64] = index
        ) -> tuple[Tensor, Tensor, Tensor]:
            planes, target = _crops(rng, clean, clean, index, crop)
            photons = case.photons
            electrons = rng.poisson(photons * planes) + rng.normal(
                0, READ_NOISE, planes.shape
            )
            grey = np.round(GAIN * electrons + OFFSET)
            fresh = (np.clip(grey, 0, None) - OFFSET) / (GAIN * photons)
            return tuple(  # type: ignore[return-value]
                torch.from_numpy(x.astype(np.float32))
                for x in (fresh, target, np.ones_like(target))
            )

        more, n = fit(net, batch, None, seconds=seconds, device=device)
        spent, steps = spent + more, steps + n
        image[test] = predict(net, noisy[test], device)
    return Fitted(image, spent, steps // 2)


def _crops(
    rng: np.random.Generator,
    volume: Images,
    target: Images,
    index: NDArray[np.int64],
    crop: int,
    count: int = 8,
) -> tuple[Images, Images]:
    planes, targets = [], []
    for _ in range(count):
        i = rng.integers(len(volume))
        y, x = (rng.integers(n - crop + 1) for n in volume.shape[1:])
        window = (slice(y, y + crop), slice(x, x + crop))
        one, other = volume[index[i]][(slice(None), *window)], target[i][window]
        turns, mirror = rng.integers(4), rng.integers(2)
        one, other = np.rot90(one, turns, (1, 2)), np.rot90(other, turns)
        if mirror:
            one, other = one[..., ::-1], other[..., ::-1]
        planes.append(one)
        targets.append(other)
    return np.stack(planes), np.stack(targets)


def _replacements(
    rng: np.random.Generator, target: Images, mask: NDArray[np.bool_]
) -> Images:
    n, y, x = np.nonzero(mask)
    dy = rng.integers(-_ROI, _ROI + 1, len(y))
    dx = rng.integers(-_ROI, _ROI + 1, len(x))
    dx[(dy == 0) & (dx == 0)] = 1
    side = target.shape[-1]
    # Mirrored at the border: a clipped shift could end on the masked pixel itself.
    out: Images = target[n, _mirror(y, dy, side), _mirror(x, dx, side)]
    return out


def _mirror(start: Indices, step: Indices, side: int) -> Indices:
    """Return start + step, or start − step where that leaves the crop."""
    inside = (start + step >= 0) & (start + step < side)
    return np.where(inside, start + step, start - step)
