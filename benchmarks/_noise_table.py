"""The Markdown page of the noise benchmark, written from its JSON files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from _results import said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Cases = dict[str, Any]


def page(folder: Path, label: str) -> str:
    """Write the page from whatever parts have been measured."""
    lines = ["<!-- written by benchmarks/noise.py -->"]
    for part, write in _PARTS.items():
        path = folder / f"noise-{part}-{label}.json"
        if path.exists():
            results = json.loads(path.read_text())
            lines += ["", *write(results["cases"]), "", f"{said(results['setting'])}."]
    return "\n".join(lines) + "\n"


def _cameras(cases: Cases) -> list[str]:
    lines = [
        "### Error of the estimated variance",
        "",
        f"{len(cases)} recordings of three truths (32 planes). Error of the variance "
        "at the median and at the 99 % quantile of the clean signal, against 400 000 "
        "draws of the camera at that signal, rounding and clipping included. "
        "*Identified*: the 95 % interval of the gain is narrower than ±10 %. *Gain "
        "covered*: the interval holds the true gain.",
        "",
        "| recordings | how many | median error | 90 % below | worst | gain covered |",
        "|---|---|---|---|---|---|",
    ]
    groups: dict[str, Callable[[str, Any], bool]] = {
        "nothing clipped, gain identified": lambda k, c: (
            _sound(k, c) and c["identified"]
        ),
        "nothing clipped, gain not identified": lambda k, c: (
            _sound(k, c) and not c["identified"]
        ),
        "no read noise: rounding shows": lambda k, c: (
            c["zeros"] < _CLIPPED and _bare(k)
        ),
        "voxels clipped at zero, no warning": lambda k, c: (
            c["zeros"] >= _CLIPPED and not c["warned"]
        ),
        "voxels clipped at zero, warned": lambda k, c: (
            c["zeros"] >= _CLIPPED and c["warned"]
        ),
    }
    for title, chosen in groups.items():
        rows = [c for key, c in cases.items() if chosen(key, c)]
        errors = [abs(e) for c in rows for e in c["error"].values()]
        if not errors:
            continue
        covered = np.mean([c["covers"] for c in rows])
        lines.append(
            f"| {title} | {len(rows)} | {np.median(errors):.1%} | "
            f"{np.quantile(errors, 0.9):.1%} | {max(errors):.1%} | {covered:.0%} |"
        )
    sure = {k: c for k, c in cases.items() if _sound(k, c) and c["identified"]}
    worst = sorted(
        ((max(map(abs, c["error"].values())), key) for key, c in sure.items()),
        reverse=True,
    )[:5]
    listed = ", ".join(f"{key} ({error:.1%})" for error, key in worst)
    return [
        *lines,
        "",
        f"Worst identified ones (truth/gain/offset/read noise/photons): {listed}.",
    ]


_CLIPPED = 1e-3  # of the voxels


def _bare(key: str) -> bool:
    """Return whether a camera has no read noise that would hide its rounding."""
    return key.split("/")[3] == "0"


def _sound(key: str, case: dict[str, Any]) -> bool:
    return bool(case["zeros"] < _CLIPPED and not _bare(key))


def _posterior(cases: Cases) -> list[str]:
    lines = [
        "### Estimated against known noise",
        "",
        "PSNR in dB, range 1. Calibration on held-out voxels: squared error over mean "
        "posterior variance, and how many voxels lie within 1 and 1.96 posterior "
        "standard deviations.",
        "",
        "| truth | photons | noise | μ | posterior | estimated − known | expected | "
        "error² / variance | within 1 | within 1.96 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, case in cases.items():
        name, photons = key.split("/")
        for kind in ("estimated", "known"):
            c = case[kind]
            gap = c["psnr"] - case["known"]["psnr"]
            lines.append(
                f"| {name} | {photons} | {kind} | {c['psnr_mean']:.2f} | "
                f"{c['psnr']:.2f} | {f'{gap:+.3f}' if kind == 'estimated' else ''} | "
                f"{c['expected_psnr']:.2f} | {c['mse_over_variance']:.2f} | "
                f"{c['coverage']['68']:.1%} | {c['coverage']['95']:.1%} |"
            )
    estimated = [case["estimated"] for case in cases.values()]
    gaps = [
        case["known"]["psnr"] - case["estimated"]["psnr"] for case in cases.values()
    ]
    off = [abs(c["expected_psnr"] - c["psnr"]) for c in estimated]
    before = [abs(c["expected_psnr_uncalibrated"] - c["psnr"]) for c in estimated]
    bins = [abs(b["ratio"] - 1) for c in estimated for b in c["bins"]]
    return [
        *lines,
        "",
        f"Estimated below known: median {np.median(gaps):+.3f} dB, worst "
        f"{max(gaps):+.3f} dB. Expected off the true PSNR: median "
        f"{np.median(off):.2f}, worst {max(off):.2f} dB (before recalibration "
        f"{np.median(before):.2f} and {max(before):.2f}). Mean grey value in bins of "
        f"the truth: off by "
        f"{np.median(bins):.2%} in the median, {max(bins):.2%} at worst.",
        "",
        *_totals(cases),
    ]


def _totals(cases: Cases) -> list[str]:
    """Compare the totals of planes with what the recording itself allows."""
    lines = [
        "Total of a plane, of the signal above the offset, against the truth. The "
        "recording's own totals are off by the noise of all its voxels together.",
        "",
        "| truth | photons | recording, median | worst plane | denoised, median | "
        "worst plane |",
        "|---|---|---|---|---|---|",
    ]
    for key, case in cases.items():
        name, photons = key.split("/")
        both = (case["estimated"][f"plane_totals{of}"] for of in ("_noisy", ""))
        cells = [f"{one[what]:.2%}" for one in both for what in ("median", "worst")]
        lines.append(f"| {name} | {photons} | {' | '.join(cells)} |")
    return lines


def _wrong(cases: Cases) -> list[str]:
    lines = [
        "### The price of wrong noise",
        "",
        "Variance times a factor, 20 photons; PSNR in dB, and the difference to the "
        "right noise. *As trained*: before the check after training; *returned*: after "
        "it.",
        "",
        "| truth | factor | right noise | in training, μ | in training, posterior as "
        "trained | returned | at test time only |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, case in cases.items():
        name, factor = key.split("/")
        right, trained = case["right"], case["in_training"]
        base = right["psnr_uncalibrated"]
        lines.append(
            f"| {name} | {factor} | {base:.2f} | "
            f"{trained['psnr_mean']:.2f} ({trained['psnr_mean'] - base:+.2f}) | "
            f"{trained['psnr_uncalibrated']:.2f} "
            f"({trained['psnr_uncalibrated'] - base:+.2f}) | "
            f"{trained['psnr']:.2f} ({trained['psnr'] - base:+.2f}) | "
            f"{case['at_test_only']:.2f} ({case['at_test_only'] - base:+.2f}) |"
        )
    return lines


def _fallback(cases: Cases) -> list[str]:
    lines = [
        "### Data that no noise model fits",
        "",
        "20 photons; PSNR in dB against the mean of what the damage makes of the "
        "truth, range p1 to p99.9 of it.",
        "",
        "| truth | data | noisy | μ | posterior as trained | returned | returned − μ | "
        "said |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, c in cases.items():
        name, data = key.split("/")
        said = c["sentence"].split(":")[0]
        warned = (
            f"; {c['warnings'][0].split('(')[0].split(';')[0]}" if c["warnings"] else ""
        )
        lines.append(
            f"| {name} | {data} | {c['psnr_noisy']:.2f} | {c['psnr_mean']:.2f} | "
            f"{c['psnr_posterior_as_trained']:.2f} | {c['psnr']:.2f} | "
            f"{c['psnr'] - c['psnr_mean']:+.2f} | {said}{warned} |"
        )
    return lines


def _real(cases: Cases) -> list[str]:
    lines = [
        "### Recorded stacks",
        "",
        "Estimated variance over half the variance of the difference of two recordings "
        "of the same field (bins of at least 5000 voxels, by the smoothed mean).",
        "",
        "| stack | bins | estimate / pairs: lowest | median | highest |",
        "|---|---|---|---|---|",
    ]
    for key, case in cases.items():
        if key.endswith("/variance"):
            parts = {"": case} if "bins" in case else case
            for channel, part in parts.items():
                ratio = [b["estimate"] / b["pairs"] for b in part["bins"]]
                lines.append(
                    f"| {key.split('/')[0]} {channel} | {len(ratio)} | "
                    f"{min(ratio):.3f} | {np.median(ratio):.3f} | {max(ratio):.3f} |"
                )
    lines += ["", *_beads(cases.get("beads_repeat/denoised")), *_likelihoods(cases)]
    return lines


def _beads(case: dict[str, Any] | None) -> list[str]:
    if case is None:
        return []
    noise = case["noise_variance"]
    error = case["squared_difference_denoised"] - noise
    return [
        f"beads_repeat, the denoised first recording against the second: mean squared "
        f"difference {case['squared_difference_denoised']:.1f} (noisy "
        f"{case['squared_difference_noisy']:.1f}); less the second's own noise "
        f"({noise:.1f}) that leaves {error:.1f}, where the posterior promises "
        f"{case['posterior_variance']:.1f}.",
        "",
    ]


def _likelihoods(cases: Cases) -> list[str]:
    lines = [
        "Held-out negative log-likelihood (lower is better):",
        "",
        "| stack | signal-dependent | constant | gain |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| {key.split('/')[0]} | {c['auto']:.4f} | {c['gaussian']:.4f} | "
        f"{c['gain of the signal-dependent model']:+.4f} |"
        for key, c in cases.items()
        if key.endswith("/likelihood")
    ]
    return [*lines, *rows] if rows else []


_PARTS: dict[str, Callable[[Cases], list[str]]] = {
    "cameras": _cameras,
    "posterior": _posterior,
    "wrong": _wrong,
    "fallback": _fallback,
    "real": _real,
}
