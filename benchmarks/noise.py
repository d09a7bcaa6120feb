"""How well the noise is estimated, and what an error of it costs.

Run ``python benchmarks/noise.py --out docs/benchmarks``. Parts (``--parts``):

``cameras``    error of the estimate on recorded truths, over gain, offset, read noise
               and photons
``posterior``  estimated against known noise: PSNR, calibration, expected PSNR
``wrong``      the price of noise that is wrong by ±10, ±25, ±50 %
``fallback``   mis-scaled, compressed and clipped data: is it noticed, what is returned
``real``       recorded stacks: repeats and temporal differences

Results are kept in a JSON file and continued: what is in it is not run again.
``--budget`` stops after that many minutes; the next call goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import _noise_cameras
import _noise_posterior
import _noise_real
from _noise_table import page
from _results import Kept, options, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS: dict[str, Callable[[int], Iterator[tuple[str, Callable[[], Any]]]]] = {
    "cameras": _noise_cameras.cases,
    "posterior": _noise_posterior.posterior_cases,
    "wrong": _noise_posterior.wrong_cases,
    "fallback": _noise_posterior.fallback_cases,
    "real": _noise_real.cases,
}


def main() -> None:
    parser = options(__doc__, steps=1200)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = setting(seed="noise 1, training 0", steps=args.steps)
    for part in args.parts:
        path = args.out / f"noise-{part}-{args.label}.json"
        kept = Kept(path, made, args.budget)
        for key, measured in PARTS[part](args.steps):
            kept.measure(kept.part("cases"), key, measured)
    (args.out / f"noise-{args.label}.md").write_text(page(args.out, args.label))


if __name__ == "__main__":
    main()
