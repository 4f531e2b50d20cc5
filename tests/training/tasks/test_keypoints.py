"""Key points as a task: examples, losses and scores by their definitions, and a training."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clickmap_cli.config.keypoints import AugmentSettings
from clickmap_cli.datasets.keypoint_labels import KeypointImage
from clickmap_cli.metrics.keypoints import scale_points
from clickmap_cli.models.keypoint_net import KeypointInput
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.tasks.keypoint_augmentation import draw_change
from clickmap_cli.training.tasks.keypoints import (
    KeypointTask,
    masked_losses,
    normalise_planes,
    points_to_shares,
    predict,
    shares_to_points,
    squash_image,
)
from tests.training.tiny import make_stage

SHOWN = KeypointInput((16, 20), (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
NAN = math.nan
ALL = AugmentSettings(
    flip=0.5, rotate=30, scale=0.2, translate=0.1, brightness=0.3, contrast=0.3, blur=1, noise=0.1
)


class Linear(torch.nn.Module):
    """Two key points from all pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3 * 16 * 20, 4)
        torch.nn.init.normal_(self.layer.weight, std=0.001)
        torch.nn.init.constant_(self.layer.bias, 0.5)
        self.dropout = torch.nn.Dropout(0.1)
        self.shown = SHOWN

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(self.dropout(images.flatten(1))).unflatten(1, (2, 2))

    def blocks(self) -> dict[str, list[torch.nn.Parameter]]:
        return {"backbone": [], "finalizer": list(self.parameters())}


def mice(folder, n=6, missing=False):
    """Images of unequal sizes with two dots, red and green."""
    items = []
    for at in range(n):
        rng = np.random.default_rng(at)
        size = (24 + at, 40 - 2 * at)
        points = np.stack([rng.uniform(3, size[1] - 4, 2), rng.uniform(3, size[0] - 4, 2)], axis=1)
        rows, columns = np.mgrid[: size[0], : size[1]]
        pixels = np.zeros((*size, 3))
        for colour, (x, y) in enumerate(points):
            blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.0**2))
            pixels[..., colour] = 255 * blob
        path = folder / f"{at}.png"
        Image.fromarray(np.rint(pixels).astype(np.uint8)).save(path)
        if missing and at % 2:
            points[at % 4 // 2] = NAN
        items.append(KeypointImage(f"{at}.png", path, points, size))
    return items


def task_of(items, settings=None, seed=0):
    return KeypointTask(
        Linear(), items, items[:3], reference=(0, 1), alpha=0.1, augment=settings,
        swaps=((0, 1),), seed=seed,
    )  # fmt: skip


def test_an_example_by_hand(tmp_path) -> None:
    item = mice(tmp_path)[3]
    example = task_of([item]).read(item, None)
    with Image.open(item.path) as image:
        small = np.asarray(image.resize((20, 16), Image.Resampling.BILINEAR)) / 255
    wanted = (small - [0.5, 0.4, 0.3]) / [0.5, 0.25, 0.2]
    np.testing.assert_allclose(example.planes.numpy(), np.moveaxis(wanted, -1, 0), atol=1e-5)
    x = (item.points[:, 0] + 0.5) * 20 / item.size[1] - 0.5
    y = (item.points[:, 1] + 0.5) * 16 / item.size[0] - 0.5
    np.testing.assert_allclose(example.points, np.stack([x, y], axis=1), rtol=1e-12)


def test_dots_are_where_their_labels_are(tmp_path) -> None:
    items = mice(tmp_path)
    task = task_of(items, ALL)
    seen = 0
    for item in items:
        for epoch in (None, 1, 2, 3):
            example = task.read(item, epoch)
            mean, std = (np.array(v)[:, None, None] for v in (SHOWN.mean, SHOWN.std))
            values = example.planes.numpy() * std + mean
            drawn_for = generator(0, "augment", item.name, str(epoch))
            mirrored = epoch is not None and draw_change(ALL, drawn_for).flip
            for at, point in enumerate(example.points):
                if np.isnan(point).any() or min(*point, 19 - point[0], 15 - point[1]) < 2:
                    continue
                colour = 1 - at if mirrored else at  # a mirror swaps the labels, not the colours
                peak = np.unravel_index(values[colour].argmax(), (16, 20))
                assert np.hypot(*(peak[::-1] - point)) < 1.8, (item.name, epoch)
                seen += 1
    assert seen > 20


def test_mirrored_names_change_places(tmp_path) -> None:
    (item,) = mice(tmp_path, 1)
    plain = task_of([item]).read(item, None)
    flipped = task_of([item], AugmentSettings(flip=1)).read(item, 1)
    np.testing.assert_array_equal(flipped.points[:, 0], 19 - plain.points[::-1, 0])
    np.testing.assert_array_equal(flipped.points[:, 1], plain.points[::-1, 1])
    np.testing.assert_allclose(flipped.planes.numpy(), plain.planes.numpy()[..., ::-1], atol=1e-6)


def test_draws_depend_on_seed_image_and_epoch_alone(tmp_path) -> None:
    items = mice(tmp_path)
    task, again, other = task_of(items, ALL), task_of(items, ALL), task_of(items, ALL, seed=1)
    asked = [(item, epoch) for item in items for epoch in (1, 2, None)]
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(lambda pair: task.read(*pair), asked))
    for pair, example in reversed(list(zip(asked, first, strict=True))):
        same = again.read(*pair)
        torch.testing.assert_close(same.planes, example.planes, rtol=0, atol=0)
        np.testing.assert_array_equal(same.points, example.points)
        assert torch.equal(other.read(*pair).planes, example.planes) == (pair[1] is None)
    assert not torch.equal(first[0].planes, first[1].planes)


