"""Make the start weights that the package ships, from nothing but this program.

Run ``python scripts/pretrain.py teacher-cpu``. It generates volumes, records them
with fresh noise and trains a network on them; the names are those of the shipped files.
It writes its state now and then and goes on from there when it is started again with
the same settings; ``--minutes`` stops it earlier. On a GPU give ``--workers`` processes
that make the recordings; on a CPU one thread does everything.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from napari_blindspot.device import describe_device, pick_device
from napari_blindspot.errors import BlindspotError
from napari_blindspot.pretraining.shipping import KINDS, make_network, write_start
from napari_blindspot.pretraining.training import Exam, Plan, Pretraining

_SAY_EVERY = 60.0  # seconds


def main() -> None:
    """Train one of the shipped networks, or say in a sentence why not."""
    args = parse()
    try:
        pretrain(args)
    except BlindspotError as error:
        raise SystemExit(f"Error: {error}") from error


def pretrain(args: argparse.Namespace) -> None:
    """Train, as the command line says, and write the weights."""
    device = pick_device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    plan = Plan(
        args.steps,
        episodes=args.episodes,
        crops=args.crops,
        pool=args.pool,
        learning_rate=args.rate,
        seed=args.seed,
        workers=args.workers,
    )
    training = Pretraining(make_network(args.name), plan, device)
    state = args.out / f"{args.name}.state"
    args.out.mkdir(parents=True, exist_ok=True)
    if state.exists():
        training.resume(state)
        if args.begin is not None:
            print(f"{state} was begun already, so --begin is not looked at")
    elif args.begin is not None:
        training.begin(args.begin)
    exam = Exam(args.exam, device)
    print(f"{args.name} on {describe_device(args.device).name}, step {training.step}")
    began = said = time.monotonic()
    for step, _ in training.run(args.minutes):
        if time.monotonic() - said > args.say or step == plan.steps:
            said = time.monotonic()
            training.save(state)
            score = exam(training.average)
            print(f"{said - began:7.0f} s  step {step}  exam {score:.4f}", flush=True)
    training.save(state)
    made = write_start(args.out, args.name, training, exam).facts
    print(f"{args.name}: exam {made['exam']:.4f} after {training.step} steps")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=KINDS, help="which of the shipped networks")
    parser.add_argument("--out", type=Path, default=Path("pretrained"))
    parser.add_argument(
        "--begin",
        type=Path,
        help="weights of an earlier run, also of a smaller network of the kind, with "
        "their index.json beside them; give another --seed than that run had, or the "
        "same recordings come again",
    )
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop earlier")
    parser.add_argument("--episodes", type=int, default=2, help="recordings per step")
    parser.add_argument("--crops", type=int, default=2, help="of every recording")
    parser.add_argument(
        "--pool", type=int, default=48, help="recordings held at a time"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--exam", type=int, default=48, help="recordings of the exam")
    parser.add_argument("--say", type=float, default=_SAY_EVERY, help="seconds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
