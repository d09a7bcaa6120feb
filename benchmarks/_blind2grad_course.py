"""How Blind2Grad learns: quality and losses against steps; and a line of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_blindspot as nb
from _blind2grad_images import TEXT, scored, shots
from _single_image import ours
from napari_blindspot.networks.chance import key, uniform

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from _blind2grad_images import Shot

LENGTHS = (100, 300, 1000, 3000, 6000)
"""Steps; each is a training of its own, whose learning rate falls to its end."""

_TOP = 255.0
_SHOWN = 80  # columns of a line of gradients


def at_length(shot: Shot, steps: int) -> dict[str, Any]:
    """Train for so many steps; score the answer and the two losses.

    ``blind`` is the mean squared error of hidden pixels against the noisy values, less
    σ²: what the network learns from. ``supervised`` is that against the clean values.
    Both in squared 8-bit grey values, under masks that training did not see.
    """
    noisy = np.float32(_TOP) * shot.photo.noisy[0]
    model = nb.train(
        noisy, axes="YX", method="blind2grad", noise="gaussian", steps=steps,
        threads=1, seed=0,
    )  # fmt: skip
    result = nb.predict(model, noisy, axes="YX", threads=1)
    image = np.asarray(result.image, np.float32)[None] / np.float32(_TOP)
    blind, supervised = losses(model, noisy, _TOP * shot.clean[0])
    return {
        **scored(image, shot.clean),
        "seconds": round(model.provenance["training"]["seconds"], 1),
        "blind": round(blind - shot.sigma**2, 2),
        "supervised": round(supervised, 2),
    }


def losses(
    model: nb.Model, noisy: NDArray[np.float32], clean: NDArray[np.float32]
) -> tuple[float, float]:
    """Return the squared error of hidden pixels against the noisy and clean image."""
    scale, network = model.scales[0], model.network
    y = torch.from_numpy(scale.forward(noisy))[None]
    device = torch.device("cpu")
    rows, columns = (torch.arange(size) for size in noisy.shape)
    sums = np.zeros(2)
    masks = 4
    with torch.no_grad():
        for index in range(masks):
            keys = key(1, index, torch.arange(1), device=device)
            chance = uniform(keys, rows, columns)
            hidden = chance < network.settings.mask_rate
            said = network(y[:, None], (~hidden).to(y.dtype))[0]
            answer, where = scale.inverse(said.numpy()), hidden[0].numpy()
            pairs = [(answer - one)[where] for one in (noisy, clean)]
            sums += [np.mean(apart.astype(np.float64) ** 2) for apart in pairs]
    blind, supervised = sums / masks
    return float(blind), float(supervised)


def profile(path: Path, steps: int, forms: tuple[str, ...]) -> dict[str, Any]:
    """Draw the gradient along a row of a generated page of text.

    Parameters
    ----------
    path
        Picture to write.
    steps
        Of every training.
    forms
        Of the loss.

    Returns
    -------
    dict
        Root mean squared error of the horizontal gradient, 8-bit grey values, at edges
        (where it is more than 25) and elsewhere, over the page.
    """
    from matplotlib.figure import Figure

    (shot,) = shots(TEXT, 25.0, 1, whole=True)
    images = {"noisy": shot.photo.noisy}
    for form in forms:
        images[form] = ours(
            shot.photo, method="blind2grad", loss_form=form, steps=steps
        )[0]
    images["bayesian"] = ours(shot.photo, steps=steps)[0]
    truth = _rightward(shot.clean)
    edges = np.abs(truth) > 25
    row = int(np.argmax(edges.sum(1)))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    found = {}
    for name, image in images.items():
        apart = _rightward(image) - truth
        found[name] = {
            "edges": round(float(np.sqrt(np.mean(apart[edges] ** 2))), 2),
            "flat": round(float(np.sqrt(np.mean(apart[~edges] ** 2))), 2),
        }
        if name != "noisy":
            axes.plot(_rightward(image)[row], label=name, linewidth=0.9)
    axes.plot(truth[row], "k--", label="clean", linewidth=0.7)
    first = _busiest(edges[row])
    axes.set(
        xlabel="column (px)",
        ylabel="next pixel less this one (grey values)",
        xlim=(first, first + _SHOWN),
    )
    figure.legend(loc="outside upper center", ncols=len(axes.lines))
    figure.savefig(path, dpi=120)
    return found


def _busiest(edges: NDArray[np.bool_]) -> int:
    """Return where the columns begin that hold most edges of a row."""
    return int(np.argmax(np.convolve(edges, np.ones(_SHOWN), mode="valid")))


def _rightward(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return _TOP * np.diff(image[0].astype(np.float64), axis=1)