def test_an_image_is_read_once(tmp_path) -> None:
    task = task_of(mice(tmp_path))
    for item in task.train:
        with Image.open(item.path) as image:
            wanted = squash_image(np.asarray(image), SHOWN.size)
        item_pixels = task.pixels(item)
        np.testing.assert_array_equal(item_pixels, wanted)
        assert not item_pixels.flags.writeable
        item.path.unlink()
        assert task.pixels(item) is item_pixels


def test_losses_by_hand(tmp_path) -> None:
    items = mice(tmp_path, missing=True)
    task = task_of(items)
    task.network.eval()
    batch = [task.read(item, None) for item in items]
    losses, outputs = task.losses(batch, "fp32")
    assert losses.dtype == torch.float32
    weight, bias = (p.detach().double().numpy() for p in task.network.layer.parameters())
    for item, example, loss, output in zip(items, batch, losses, outputs, strict=True):
        said = (weight @ example.planes.double().numpy().ravel() + bias).reshape(2, 2)
        np.testing.assert_allclose(output.detach().numpy(), said, atol=1e-5)
        wanted = []
        for (x, y), (u, v) in zip(item.points, said, strict=True):
            if not math.isnan(x):
                wanted += [((x + 0.5) / item.size[1] - u) ** 2, ((y + 0.5) / item.size[0] - v) ** 2]
        assert loss.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)
        squares = [
            (20 * (x + 0.5) / item.size[1] - 20 * u) ** 2
            + (16 * (y + 0.5) / item.size[0] - 16 * v) ** 2
            for (x, y), (u, v) in zip(item.points, said, strict=True) if not math.isnan(x)
        ]  # fmt: skip
        scores = task.scores(example, output)
        assert scores["rmse"] == pytest.approx(math.sqrt(sum(squares) / len(squares)), rel=1e-4)
        assert math.isnan(scores["pck"]) == bool(np.isnan(item.points).any())
        assert tuple(scores) == task.watched


