from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.datasets import ClickmapDataset
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.studies import random_rows, write_csv


def prepared(tmp_path, *words):
    rows = random_rows(1, images=6, users=3)
    data = write_csv(tmp_path / "trials.csv", rows)
    for key in {row[0] for row in rows}:
        path = tmp_path / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = 40 * int(key.split("/")[1][0])
        Image.new("RGB", (50, 40), (shade, 0, 255)).save(path)
    base = [
        f"clickme_data={data}", f"image_dir={tmp_path / 'images'}", f"assets={tmp_path}",
        "image_shape=[32,32]", "center_crop=[24,28]", "min_subjects=2", "display_image_keys=null",
    ]  # fmt: skip
    config = load_experiment(None, [*base, *words]).config
    return prepare.run(config, Silent(), draw_example).folder


@pytest.mark.parametrize("output", ["hdf5", "numpy", "npz"])
def test_a_loader_with_workers_gives_what_is_stored(tmp_path, output) -> None:
    folder = prepared(tmp_path, f"output_format={output}")
    data = ClickmapDataset(folder)
    assert len(data) == 6
    data[0]  # an open store in the parent must not disturb the workers
    seen = {}
    loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="spawn")
    for images, maps, categories, keys in loader:
        assert images.dtype == maps.dtype == torch.float32
        assert images.shape[1:] == (3, 24, 28)
        assert maps.shape[1:] == (1, 24, 28)
        for image, heat, category, key in zip(images, maps, categories, keys, strict=True):
            seen[key] = (image, heat, data.categories[category])
    store = MapStore(folder)
    assert sorted(seen) == data.keys
    for key, (image, heat, category) in seen.items():
        np.testing.assert_array_equal(heat.numpy(), store.read(key.replace("/", "_")))
        assert category == key.split("/")[0]
        shade = 40 * int(key.split("/")[1][0]) / 255
        np.testing.assert_allclose(image[0].numpy(), shade, atol=1e-6)
        np.testing.assert_allclose(image[2].numpy(), 1, atol=1e-6)


def test_participants(tmp_path) -> None:
    folder = prepared(tmp_path, "save_maps=both")
    _, maps, _, _ = ClickmapDataset(folder, kind="participants")[2]
    assert maps.shape == (3, 24, 28)
    with pytest.raises(ValueError, match="kind is 'x'"):
        ClickmapDataset(folder, kind="x")


def test_what_is_not_there_is_reported(tmp_path) -> None:
    with pytest.raises(DataError, match="no finished run"):
        ClickmapDataset(tmp_path)
    folder = prepared(tmp_path)
    with pytest.raises(DataError, match="not in image_dir"):
        ClickmapDataset(folder, image_dir=tmp_path / "elsewhere")[0]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["command"] == "prepare"


def test_an_image_is_found_inside_its_folder_or_by_the_folders_name(tmp_path) -> None:
    (tmp_path / "osie").mkdir()
    (tmp_path / "osie" / "1.jpg").touch()
    assert image_file(tmp_path, "osie/1.jpg") == tmp_path / "osie/1.jpg"
    assert image_file(tmp_path / "osie", "osie/1.jpg") == tmp_path / "osie/1.jpg"
    assert image_file(tmp_path / "osie", "1.jpg") == tmp_path / "osie/1.jpg"
    assert image_file(tmp_path, "1.jpg") is None
