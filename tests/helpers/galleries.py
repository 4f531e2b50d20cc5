"""Galleries for tests: a small real experiment, and one of any number of synthetic images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.reports import gallery_html
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.services.visualize.agreement import Agreement
from clickmap_cli.services.visualize.gallery import (
    PAGE_IMAGES,
    Gallery,
    SmallPicture,
    small_map,
)
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.storage.folder import WhenPresent
from tests.helpers.studies import TrialRow, write_csv

EVIL = '<img src=x onerror="alert(1)">'
EVIL_USER = "</script><script>alert(2)</script>"
SIDE = 32


def experiment(
    folder: Path, rows: list[TrialRow], *words: str, when: WhenPresent = WhenPresent.STOP
) -> ExperimentConfig:
    """A prepared experiment with a photograph of every image but the last."""
    rng = np.random.default_rng(0)
    for key in sorted({row[0] for row in rows})[:-1]:
        path = folder / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(path, quality=95)
    data = write_csv(folder / "trials.csv", rows)
    base = [
        f"clickme_data={data}", f"image_dir={folder / 'images'}", f"assets={folder}",
        "experiment_name=study", f"image_shape=[{SIDE},{SIDE}]", "min_subjects=2", "min_clicks=1",
        "blur_size=7", "display_image_keys=null", "n_jobs=1",
    ]  # fmt: skip
    config = load_experiment(None, [*base, *words]).config
    prepare.run(config, Silent(), lambda _: None, when)
    return config


def write_corpus(
    folder: Path, n_images: int, photo: tuple[int, int] = (144, 192), heat: int = 80
) -> Path:
    """The gallery of so many synthetic images, which share the pictures of two pages.

    Args:
        folder: where `gallery.html` and `gallery/` go.
        n_images: how many.
        photo: height and width of a thumbnail.
        heat: side of a map.

    Returns:
        The page.
    """
    rng = np.random.default_rng(0)
    categories = [f"category_{at % 40:02d}" for at in range(n_images)]
    keys = [f"{category}/image_{at:06d}.jpg" for at, category in enumerate(categories)]
    counts = [(int(rng.integers(10, 120)), int(rng.integers(200, 20_000))) for _ in keys]
    pictures = [_picture(rng, photo, heat) for _ in range(2 * PAGE_IMAGES)]
    halves = [pictures[:PAGE_IMAGES], pictures[PAGE_IMAGES:]]
    bodies = [gallery_html.page_content("NAME", half) for half in halves]
    names = [f"pages/{at + 1:05d}" for at in range(-(-n_images // PAGE_IMAGES))]
    (folder / "gallery" / "pages").mkdir(parents=True)
    for at, name in enumerate(names):
        body = bodies[at % 2].replace(b"NAME", name.encode(), 1)
        (folder / "gallery" / f"{name}.js").write_bytes(body)
    scores = rng.uniform(0, 1, n_images)
    scores[::7] = np.nan
    agreements = (Agreement(scores, "spearman", "split-half", higher_is_better=True),)
    gallery = Gallery(
        "corpus", keys, categories, [people for people, _ in counts],
        [clicks for _, clicks in counts], agreements, PAGE_IMAGES, names, (), photo[1] / photo[0],
        (), Look(),
    )  # fmt: skip
    (folder / "gallery" / "index.js").write_bytes(gallery_html.index_content(gallery))
    (folder / "gallery.html").write_bytes(gallery_html.shell(gallery, "index"))
    return folder / "gallery.html"


def _picture(rng: np.random.Generator, photo: tuple[int, int], heat: int) -> SmallPicture:
    """Coarse colours, and some bumps over them."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    pixels = np.asarray(coarse.resize(photo[::-1], Image.Resampling.BICUBIC))
    noise = rng.normal(0, 10, pixels.shape)  # as hard to pack as a photograph
    pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    y, x = np.mgrid[:256, :256]
    bumps = np.zeros((256, 256))
    for _ in range(20):
        cx, cy = rng.uniform(20, 236, 2)
        bumps += rng.uniform(0.1, 1) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 200)
    return SmallPicture(pixels, small_map(bumps.astype(np.float32), heat))