def test_missing_labels_have_no_gradient() -> None:
    targets = torch.tensor([[[0.5, 0.25], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    said = torch.full((2, 2, 2), 0.75, requires_grad=True)
    losses = masked_losses(said, targets)
    torch.testing.assert_close(losses.detach(), torch.tensor([(0.0625 + 0.25) / 2, 0.0]))
    losses.sum().backward()
    wanted = torch.zeros(2, 2, 2)
    wanted[0, 0] = torch.tensor([0.25, 0.5])
    torch.testing.assert_close(said.grad, wanted)


def test_pck_by_hand(tmp_path) -> None:
    (item,) = mice(tmp_path, 1)
    task = task_of([item])
    example = task.read(item, None)
    apart = float(np.hypot(*(example.points[0] - example.points[1])))
    for off, pck in ((0.09, 1.0), (0.11, 0.5)):
        said = example.points + np.array([[off * apart, 0], [0, 0]])
        output = torch.from_numpy(points_to_shares(said, SHOWN.size))
        assert task.scores(example, output)["pck"] == pck


@settings(deadline=None)
@given(
    st.integers(1, 500), st.integers(1, 500), st.floats(-0.5, 499.5), st.floats(-0.5, 499.5),
)  # fmt: skip
def test_shares_of_an_image(height, width, x, y) -> None:
    size = (height, width)
    point = np.array([x, y])
    there = points_to_shares(point, size)
    assert (0 <= there[0] <= 1) == (x <= width - 0.5)
    np.testing.assert_allclose(shares_to_points(there, size), point, rtol=1e-12, atol=1e-9)
    # resizing keeps shares
    np.testing.assert_allclose(
        points_to_shares(scale_points(point, size, (16, 20)), (16, 20)), there, atol=1e-12
    )


def test_predictions_are_of_the_pictures_own_pixels(tmp_path) -> None:
    items = mice(tmp_path)
    task = task_of(items)
    pictures = []
    for item in items:
        with Image.open(item.path) as image:
            pictures.append(np.asarray(image))
    found = predict(task.network, pictures)
    assert task.network.training  # as it was
    task.network.eval()
    for item, picture, points in zip(items, pictures, found, strict=True):
        small = squash_image(picture, SHOWN.size).astype(np.float32) / 255
        said = task.network(normalise_planes(small, SHOWN)[None])[0].detach().numpy()
        height, width = picture.shape[:2]
        wanted = said * [width, height] - 0.5
        np.testing.assert_allclose(points, wanted, atol=1e-4)
        in_network = task.predict([item])[0]
        np.testing.assert_allclose(
            scale_points(in_network, SHOWN.size, item.size), points, atol=1e-4
        )
    of_all = task.predict(items, batch_size=4)
    np.testing.assert_allclose(of_all[5], task.predict(items[5:])[0], atol=1e-4)
    assert predict(task.network, []) == []
    assert task.predict([]).shape == (0, 0, 2)


def test_it_learns_with_augmentation_and_missing_labels(tmp_path) -> None:
    items = mice(tmp_path, missing=True)
    settings = AugmentSettings(translate=0.02, brightness=0.05, noise=0.01)
    task = task_of(items, settings)
    how = FitSettings(
        stages=(make_stage("all", 60, 3e-4),),
        batch_size=3,
        monitor="val_rmse",
        threads=2,
    )
    rows = fit(FitJob(task=task, settings=how, folder=tmp_path / "run"))
    assert rows[0]["val_rmse"] > 5
    assert rows[-1]["val_rmse"] < 2
    assert 0 <= rows[-1]["val_pck"] <= 1
    assert (tmp_path / "run" / "best.pth").is_file()


def test_a_row_of_the_sheet(tmp_path) -> None:
    (item,) = mice(tmp_path, 1)
    task = task_of([item], ALL)
    row = task.sheet_row(item)
    titles = [title for title, _, _ in row]
    assert (len(titles), titles[0], titles[-1]) == (10, "as it is", "all, at random")
    first = task.read(item, 1)
    torch.testing.assert_close(normalise_planes(row[-1][1], SHOWN), first.planes)
    np.testing.assert_array_equal(row[-1][2], first.points)
    pixels, points = task.pixels(item), task.read(item, None).points
    np.testing.assert_array_equal(row[0][2], points)
    np.testing.assert_array_equal(row[1][1], pixels[:, ::-1].astype(np.float32) / 255)
    np.testing.assert_array_equal(row[1][2][::-1, 0], 19 - points[:, 0])
    for title, image, _ in row[1:]:
        assert not np.array_equal(image, row[0][1]), title
    assert [title for title, _, _ in task_of([item]).sheet_row(item)] == [
        "as it is", "all, at random",
    ]  # fmt: skip


def test_damaged_images_are_named(tmp_path) -> None:
    items = mice(tmp_path, 2)
    items[1].path.write_bytes(items[1].path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"1\.png"):
        task_of(items).read(items[1], 1)
    assert task_of(items).name(items[1]) == "1.png"
