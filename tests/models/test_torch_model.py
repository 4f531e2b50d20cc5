"""Networks: what they are given, what they give back, and files that hold them."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from clickmap_cli.config.fields import read_settings
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.building import build_model
from clickmap_cli.models.torch_model import IMAGENET_MEAN, IMAGENET_STD, TorchSaliencyModel
from clickmap_cli.models.torchscript import TorchScript
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from tests.datasets.scenes import picture

SIZE = (12, 16)
GPU = torch.cuda.is_available()


class Red(torch.nn.Module):
    """The first channel as it comes in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0]


class Odd(torch.nn.Module):
    """Depends on its mode, and on every part of the image; (n, 1, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.norm.running_mean = torch.tensor([0.1, -0.2, 0.3, 0.0])
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # a tensor made inside the network must be on its device too
        along = torch.arange(x.shape[3], device=x.device) / 10
        return self.drop(self.norm(self.conv(x))).mean(1, keepdim=True) + along


class Colours(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Numbers(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3))


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, 0], x[:, 1]


class First(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:1, 0]


def scripted(path: Path, network: torch.nn.Module) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that scripting is deprecated
        torch.jit.script(network).save(str(path))
    return str(path)


def exported(path: Path, network: torch.nn.Module) -> str:
    sides = {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros(2, 3, 8, 10),)
        torch.export.save(
            torch.export.export(network.eval(), example, dynamic_shapes=(sides,)), path
        )
    return str(path)


WRITERS = {".pt": scripted, ".pt2": exported}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """Writes a network into a file of one of the two kinds."""
    return lambda network: WRITERS[request.param](tmp_path / f"network{request.param}", network)


def shown(folder: Path, n: int = 1, size=SIZE) -> list[FileStimulus]:
    for seed in range(n):
        picture(folder / f"{seed}.png", size, seed)
    return [
        FileStimulus(image_id=str(seed), size=size, image_path=folder / f"{seed}.png")
        for seed in range(n)
    ]


def planes(stimulus) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(stimulus.image(), -1, 0).astype(np.float64))


def test_networks_see_normalised_images(tmp_path, written) -> None:
    (stimulus,) = shown(tmp_path)
    red = planes(stimulus)[0].numpy()
    path = written(Red())
    found = TorchScript(path, device="cpu").predict(stimulus)
    np.testing.assert_allclose(found, (red - 0.485) / 0.229, atol=1e-5)
    own = TorchScript(path, device="cpu", mean=[0.5, 0, 0], std=[2, 1, 1]).predict(stimulus)
    np.testing.assert_allclose(own, (red - 0.5) / 2, atol=1e-6)
    none = TorchScript(path, device="cpu", mean=[0, 0, 0], std=[1, 1, 1]).predict(stimulus)
    np.testing.assert_allclose(none, red, atol=1e-6)
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("requires_size", [[8, 10], [30, 20], 11])
def test_networks_get_the_size_they_require(tmp_path, written, requires_size) -> None:
    stimuli = [*shown(tmp_path), *shown(tmp_path / "other", size=(9, 9))]
    size = (11, 11) if requires_size == 11 else tuple(requires_size)
    model = TorchScript(
        written(Red()), requires_size=requires_size, device="cpu", mean=[0, 0, 0], std=[1, 1, 1]
    )
    for stimulus, found in zip(stimuli, model.predict_batch(stimuli), strict=True):
        wanted = torch.nn.functional.interpolate(
            planes(stimulus)[None], size=size, mode="bilinear", antialias=True
        )[0, 0]
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_evaluation_mode_and_an_axis_of_channels(tmp_path, written) -> None:
    (stimulus,) = shown(tmp_path)
    network = Odd()
    with torch.inference_mode():
        mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        wanted = network.eval()(((planes(stimulus) - mean) / std).float()[None])[0, 0].numpy()
    network.train()  # as some are when they are saved
    model = TorchScript(written(network), device="cpu")
    for _ in range(2):  # no dropout, and no statistics that move
        np.testing.assert_allclose(model.predict(stimulus), wanted, atol=1e-5)


def test_several_at_once_are_as_one_by_one(tmp_path, written) -> None:
    stimuli = shown(tmp_path, 5)
    model = TorchScript(written(Odd()), device="cpu", batch_size=5)
    together = model.predict_batch(stimuli)
    assert len(together) == 5
    for stimulus, found in zip(stimuli, together, strict=True):
        np.testing.assert_allclose(found, model.predict(stimulus), atol=1e-5)
    assert not np.allclose(together[0], together[1])


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Colours(), "the network returns 3 maps an image"),
        (Numbers(), "does not return one map an image"),
        (Pair(), "does not return one map an image"),
    ],
)
def test_networks_that_return_something_else(tmp_path, written, network, says) -> None:
    model = TorchScript(written(network), device="cpu")
    with pytest.raises(DataError, match=says):
        model.predict(*shown(tmp_path))


def test_a_network_that_returns_fewer_maps_than_images(tmp_path) -> None:
    model = TorchScript(scripted(tmp_path / "n.pt", First()), device="cpu", batch_size=3)
    with pytest.raises(DataError, match=r"the shape \(1, 12, 16\) for 3 images"):
        model.predict_batch(shown(tmp_path, 3))


@pytest.mark.parametrize("name", ["a.pt", "a.pt2"])
@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04cut"])
def test_a_file_that_holds_no_network(tmp_path, name, content) -> None:
    (tmp_path / name).write_bytes(content)
    model = TorchScript(str(tmp_path / name), device="cpu")
    with pytest.raises(DataError, match=f"{name}: not a scripted or exported network") as caught:
        model.prepare()
    assert "\n" not in str(caught.value)


def test_arrays_of_numpy_are_named_for_what_they_are(tmp_path) -> None:
    with (tmp_path / "a.pt").open("wb") as file:
        np.savez(file, w=np.ones(3))
    model = TorchScript(str(tmp_path / "a.pt"), device="cpu")
    with pytest.raises(DataError, match=r"exported network \(an \.npz archive of NumPy arrays"):
        model.prepare()


def test_a_damaged_file_is_one_sentence_and_nothing_else(tmp_path, capfd) -> None:
    """torch itself logs whole tracebacks."""
    path = Path(exported(tmp_path / "n.pt2", Red()))
    path.write_bytes(path.read_bytes().replace(b"archive_version", b"archive_versiox"))
    capfd.readouterr()
    with pytest.raises(DataError, match="not a scripted or exported network"):
        TorchScript(str(path), device="cpu").prepare()
    assert tuple(capfd.readouterr()) == ("", "")
    assert logging.root.manager.disable == 0


@pytest.mark.parametrize("ending", WRITERS)
def test_weights_alone_are_not_network(tmp_path, ending) -> None:
    path = tmp_path / f"weights{ending}"
    torch.save(Odd().state_dict(), path)
    with pytest.raises(DataError, match="not a scripted or exported network"):
        TorchScript(str(path), device="cpu").prepare()


class Own(TorchSaliencyModel):
    """A network of somebody's own."""

    built = 0

    def build(self) -> torch.nn.Module:
        self.built += 1
        return Odd()

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        assert not network.training
        assert torch.is_inference_mode_enabled()
        self.seen = images.dtype
        maps: torch.Tensor = network(images)
        self.given = network.conv(images).dtype
        return maps[:, 0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtypes(tmp_path, dtype) -> None:
    (stimulus,) = shown(tmp_path)
    model = Own(device="cpu", dtype=dtype)
    found = model.predict(stimulus)
    assert (model.seen, model.given) == (torch.float32, getattr(torch, dtype))
    assert found.dtype == np.float32
    exact = Own(device="cpu").predict(stimulus)
    np.testing.assert_allclose(found, exact, atol=0.05 if dtype == "bfloat16" else 0)
    assert np.array_equal(found, exact) is (dtype == "float32")


def test_a_network_is_built_once_and_let_go(tmp_path) -> None:
    (stimulus,) = shown(tmp_path)
    model = Own(device="cpu")
    assert model.built == 0
    model.prepare()
    model.predict(stimulus)
    model.predict(stimulus)
    assert model.built == 1
    model.release()
    model.predict(stimulus)
    assert model.built == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dtype": "int8"}, "dtype is 'int8'; it must be one of float32, float16, bfloat16"),
        ({"batch_size": 0}, "batch_size is 0; the least allowed is 1"),
        ({"requires_size": [1]}, "requires_size is"),
        ({"mean": [1, 2]}, "mean is .*; it must hold 3 values"),
        ({"std": []}, "std is .*; it must hold 3 values"),
    ],
)
def test_settings_that_make_no_sense(settings, says) -> None:
    with pytest.raises(ConfigError, match=says):
        read_settings(Own, settings, "model x")


