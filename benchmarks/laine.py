"""The rows of Laine et al. 2019 on photographs, at the size of one CPU core.

Run ``python benchmarks/laine.py --out docs/benchmarks``. Grey: trained on the 68
photographs of BSD68, scored on the unseen ones of Set12. Colour: trained on four
photographs that come with scikit-image, scored on two others. Every method gets the
same seconds. Results are kept in a JSON file and continued: a row that is in it is not
run again; ``--budget`` stops after that many minutes, and the next call goes on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from _laine_fit import Effort, fit
from _laine_methods import BlindSpot, Masking, Supervised, count, unet_like
from _laine_table import table
from _photos import (
    COLOUR_TRAINING,
    COLOUR_UNSEEN,
    USERS_OWN,
    Noise,
    Photo,
    Scale,
    colour_images,
    grey_images,
    make_photo,
    psnr8,
    users_images,
)
from _results import Kept, options, setting
from napari_blindspot.config import NetworkSettings
from napari_blindspot.networks.blindspot import BlindSpotNetwork

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from _laine_fit import Method

NOISES = {
    "gaussian-25": Noise("gaussian", 25, 25),
    "gaussian-5-50": Noise("gaussian", 5, 50),
    "poisson-30": Noise("poisson", 30, 30),
    "poisson-5-50": Noise("poisson", 5, 50),
    "impulse-0.5": Noise("impulse", 0.5, 0.5),
}
COLOUR = "colour-gaussian-25"
ROWS = {
    **{
        name: ["n2c", "n2n", "known", "estimated", "learned", "mean", "n2c-steps"]
        for name in NOISES
    },
    COLOUR: ["n2c", "full", "diagonal", "mean", "n2c-steps"],
}
ROWS["gaussian-25"].insert(6, "masking")
ROWS["impulse-0.5"].remove("estimated")  # nothing estimates outliers beforehand
UNETS = ("n2c", "n2n", "masking", "n2c-steps")
WATCHED, MARKS = ("n2c", "known", "mean", "masking"), (0.125, 0.25, 0.5)
_TRAINING, _TEST = 0, 1  # seeds


def main() -> None:
    args = parse()
    torch.set_num_threads(1)
    path = args.out / f"laine-{args.label}.json"
    kept = Kept(path, made_with(args), args.budget, any_day=True)
    rows = kept.part("rows")
    for name in args.noises:
        task = cache(partial(Task, name, args))  # made only where a row is missing
        for row in ROWS[name]:
            kept.measure(rows, f"{name}/{row}", partial(measure, task, row, rows))
    kept.write_page(table(kept.facts))


def measure(task: Callable[[], Task], row: str, rows: dict[str, Any]) -> Any:
    """Measure one row; others of its noise are in `rows`."""
    return task().measure(row, rows)


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--noises", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seconds", type=float, default=60, help="training, each row")
    parser.add_argument("--draws", type=int, default=2, help="of the noise, in scores")
    parser.add_argument("--images", type=int, help="score this many images only")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2, help="crops a step, ours")
    parser.add_argument("--unet-batch", type=int, default=4, help="of the others")
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--unet-rate", type=float, default=3e-3)
    return parser.parse_args()


class Task:
    """One kind of noise, with the images to train on and to score.

    Parameters
    ----------
    name
        A key of `ROWS`.
    args
        Of the command line.
    """

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.name, self.colour = name, name == COLOUR
        self.noise = NOISES["gaussian-25"] if self.colour else NOISES[name]
        self.args = args
        self.settings = NetworkSettings(
            width=args.width,
            depth=args.depth,
            context=0,
            channels=3 if self.colour else 1,
        )
        self.clean = (
            colour_images(COLOUR_TRAINING) if self.colour else grey_images("BSD68")
        )
        self.training = [
            self._photo(image, _TRAINING, 0, index)
            for index, image in enumerate(self.clean)
        ]
        self.scale = Scale.of([photo.noisy for photo in self.training])
        unseen = (
            colour_images(COLOUR_UNSEEN)[: args.images]
            if self.colour
            else grey_images("Set12", args.images)
        )
        self.test = self._test(unseen)

    def _test(self, images: Sequence[NDArray[np.float32]]) -> list[Photo]:
        return [
            self._photo(image, _TEST, draw, index)
            for draw in range(self.args.draws)
            for index, image in enumerate(images)
        ]

    def _photo(
        self, image: NDArray[np.float32], part: int, draw: int, index: int
    ) -> Photo:
        estimate = not self.colour and self.noise.kind != "impulse"
        return make_photo(image, self.noise, [part, draw, index], estimate=estimate)

    def measure(self, row: str, done: dict[str, Any]) -> dict[str, Any]:
        """Train one method and score it."""
        method, effort = self.make(row, done)
        watched = self.name == "gaussian-25" and row in WATCHED
        first = self.test[: len(self.test) // self.args.draws]
        fitted = fit(
            method,
            effort,
            lambda: score(method.denoise, first),
            MARKS if watched else (),
        )
        facts = {
            "psnr": score(method.denoise, self.test),
            "noisy": score(lambda photo: photo.noisy, self.test),
            "seconds": round(fitted.seconds, 1),
            "steps": fitted.steps,
            "parameters": count(method.module),
            "date": today(),
        }
        if fitted.curve:
            last = (fitted.seconds, score(method.denoise, first))
            facts["curve"] = [*fitted.curve, last]
        if isinstance(method, BlindSpot):
            facts |= self.more(method, row)
        return facts

    def make(self, row: str, done: dict[str, Any]) -> tuple[Method, Effort]:
        """Make a method by the name of its row."""
        args, steps = self.args, 10**9
        seconds = args.seconds
        if row == "n2c-steps":  # the steps that ours took, whatever the seconds
            ours = f"{self.name}/{'full' if self.colour else 'known'}"
            seconds, steps = 1e9, done[ours]["steps"]
        batch, rate = args.batch, args.rate
        if row in UNETS:
            batch, rate = args.unet_batch, args.unet_rate
        effort = Effort(seconds, args.crop, batch, rate, steps)
        about = (self.noise, self.scale, effort)
        if row in ("n2c", "n2n", "n2c-steps"):
            clean = row != "n2n"
            method: Method = Supervised(
                self.settings, self.clean, *about, clean_targets=clean
            )
        elif row == "masking":
            method = Masking(self.settings, self.training, *about)
        elif row in ("full", "diagonal"):
            settings = self.settings.model_copy(update={"covariance": row})
            method = BlindSpot(settings, self.training, *about, "known")
        else:
            method = BlindSpot(self.settings, self.training, *about, row)  # type: ignore[arg-type]
        return method, effort

    def more(self, method: BlindSpot, row: str) -> dict[str, Any]:
        """Return what only ours tells."""
        facts: dict[str, Any] = {}
        if row != "mean":
            facts["psnr_prior"] = score(
                lambda photo: method.denoise(photo, prior_alone=True), self.test
            )
        if row == "learned":
            pairs = [(photo.level, method.learned(photo)) for photo in self.test]
            facts["learned"] = np.round(pairs, 3).tolist()
        if row == "full":
            facts["others"] = {
                folder: self._other(method, folder) for folder in USERS_OWN
            }
        return facts

    def _other(self, method: BlindSpot, folder: str) -> float | None:
        """Score colour photographs of the user's; None where they are missing."""
        images = users_images(folder, self.args.images)
        return score(method.denoise, self._test(images)) if images else None


def score(
    denoise: Callable[[Photo], NDArray[np.float32]], photos: Sequence[Photo]
) -> float:
    """Return the mean PSNR over images and draws."""
    values = [psnr8(denoise(photo), photo.clean) for photo in photos]
    return round(float(np.mean(values)), 3)


def made_with(args: argparse.Namespace) -> dict[str, Any]:
    """Say where and how the figures were made."""
    network = NetworkSettings(width=args.width, depth=args.depth, context=0)
    return setting(
        seed="weights and crops 0, noise (0 or 1, draw, image)",
        seconds=args.seconds,
        threads=1,
        draws=args.draws,
        images=args.images,
        width=args.width,
        depth=args.depth,
        crop=args.crop,
        batch=[args.batch, args.unet_batch],
        rate=[args.rate, args.unet_rate],
        parameters=[count(BlindSpotNetwork(network)), count(unet_like(network))],
    )


def today() -> str:
    return datetime.now(UTC).date().isoformat()


if __name__ == "__main__":
    main()
