"""Write the page of `laine.py`: our rows, their gaps, and the published ones."""

from __future__ import annotations

from typing import Any

LABELS = {
    "noisy": "noisy",
    "n2c": "N2C (clean targets)",
    "n2n": "N2N (noisy pairs)",
    "known": "**ours, noise known**",
    "estimated": "**ours, noise estimated from each image, frozen**",
    "learned": "ours, noise learned with the network, as in the paper",
    "mean": "ours, μ only (squared error, no posterior)",
    "masking": "masking (Noise2Void), the U-Net of N2C",
    "n2c-steps": "N2C, as many steps as ours instead of as many seconds",
    "full": "**ours, full Σ**",
    "diagonal": "ours, diagonal Σ",
}
TITLES = {
    "gaussian-25": "Gaussian, σ = 25",
    "gaussian-5-50": "Gaussian, σ from 5 to 50",
    "poisson-30": "Poisson, λ = 30",
    "poisson-5-50": "Poisson, λ from 5 to 50",
    "impulse-0.5": "Impulse, α = 0.5",
    "colour-gaussian-25": "Colour, Gaussian, σ = 25",
}
PUBLISHED = """\
## Published: comparable in gap, not in level

Laine et al. 2019, colour, PSNR in dB. Their networks have 1.3 million parameters and
were trained on 44 328 photographs, 500 000 steps of 4 crops of 256² px: only the
differences to N2C mean something beside ours.

| | Kodak | BSD300 | Set14 | to N2C, mean of the three |
|---|---|---|---|---|
| σ = 25: N2C | 32.46 | 31.08 | 31.26 | |
| N2N | 32.45 | 31.07 | 31.23 | −0.02 |
| σ known | 32.45 | 31.03 | 31.25 | −0.02 |
| σ unknown | 32.44 | 31.02 | 31.22 | −0.04 |
| diagonal Σ | 31.60 | 29.91 | 30.58 | −0.90 |
| μ only | 30.64 | 28.65 | 29.57 | −1.98 |
| CBM3D, σ known | 31.82 | 30.40 | 30.68 | −0.63 |
| σ from 5 to 50: N2C | 32.57 | 31.29 | 31.27 | |
| N2N | 32.57 | 31.29 | 31.26 | 0.00 |
| σ known | 32.47 | 31.19 | 31.21 | −0.09 |
| σ unknown | 32.46 | 31.18 | 31.13 | −0.12 |
| μ only | 30.54 | 28.56 | 29.41 | −2.21 |
| CBM3D, σ known | 31.99 | 30.67 | 30.78 | −0.56 |

For Poisson noise the published figures at hand are of single photographs (λ = 30: 34.63
beside 34.83 supervised, 29.11 beside 29.12), and for impulse noise there are pictures
alone.
"""


def table(results: dict[str, Any]) -> str:
    """Write the Markdown page."""
    made, rows = results["setting"], results["rows"]
    lines = [
        "<!-- written by benchmarks/laine.py -->",
        f"{made['date']}, {made['device']}, torch {made['torch']}, Python "
        f"{made['python']}, napari-blindspot {made['napari_blindspot']}, seeds: "
        f"{made['seed']}; {made['threads']} thread, {made['seconds']:g} s of training "
        f"for each row; crops of {made['crop']}² px, {made['batch'][0]} a step for "
        f"ours and {made['batch'][1]} for the U-Net of the others, learning rates "
        f"{made['rate'][0]:g} and {made['rate'][1]:g}; "
        f"{made['parameters'][0]} parameters of ours and {made['parameters'][1]} of "
        "the U-Net of the others (grey).",
        "",
        "PSNR in dB of 8-bit images (noise is not clipped, answers are rounded), mean "
        f"over {_images(made)} and {made['draws']} draws of the noise. Grey: trained "
        "on BSD68, scored on Set12; colour: trained on four photographs of "
        "scikit-image, scored on two others. Ours and masking see one noisy copy of "
        "every training image, N2C and N2N fresh noise at each step. Among impulses, "
        "N2N and μ only take the known pull of the outliers out of squared error; the "
        "paper anneals the loss instead.",
        "",
    ]
    for name, title in TITLES.items():
        found = {
            key.split("/")[1]: row
            for key, row in rows.items()
            if key.split("/")[0] == name
        }
        if found:
            lines += [f"## {title}", "", *_block(found), ""]
    lines += [*_curves(rows), *_others(rows), PUBLISHED]
    return "\n".join(lines)


def _images(made: dict[str, Any]) -> str:
    return f"the first {made['images']} images" if made["images"] else "all images"


def _block(found: dict[str, Any]) -> list[str]:
    bound = found.get("n2c", {}).get("psnr")
    equal = found.get("n2c-steps", {}).get("psnr")
    lines = [
        "| | PSNR | to N2C, equal seconds | to N2C, equal steps | steps | s | prior "
        "mean alone | learned strength |",
        "|---|---|---|---|---|---|---|---|",
        f"| {LABELS['noisy']} | {next(iter(found.values()))['noisy']:.2f} "
        "| | | | | | |",
    ]
    for row, facts in found.items():
        prior = f"{facts['psnr_prior']:.2f}" if "psnr_prior" in facts else ""
        lines.append(
            f"| {LABELS[row]} | {facts['psnr']:.2f} | {_gap(facts['psnr'], bound)} "
            f"| {_gap(facts['psnr'], equal)} | {facts['steps']} "
            f"| {facts['seconds']:.0f} | {prior} | {_learned(facts)} |"
        )
    return lines


def _gap(value: float, bound: float | None) -> str:
    if bound is None or value == bound:
        return ""
    return f"{value - bound:+.2f}".replace("-", "−")


def _learned(facts: dict[str, Any]) -> str:
    pairs = facts.get("learned")
    if not pairs:
        return ""
    if len({truth for truth, _ in pairs}) == 1:
        return f"{pairs[0][1]:.3g} (true: {pairs[0][0]:g})"
    ratios = sorted(learned / truth for truth, learned in pairs)
    return (
        f"{ratios[0]:.2f} to {ratios[-1]:.2f} times the true one, median "
        f"{ratios[len(ratios) // 2]:.2f}"
    )


def _curves(rows: dict[str, Any]) -> list[str]:
    """Show half-planes beside masking over the seconds."""
    watched = {
        key.split("/")[1]: row["curve"] for key, row in rows.items() if "curve" in row
    }
    if not watched:
        return []
    seconds = [round(point[0]) for point in next(iter(watched.values()))]
    lines = [
        "## Half-planes and masking: quality against seconds",
        "",
        "Gaussian, σ = 25, PSNR of the averaged weights; the learning rate falls to "
        "zero only at the end. Scored with one draw of the noise.",
        "",
        "| | " + " | ".join(f"{s} s" for s in seconds) + " |",
        "|---|" + "---|" * len(seconds),
    ]
    for row, curve in watched.items():
        cells = " | ".join(f"{value:.2f}" for _, value in curve)
        lines.append(f"| {LABELS[row]} | {cells} |")
    return [*lines, ""]


def _others(rows: dict[str, Any]) -> list[str]:
    full = next((row for key, row in rows.items() if key.endswith("/full")), None)
    if full is None:
        return []
    cells = {
        folder: "not available" if value is None else f"{value:.2f}"
        for folder, value in full["others"].items()
    }
    return [
        "## Other photographs, colour, full Σ, σ = 25",
        "",
        "| " + " | ".join(cells) + " |",
        "|" + "---|" * len(cells),
        "| " + " | ".join(cells.values()) + " |",
        "",
        "Read from folders of these names beside BSD68 where the user has them.",
        "",
    ]
