"""Methods that see one noisy image and nothing else, each with its time on the CPU.

Rivals are written here from their papers, at the size and for the seconds that the
caller gives; `bm3d` is used where it is installed (its licence allows no commercial
use, so it belongs to benchmarks alone).
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import napari_blindspot as nb
from _baselines import count, same_size_unet
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.training.recipes import MASKED_RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from _photos import Photo

_TOP = np.float32(255)
_GRID = 4  # Noise2Self hides one pixel of each square of this side
_RATE = 1e-3
_CROP, _BATCH = 64, 8

Answer = tuple["NDArray[np.float32]", dict[str, Any]]
"""An image (C, Y, X) of 0 to 1, and what it took: seconds of CPU time and steps."""


def ours(photo: Photo, **settings: Any) -> Answer:
    """Denoise an image with this package; Gaussian noise of unknown σ."""
    grey = len(photo.noisy) == 1
    values = _TOP * (photo.noisy[0] if grey else photo.noisy)
    began = time.process_time()
    result = nb.denoise(
        values,
        axes="YX" if grey else "CYX",
        noise="gaussian",
        threads=1,
        seed=0,
        **settings,
    )
    facts = {
        "seconds": round(time.process_time() - began, 1),
        "steps": result.metrics["steps_train"],
    }
    image = np.asarray(result.image, np.float32) / _TOP
    return image[None] if grey else image, facts


def bm3d(photo: Photo) -> Answer | None:
    """Denoise with BM3D (Dabov et al. 2007), σ known; None where it is missing."""
    if find_spec("bm3d") is None:
        return None
    from bm3d import bm3d as denoise
    from bm3d import bm3d_rgb

    began = time.process_time()
    sigma = photo.level / float(_TOP)
    if len(photo.noisy) == 1:
        image = denoise(photo.noisy[0].astype(np.float64), sigma)[None]
    else:
        image = bm3d_rgb(np.moveaxis(photo.noisy, 0, -1).astype(np.float64), sigma)
        image = np.moveaxis(image, -1, 0)
    seconds = round(time.process_time() - began, 1)
    return image.astype(np.float32), {"seconds": seconds}


def zero_shot_noise2noise(photo: Photo, seconds: float) -> Answer:
    """Denoise with ZS-N2N (Mansour and Heckel 2023).

    A network of two layers maps one half of the pixels to the other half, and answers
    alike before and after the halves are taken. The learning rate is halved twice on
    the way, as there; the seconds stand in the place of 2000 steps.
    """
    torch.manual_seed(0)
    noisy = torch.from_numpy(photo.noisy)[None]
    channels = noisy.shape[1]
    net = nn.Sequential(
        nn.Conv2d(channels, 48, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(48, 48, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(48, channels, 1),
    )
    first, second = halves(noisy)

    def loss() -> Tensor:
        one, other = first - net(first), second - net(second)
        whole = halves(noisy - net(noisy))
        mse = functional.mse_loss
        residual = mse(one, second) + mse(other, first)
        alike = mse(one, whole[0]) + mse(other, whole[1])
        return (residual + alike) / 2

    facts = train(net, loss, seconds, lambda spent: 0.5 ** int(2.999 * spent))
    with torch.no_grad():
        image = (noisy - net(noisy))[0].clamp(0, 1).numpy()
    return image, facts


def halves(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of either diagonal of all squares of 2×2, half the size."""
    height, width = (n // 2 * 2 for n in image.shape[-2:])
    a, b = image[..., :height:2, :width:2], image[..., :height:2, 1:width:2]
    c, d = image[..., 1:height:2, :width:2], image[..., 1:height:2, 1:width:2]
    return (b + c) / 2, (a + d) / 2


def noise2self(photo: Photo, seconds: float) -> Answer:
    """Denoise as Noise2Self does (Batson and Royer 2019), channel by channel.

    One pixel of every square of 4×4 takes the mean of its four neighbours and is to be
    told; the answer is put together of the 16 images with other pixels hidden. The
    U-Net is plain, of the size of the network of Blind2Grad.
    """
    answers = [_noise2self(plane, seconds / len(photo.noisy)) for plane in photo.noisy]
    image = np.stack([answer for answer, _ in answers])
    facts = [one for _, one in answers]
    return image, {key: sum(one[key] for one in facts) for key in facts[0]}


def _noise2self(plane: NDArray[np.float32], seconds: float) -> Answer:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    mean, std = float(plane.mean()), float(plane.std())
    noisy = torch.from_numpy((plane - mean) / std)
    net = same_size_unet(_wanted(), 0, 3)

    def loss() -> Tensor:
        crops = [_crop(noisy, rng) for _ in range(_BATCH)]
        target = torch.stack(crops)
        hidden = grid(target, int(rng.integers(_GRID**2)))
        error = (net(without(target, hidden)[:, None]) - target) ** 2
        return error[hidden].mean()

    facts = train(net, loss, seconds, lambda spent: 0.5 * (1 + np.cos(np.pi * spent)))
    out = torch.zeros_like(noisy)
    with torch.no_grad():
        for index in range(_GRID**2):
            hidden = grid(noisy[None], index)
            said = net(without(noisy[None], hidden)[:, None])
            out[hidden[0]] = said[hidden]
    return out.numpy() * np.float32(std) + np.float32(mean), facts


def grid(images: Tensor, index: int) -> Tensor:
    """Return one pixel of every square of 4×4, (N, Y, X) bool."""
    hidden = torch.zeros(images.shape, dtype=torch.bool)
    hidden[:, index // _GRID :: _GRID, index % _GRID :: _GRID] = True
    return hidden


def without(images: Tensor, hidden: Tensor) -> Tensor:
    """Put the mean of the four neighbours in the place of hidden pixels."""
    framed = functional.pad(images[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    around = framed[:, :-2, 1:-1] + framed[:, 2:, 1:-1]
    around = around + framed[:, 1:-1, :-2] + framed[:, 1:-1, 2:]
    return torch.where(hidden, around / 4, images)


def _crop(noisy: Tensor, rng: np.random.Generator) -> Tensor:
    y, x = (int(rng.integers(n - _CROP + 1)) for n in noisy.shape)
    crop = torch.rot90(noisy[y : y + _CROP, x : x + _CROP], int(rng.integers(4)))
    return crop.flip(1) if rng.integers(2) else crop


def _wanted() -> int:
    """Return the parameters of the network of Blind2Grad for one plane on a CPU."""
    network = MASKED_RECIPES["cpu"]["balanced"].network
    return count(Blind2GradNetwork(network.model_copy(update={"context": 0})))


def train(
    net: nn.Module,
    loss: Callable[[], Tensor],
    seconds: float,
    rate_at: Callable[[float], float],
) -> dict[str, Any]:
    """Take steps of Adam for some seconds of time on the CPU.

    Parameters
    ----------
    net
        Is changed in place.
    loss
        Makes the loss of one step.
    seconds
        Of this process, so that what else the machine does is not counted.
    rate_at
        Factor of the learning rate 10⁻³ at a part of the time, 0 to 1.
    """
    optimiser = torch.optim.Adam(net.parameters(), lr=_RATE)
    began, steps, spent = time.process_time(), 0, 0.0
    while spent < seconds:
        for group in optimiser.param_groups:
            group["lr"] = _RATE * rate_at(spent / seconds)
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        steps += 1
        spent = time.process_time() - began
    return {"seconds": round(spent, 1), "steps": steps}
