"""CAREamics' `predict_to_disk` on the source of the streaming benchmark.

Run by the Python of an environment that has CAREamics and zarr; nothing of this package
is imported. The only argument is a JSON object; another one is printed, as the last
line::

    {"source": zarr group that holds "image", "out": folder, "side": pixels of a tile,
     "steps": of training}

The network is a U-Net of N2V, trained for a few steps to have weights: what is measured
is how a stack goes through, not what becomes of it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from _streaming_counts import counted, counts, peak_bytes

IMAGE = "image"
"""Name of the array in its group: CAREamics reads none that is a store by itself."""

_OVERLAP = 48  # pixels, the default of CAREamics
_PATCH = 64
_WIDTH, _DEPTH = 8, 3


def main() -> None:
    import careamics
    import torch
    import zarr

    asked = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    source, out = Path(asked["source"]), Path(asked["out"])
    trained = _trained(
        np.asarray(zarr.open_array(source / IMAGE, mode="r")[:8]), asked, out
    )
    network = sum(p.numel() for p in trained.model.parameters())
    held, began, spent = peak_bytes(), time.perf_counter(), time.process_time()
    with counted(source) as seen:
        trained.predict_to_disk(
            source,
            prediction_dir=out,
            data_type="zarr",
            axes="SYX",
            tile_size=(asked["side"], asked["side"]),
            tile_overlap=(_OVERLAP, _OVERLAP),
            batch_size=1,
            num_workers=0,
            write_type="zarr",
        )
    facts: dict[str, Any] = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - spent,
        "version": careamics.__version__,
        "torch": torch.__version__,
        "parameters": network,
        "held_before": held,
        "peak": peak_bytes(),
    }
    print(json.dumps({**facts, **counts(seen)}))


def _trained(planes: Any, asked: dict[str, Any], out: Path) -> Any:
    """Train for a few steps, so that there are weights and a scale."""
    from careamics import CAREamist
    from careamics.config.factories.n2v_factory import create_advanced_n2v_config

    config = create_advanced_n2v_config(
        "streaming",
        data_type="array",
        axes="SYX",
        patch_size=(_PATCH, _PATCH),
        batch_size=4,
        num_epochs=1,
        num_steps=asked["steps"],
        model_params={"depth": _DEPTH, "num_channels_init": _WIDTH},
        num_workers=0,
        trainer_params={"accelerator": "cpu"},
        seed=1,
    )
    careamist = CAREamist(config, work_dir=out, enable_progress_bar=False)
    careamist.train(train_data=planes, val_data=planes[:2])
    return careamist


if __name__ == "__main__":
    main()
