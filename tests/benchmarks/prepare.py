"""`prepare` against the plain dense implementation, on the real OSIE mouse trials.

Run it with: python -m tests.benchmarks.prepare
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.map_store import MapStore
from tests.benchmarks import common

TARGET = 100


def dense_prepare(source: Path, folder: Path) -> dict[str, np.ndarray]:
    """CSV to mean maps in HDF5 and the trials in NPZ, the scripts' way."""
    images = common.dense_trials(source)
    kernel = common.disk_kernel()
    means = {key: common.dense_maps(t, kernel).mean(0).numpy() for key, t in images.items()}
    with h5py.File(folder / "maps.h5", "w") as file:
        for key, heat in means.items():
            file.create_dataset(key.replace("/", "_"), data=heat[None], compression="gzip")
    flat = [(x, y) for trials in images.values() for clicks in trials for x, y in clicks]
    np.savez_compressed(folder / "trials.npz", clicks=np.array(flat, dtype=np.int16))
    return means


def main() -> None:
    """Print both times, their ratio, the largest difference and the peak memory."""
    import torch

    torch.set_num_threads(common.THREADS)
    source = common.require_osie()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        words = [
            f"clickme_data={source}", f"assets={root}", "max_clicks=null",
            "display_image_keys=null", f"n_jobs={common.THREADS}", "duplicate_maps=keep_all",
        ]  # fmt: skip
        config = load_experiment(None, words).config

        def ours() -> None:
            shutil.rmtree(root / "experiment", ignore_errors=True)
            prepare.run(config, Silent(), lambda _: None)

        ours()  # start-up (imports, first pages of memory) is excluded
        fast = common.seconds(ours, repeats=5)
        dense: dict[str, np.ndarray] = {}
        slow = common.seconds(lambda: dense.update(dense_prepare(source, root)))
        store = MapStore(root / "experiment")
        worst = max(
            float(np.abs(store.read(key.replace("/", "_"))[0] - heat).max())
            for key, heat in dense.items()
        )
    sys.stdout.write(
        f"prepare, {len(dense)} images, disk kernel: dense {slow:.2f} s, clickmap {fast:.3f} s, "
        f"{slow / fast:.0f}x (target {TARGET}x), largest difference {worst:.1e}, "
        f"peak memory {common.peak_gb():.2f} GB (the dense part included)\n"
    )


if __name__ == "__main__":
    main()
