"""CAREamics' Noise2Void on one stack, looked at all along its training.

Run by the Python of an environment that has CAREamics; nothing of this package is
imported. The only argument is a JSON object; another one is printed, as the last line::

    {"source": .npy of (Z, Y, X), "out": folder, "patch": [z, y, x] or [y, x],
     "batch": patches, "steps": of training, "every": steps, "seed": of everything,
     "threads": of torch}

At the first end of an epoch after so many steps the whole stack is denoised; the
answers lie in the folder as ``N.npy`` after N steps, float32 in grey values, beside the
seconds of training that were spent until then.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_PATIENCE = 30  # epochs
_STRIDE = 4  # voxels


def main() -> None:
    import careamics
    import torch

    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    stack = np.load(asked["source"]).astype(np.float32)
    out = Path(asked["out"])
    out.mkdir(parents=True, exist_ok=True)
    # Its network wants sides that are multiples of its stride.
    ends = [(0, -size % _STRIDE) for size in stack.shape]
    padded = np.pad(stack, ends, "reflect")
    careamist, kept = _trained(stack, asked, out)
    for steps, state in kept["states"].items():
        careamist.model.model.load_state_dict(state)
        checkpoint = out / "shown.ckpt"
        careamist.trainer.save_checkpoint(checkpoint)
        answers, _ = careamist.predict(
            padded, data_type="array", axes=_axes(asked), checkpoint=checkpoint
        )
        answer = np.asarray(answers[0], np.float32).squeeze()
        np.save(out / f"{steps}.npy", answer[tuple(slice(n) for n in stack.shape)])
    facts = {
        "seconds": kept["seconds"],
        "version": careamics.__version__,
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in careamist.model.parameters()),
    }
    print(json.dumps(facts))


def _axes(asked: dict[str, Any]) -> str:
    return "ZYX" if len(asked["patch"]) == 3 else "SYX"


def _trained(
    stack: np.ndarray[Any, Any], asked: dict[str, Any], out: Path
) -> tuple[Any, dict[str, Any]]:
    """Train at the documented settings; return the weights that were met on the way."""
    from careamics import CAREamist
    from careamics.config.factories.n2v_factory import create_advanced_n2v_config
    from lightning.pytorch.callbacks import Callback

    config = create_advanced_n2v_config(
        "warmstart",
        data_type="array",
        axes=_axes(asked),
        patch_size=asked["patch"],
        batch_size=asked["batch"],
        num_epochs=asked["steps"],  # one step at least in each
        num_workers=0,
        # By default the rate falls after ten epochs without gain, and would end at
        # next to nothing: the epochs of so small a stack are of two to seven steps.
        lr_scheduler_params={"patience": _PATIENCE},
        trainer_params={"accelerator": "cpu", "max_steps": asked["steps"]},
        seed=asked["seed"],
    )
    kept: dict[str, Any] = {"states": {}, "seconds": {}}
    began = time.perf_counter()

    class Keep(Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            steps = int(trainer.global_step)
            if steps < max(kept["states"], default=0) + asked["every"]:
                return
            kept["states"][steps] = copy.deepcopy(pl_module.model.state_dict())
            kept["seconds"][steps] = time.perf_counter() - began

    careamist = CAREamist(
        config, work_dir=out, callbacks=[Keep()], enable_progress_bar=False
    )
    # Of so small a stack the patches set apart for validation would be all there are.
    careamist.train(train_data=stack, val_data=stack)
    return careamist, kept


if __name__ == "__main__":
    main()
