"""Choose example images and draw them with their maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.clickmaps.keys import flat_name, match_keys, picture_names
from clickmap_cli.clickmaps.maps import image_clicks, mean_map
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.safe_images import read_image

N_EXAMPLES = 10


@dataclass(frozen=True)
class Example:
    """A picture to draw: an image with its map on the same pixels.

    Attributes:
        key: the image key.
        image: (h, w, 3) float32 in 0..1, or None if the image is missing or cannot be read.
        heat: (h, w) float32 mean map.
        n_participants: trials that the map is the mean of.
        path: file for the picture (PNG).
    """

    key: str
    image: NDArray[np.float32] | None
    heat: NDArray[np.float32]
    n_participants: int
    path: Path


def draw_examples(
    folder: Path,
    trials: Trials,
    config: ExperimentConfig,
    draw: Callable[[Example], None],
    progress: Progress,
) -> list[Path]:
    """Draw the example images that a configuration selects.

    Args:
        folder: the experiment's folder; pictures go into `examples/`.
        trials: a compact table.
        config: `display_image_keys`, `image_dir` and the maps' settings.
        draw: draws one picture into its path.
        progress: advances with each picture, and receives notices about missing images.

    Returns:
        Paths of the pictures.
    """
    keys = example_keys(trials, config, progress)
    image_dir = None if config.image_dir is None else Path(config.image_dir)
    if keys and (image_dir is None or not image_dir.is_dir()):
        where = (
            "image_dir is not set"
            if image_dir is None
            else f"image_dir {image_dir} is not a folder"
        )
        progress.notice(f"{where}; example pictures show the heat alone.")
        image_dir = None
    settings = MapSettings.from_config(config)
    slices = trials.image_slices()
    codes = {key: code for code, key in enumerate(trials.images.tolist())}
    names = picture_names(flat_name(key) for key in codes)
    paths, missing = [], []
    progress.stage("Drawing examples", len(keys))
    people = trials.people_per_image()
    for key in keys:
        code = codes[key]
        clicks = image_clicks(trials, slices, code)
        file = None if image_dir is None else image_file(image_dir, key)
        if image_dir is not None and file is None:
            missing.append(key)
        image = None
        if file is not None:
            try:
                pixels = read_image(file) / np.float32(255)
                image = settings.geometry(clicks.native).fit(pixels, file)
            except DataError as error:
                progress.notice(f"{error} Its example shows the heat alone.")
        path = folder / "examples" / f"{names[flat_name(key)]}.png"
        draw(Example(key, image, mean_map(clicks, settings), int(people[code]), path))
        paths.append(path)
        progress.advance()
    if missing:
        progress.notice(
            f"{len(missing)} example images are not in {image_dir}, such as {missing[0]}."
        )
    return paths


def example_keys(trials: Trials, config: ExperimentConfig, progress: Progress) -> list[str]:
    """Return the keys of the images to draw: the named ones, or those with the most trials."""
    keys = trials.images.tolist()
    wanted = config.display_image_keys
    if wanted == ["auto"]:
        most = np.argsort(-trials.people_per_image(), kind="stable")[:N_EXAMPLES]
        return [keys[code] for code in most]
    found = match_keys(wanted, keys)
    lost = [word for word in wanted if word not in found]
    if lost:
        progress.notice(
            f"display_image_keys: {len(lost)} name no prepared image, or more than one, such as "
            f"'{lost[0]}'."
        )
    return list(dict.fromkeys(found[word] for word in wanted if word in found))
