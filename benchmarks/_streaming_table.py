"""The page of the streaming benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _results import said

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MB = 1e6


def page(facts: Mapping[str, Any]) -> str:
    """Write the tables of the parts that were measured."""
    made = facts["setting"]
    parts = [
        ["<!-- written by benchmarks/streaming.py -->"],
        *(
            list(table(facts[part]))
            for part, table in _TABLES.items()
            if facts.get(part)
        ),
        [f"{said(made)}{_promise(facts)}."],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _promise(facts: Mapping[str, Any]) -> str:
    return f", memory={facts['setting']['memory']}" if facts.get("memory") else ""


def _memory(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| network, stack | blocks | Mvoxel denoised | part of the stack | most memory "
        "held | before the run |"
    )
    yield "|---|---|---|---|---|---|"
    for name, one in found.items():
        held = float(name.split(", ")[1].removesuffix(" GB")) * 1e9 / 2  # voxels, about
        yield _row(
            name,
            f"{one['blocks']}",
            f"{one['voxels'] / 1e6:.0f}",
            "all" if one["voxels"] >= held else f"{one['voxels'] / held:.2g}",
            f"**{one['peak'] / _MB:.0f} MB**",
            f"{one['held_before'] / _MB:.0f} MB",
        )
    for kind in ("copies", "student"):
        peaks = [one["peak"] for name, one in found.items() if name.startswith(kind)]
        if len(peaks) > 1:
            yield ""
            spread = max(peaks) / min(peaks) - 1
            yield f"{kind}: from the least to the most {spread:.0%}."


def _rate(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| who, tiles | blocks | whole run | network alone | copying alone | ratio of "
        "rates | seen per voxel kept | ratio without halos | reads per chunk | writes "
        "per file | processor | dask `map_overlap` | its reads per chunk | its "
        "processor |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for name, one in found.items():
        if name.count(",") != 1:
            continue
        kind, tiles = name.split(", ")
        copied = found[f"copies, {tiles}"]["seconds"]
        alone = found.get(f"{name}, network")
        network = alone["seconds"] if alone else 0.0
        seen = alone["seen"] / one["voxels"] if alone and "seen" in alone else None
        ratio = max(copied, network) / one["seconds"]
        kept = max(copied, network / seen) / one["seconds"] if seen else None
        dask = found.get(f"{name}, dask")
        yield _row(
            name,
            f"{one['blocks']}",
            f"{one['seconds']:.1f} s",
            f"{alone['seconds']:.1f} s" if alone else "–",
            f"{copied:.1f} s",
            f"**{ratio:.2f}**" if kind != "copies" else "–",
            f"{seen:.2f}" if seen else "–",
            f"{kept:.2f}" if kept else "–",
            f"{one['reads'] / one['chunks']:.2f}",
            f"{one['writes'] / one['files']:.2f}",
            f"{one['cpu_seconds']:.1f} s",
            *_by_dask(dask),
        )


def _by_dask(one: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if one is None:
        return "–", "–", "–"
    reads = f"{one['reads'] / one['chunks']:.2f}"
    return f"{one['seconds']:.1f} s", reads, f"{one['cpu_seconds']:.1f} s"


def _scaling(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| workers | blocks/s | efficiency | work of a block | beside it | processor "
        "of client and scheduler per block | processor of all beyond one machine's |"
    )
    yield "|---|---|---|---|---|---|---|"
    rates = {int(name): one["blocks_per_second"] for name, one in found.items()}
    least = min(rates)
    for name, one in found.items():
        efficiency = rates[int(name)] * least / (rates[least] * int(name))
        yield _row(
            name,
            f"{one['blocks_per_second']:.1f}",
            f"{efficiency:.0%}",
            f"{one['work_ms']:.1f} ms",
            f"**{one['beside_ms']:.1f} ms**",
            f"{one['client_cpu_ms']:.1f} ms",
            f"{one['cpu_beside_ms']:.1f} ms" if "cpu_beside_ms" in one else "–",
        )


def _careamics(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| who | whole run | processor | reads per chunk | writes per file | most "
        "memory held | before the run |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, one in found.items():
        who = f"{name} {one['version']}" if "version" in one else name
        yield _row(
            who,
            f"{one['seconds']:.1f} s",
            f"{one['cpu_seconds']:.1f} s",
            f"{one['reads'] / one['chunks']:.2f}",
            f"{one['writes'] / one['files']:.2f}",
            f"{one['peak'] / _MB:.0f} MB",
            f"{one['held_before'] / _MB:.0f} MB",
        )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


_TABLES = {
    "memory": _memory,
    "rate": _rate,
    "scaling": _scaling,
    "careamics": _careamics,
}