def test_settings_of_files(tmp_path) -> None:
    path = scripted(tmp_path / "a.pt", Red())
    assert TorchScript(path, output="density").output == "density"
    with pytest.raises(ConfigError, match="output is 'x'; it must be one of map, density, log_d"):
        build_model("x", "torchscript", {"weights_path": str(path), "output": "x"}, "cpu")
    with pytest.raises(DataError, match=r"no file at .*none\.pt"):
        TorchScript(str(tmp_path / "none.pt"))
    for empty in (None, ""):
        with pytest.raises(ConfigError, match="set weights_path"):
            build_model("x", "torchscript", {"weights_path": empty}, "cpu")


def test_the_weights_count_by_their_content(tmp_path) -> None:
    one, other = scripted(tmp_path / "a.pt", Odd()), scripted(tmp_path / "b.pt", Red())
    copy = tmp_path / "c.pt"
    copy.write_bytes(Path(one).read_bytes())
    digests = [TorchScript(str(path)).weights_digest() for path in (one, copy, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "device",
    ["mps", "tpu", pytest.param("cuda", marks=pytest.mark.skipif(GPU, reason="there is one"))],
)
def test_a_device_that_is_not_there_is_a_sentence(tmp_path, device) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one")
    model = Own(device=device)  # a config may name it: predictions may all be kept already
    with pytest.raises(RunError, match=f"{device}: this machine has no such device"):
        model.prepare()


def test_an_exported_network_makes_its_tensors_on_the_device(tmp_path) -> None:
    """It was exported on the CPU; `meta` stands for a device that is everywhere."""
    model = TorchScript(exported(tmp_path / "n.pt2", Odd()))
    for on in ("cpu", "meta"):
        model._on = on
        made = [
            str(node.kwargs["device"])
            for node in model.build().graph.nodes
            if node.kwargs.get("device") is not None
        ]
        assert made == [on]


@pytest.mark.skipif(not GPU, reason="no GPU")
@pytest.mark.parametrize("ending", WRITERS)
def test_a_gpu_gives_the_same(tmp_path, ending) -> None:
    path = WRITERS[ending](tmp_path / f"n{ending}", Odd())
    stimuli = shown(tmp_path, 3)
    there = TorchScript(path, device="cuda", batch_size=3).predict_batch(stimuli)
    here = TorchScript(path, device="cpu", batch_size=3).predict_batch(stimuli)
    np.testing.assert_allclose(there, here, atol=1e-2)


class Payload:
    """Unpickled by the plain loader, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_program_in_an_exported_file_does_not_run(tmp_path) -> None:
    good = Path(exported(tmp_path / "n.pt2", Red()))
    touched, bad = tmp_path / "touched", tmp_path / "bad.pt2"
    swapped = 0
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(bad, "w") as out:
        for name in archive.namelist():
            data = archive.read(name)
            if data[:4] == b"PK\x03\x04":
                buffer = io.BytesIO()
                torch.save(((Payload(touched),), {}), buffer)
                data, swapped = buffer.getvalue(), swapped + 1
            out.writestr(name, data)
    assert swapped
    with pytest.raises(DataError, match=r"bad\.pt2"):
        TorchScript(str(bad)).build()
    assert not touched.exists()
    TorchScript(str(good)).build()
