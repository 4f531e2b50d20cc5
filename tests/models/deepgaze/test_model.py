"""DeepGaze as a model of a benchmark: checkpoints, settings, what it is shown, whole runs."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.clickmaps.geometry import Geometry, resize
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.models.base import finish_prediction
from clickmap_cli.models.building import build_model
from clickmap_cli.models.deepgaze import model as deepgaze_model
from clickmap_cli.models.deepgaze.model import DeepGazeIIEModel, DeepGazeIIIModel
from clickmap_cli.models.deepgaze.network import DeepGazeIIE, DeepGazeIII
from clickmap_cli.models.weights import load_state, seeded
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import picture
from tests.helpers.payloads import Call
from tests.models.deepgaze.test_network import one_thread, shaken  # noqa: F401 - a fixture

SIZE = (66, 71)
NAMES = {"deepgaze_iie": DeepGazeIIEModel, "deepgaze_iii": DeepGazeIIIModel}


def shown(folder: Path, size=SIZE, seed: int = 0, n: int = 6, name: str = "") -> FileStimulus:
    path = folder / f"{name or seed}.png"
    picture(path, size, seed)
    rng = np.random.default_rng(seed)
    points = Points(rng.uniform(0, size[1], n), rng.uniform(0, size[0], n))
    return FileStimulus(image_id=str(name or seed), size=size, image_path=path, points=points)


@pytest.fixture(scope="module")
def iii() -> DeepGazeIII:
    with seeded(3):
        return shaken(DeepGazeIII())


@pytest.fixture
def model(iii, monkeypatch) -> DeepGazeIIIModel:
    """DeepGaze III with the network that is there."""
    monkeypatch.setattr(DeepGazeIIIModel, "build", lambda self: iii)
    return DeepGazeIIIModel(weights="none", device="cpu", batch_size=2)


def direct(network, stimulus, bias, size=None) -> np.ndarray:
    """Return the network's prediction for an image with a central fixation."""
    planes = np.moveaxis(stimulus.image(), -1, 0)
    size = size or stimulus.size
    if size != stimulus.size:
        planes = resize(planes, size)
    image = torch.from_numpy(planes)[None] * 255
    first = [[size[1] // 2, math.nan, math.nan, math.nan]]
    second = [[size[0] // 2, math.nan, math.nan, math.nan]]
    with torch.inference_mode():
        return network(image, bias[None], torch.tensor(first), torch.tensor(second))[0].numpy()


def uniform(size) -> torch.Tensor:
    return torch.full(size, -math.log(size[0] * size[1]))


# --- what it is shown ----------------------------------------------------------------------------


def test_a_prediction_is_the_networks_log_density(tmp_path, model, iii) -> None:
    stimuli = [shown(tmp_path, (130, 128), seed) for seed in (0, 1)]
    together = model.predict_batch(stimuli)
    for stimulus, found in zip(stimuli, together, strict=True):
        wanted = direct(iii, stimulus, uniform(stimulus.size))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
        np.testing.assert_allclose(model.predict(stimulus), found, rtol=0, atol=1e-4)
        done = finish_prediction(
            found, model.output, stimulus.placement(found.shape), postprocess=True
        )
        assert np.exp(done.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_networks_get_the_files_own_pixels_and_the_centre_bias(tmp_path, model) -> None:
    stimulus = shown(tmp_path)
    planes = model._input(stimulus)
    pixels = picture(tmp_path / "again.png", SIZE, 0)
    np.testing.assert_array_equal(planes[:3], np.moveaxis(pixels, -1, 0))
    np.testing.assert_array_equal(planes[3], uniform(SIZE).numpy())


def test_a_size_that_is_required(tmp_path, iii, monkeypatch) -> None:
    monkeypatch.setattr(DeepGazeIIIModel, "build", lambda self: iii)
    size = (130, 160)
    model = DeepGazeIIIModel(weights="none", device="cpu", requires_size=list(size))
    stimulus = shown(tmp_path, (40, 50))  # smaller than the network takes
    found = model.predict(stimulus)
    np.testing.assert_allclose(found, direct(iii, stimulus, uniform(size), size), rtol=0, atol=1e-3)
    stretched = Geometry(found.shape, stimulus.size, None)
    done = finish_prediction(found, "log_density", stretched, postprocess=True)
    assert done.shape == (40, 50)
    assert np.exp(done.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_centre_biases_reach_the_network(tmp_path, model, iii, monkeypatch) -> None:
    stimuli = [shown(tmp_path, (128, 130), seed) for seed in range(3)]
    template = np.random.default_rng(0).normal(size=(9, 7))
    np.save(tmp_path / "bias.npy", template)
    found = {"uniform": model.predict(stimuli[0])}
    for setting in (str(tmp_path / "bias.npy"), "fitted"):
        other = DeepGazeIIIModel(weights="none", device="cpu", centerbias=setting)
        other.see(stimuli)
        bias = torch.from_numpy(other._bias.log_density(stimuli[0], (128, 130)))
        assert float(bias.exp().sum()) == pytest.approx(1, abs=1e-4)
        assert not torch.allclose(bias, uniform((128, 130)))
        found[setting] = other.predict(stimuli[0])
        wanted = direct(iii, stimuli[0], bias)
        np.testing.assert_allclose(found[setting], wanted, rtol=0, atol=1e-3)
    assert len({values.tobytes() for values in found.values()}) == 3


@pytest.mark.parametrize(("name", "least"), [("deepgaze_iie", 64), ("deepgaze_iii", 58)])
def test_images_that_are_too_small(tmp_path, name, least, monkeypatch) -> None:
    made = NAMES[name](weights="none", device="cpu")
    monkeypatch.setattr(made, "build", lambda: torch.nn.Linear(1, 1))
    stimulus = shown(tmp_path, (least - 1, 90))
    with pytest.raises(DataError) as caught:
        made.predict(stimulus)
    assert f"0: {name} needs images of {least} x {least} pixels" in str(caught.value)
    assert f"{least - 1} x 90" in str(caught.value)
    with pytest.raises(ConfigError, match=f"both sides must be at least {least}"):
        NAMES[name](weights="none", requires_size=[least - 1, 90])


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "set weights_path to its checkpoint, or weights: none"),
        ({"weights": "random"}, "weights is 'random'"),
        ({"weights": "none", "repo_id": "a/b"}, "repo_id is 'a/b'"),
        ({"weights": "none", "centerbias": "middle"}, "centerbias is 'middle'"),
        ({"weights": "none", "mean": [0, 0, 0]}, "unknown setting 'mean'"),
    ],
)
def test_settings_that_make_no_sense(name, given, says) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model("x", name, given, "cpu")
    assert says in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_there(name) -> None:
    with pytest.raises(DataError, match=r"no weights at none\.pth"):
        build_model("x", name, {"weights_path": "none.pth"}, "cpu")


def test_random_weights_are_reported_and_the_same_every_time() -> None:
    one, again, other = (DeepGazeIIIModel(weights="none", seed=seed) for seed in (1, 1, 2))
    assert one.notices == (
        "deepgaze_iii: random weights (weights: none); its scores mean nothing.",
    )
    assert one.weights_digest() == again.weights_digest() == "random 1" != other.weights_digest()
    key = "saliency_networks.3.conv0.weight"
    built = [model.build().state_dict()[key] for model in (one, again, other)]
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


@pytest.mark.parametrize("name", NAMES)
def test_keys_move_with_what_changes_predictions(tmp_path, name) -> None:
    (tmp_path / "a.pth").write_bytes(b"1")
    (tmp_path / "b.pth").write_bytes(b"1")
    (tmp_path / "c.pth").write_bytes(b"2")
    stimuli = [shown(tmp_path, seed=seed) for seed in (0, 1)]

    def key(**given):
        built = build_model("x", name, {"repo_id": None, **given}, "cpu")
        built.model.see(stimuli)
        return built.key(stimuli[0], True)

    base = key(weights="none")
    for same in ({"device": "cuda"}, {"batch_size": 3}, {"low_memory": True}, {"seed": 0},
                 {"requires_size": None}, {"centerbias": "uniform"}):  # fmt: skip
        assert key(weights="none", **same) == base, same
    a, b, c = (key(weights_path=str(tmp_path / f"{file}.pth")) for file in "abc")
    assert a == b
    np.save(tmp_path / "x.npy", np.zeros((3, 3)))
    changed = [
        key(weights="none", seed=1),
        key(weights="none", requires_size=[64, 64]),
        key(weights="none", centerbias="fitted"),
        key(weights="none", centerbias=str(tmp_path / "x.npy")),
    ]
    assert len({base, a, c, *changed}) == 7
    fitted = key(weights="none", centerbias="fitted")
    stimuli[1] = shown(tmp_path, seed=1, n=7)
    assert key(weights="none", centerbias="fitted") != fitted
    assert key(weights="none") == base


def test_the_other_name_of_iii_shares_its_predictions(tmp_path) -> None:
    stimulus = shown(tmp_path)
    keys = {
        build_model("x", name, {"weights": "none"}, "cpu").key(stimulus, True)
        for name in ("deepgaze_iii", "deepgaze_v3")
    }
    assert len(keys) == 1


def test_low_memory_keeps_the_weights_at_home(tmp_path, model, iii, monkeypatch) -> None:
    stimulus = shown(tmp_path)
    low = DeepGazeIIIModel(weights="none", device="cpu", low_memory=True)
    np.testing.assert_array_equal(low.predict(stimulus), model.predict(stimulus))
    monkeypatch.setattr(deepgaze_model, "choose_device", lambda wanted: "meta")
    away = DeepGazeIIIModel(weights="none", low_memory=True)
    network = away.network()
    assert away._on == "meta"  # where images go
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert not network.training


# --- checkpoints ---------------------------------------------------------------------------------


def legacy(path: Path, what) -> Path:
    """As the official checkpoints are written."""
    torch.save(what, path, _use_new_zipfile_serialization=False)
    return path


def test_a_checkpoint_of_iie_as_the_official_one_is(tmp_path) -> None:
    """420 MB, the size of the real one."""
    with seeded(9):
        network = shaken(DeepGazeIIE())
    path = legacy(tmp_path / "deepgaze2e.pth", network.state_dict())
    stimulus = shown(tmp_path)
    image = torch.from_numpy(np.moveaxis(stimulus.image(), -1, 0))[None].mul(255).round()
    with torch.inference_mode():
        wanted = network(image, uniform(SIZE)[None])[0].numpy()
    del network
    model = DeepGazeIIEModel(str(path), device="cpu")
    assert model.notices == ()
    assert len(model.weights_digest()) == 64
    model.prepare()
    path.unlink()
    np.testing.assert_array_equal(model.predict(stimulus), wanted)


def test_a_checkpoint_of_iii_as_the_official_one_is(tmp_path, iii) -> None:
    path = legacy(tmp_path / "deepgaze3.pth", iii.state_dict())
    model = DeepGazeIIIModel(str(path), device="cpu")
    built = model.build().state_dict()
    path.unlink()
    assert all(torch.equal(value, built[key]) for key, value in iii.state_dict().items())
    model._network, model._on = iii, "cpu"
    assert model.predict(shown(tmp_path)).shape == SIZE


NORM = "saliency_networks.0.layernorm0.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop(NORM), f"it lacks {NORM}"),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), "it has unknown extra.weight"),
        (lambda s: s.update({NORM: torch.zeros(7)}), f"shapes: {NORM} [7] for [2048]"),
        (lambda s: [s.pop(k) for k in list(s) if ".gauss." in k],
         "0.gauss.sigma, finalizers.1.gauss.sigma, finalizers.2.gauss.sigma and 7 more"),
        (lambda s: s.update({"finalizers.4.gauss.sigma": torch.tensor(0.0)}),
         "finalizers.4.gauss.sigma is 0"),
        (lambda s: s.update({"finalizers.4.gauss.sigma": torch.tensor(math.nan)}), "sigma is nan"),
        (lambda s: s.update({"finalizers.4.gauss.sigma": torch.tensor(1e9)}), "sigma is 1e+09"),
    ],
)  # fmt: skip
def test_checkpoints_that_do_not_fit(tmp_path, iii, monkeypatch, change, says) -> None:
    state = dict(iii.state_dict())
    change(state)
    path = tmp_path / "w.pth"
    path.write_bytes(b"stands for the state")
    monkeypatch.setattr(deepgaze_model, "read_state", lambda _path: state)
    with pytest.raises(DataError) as caught:
        DeepGazeIIIModel(str(path)).build()
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    "made",
    [
        {"state_dict": {"a": Call(print, ["ran"])}},
        {"a": torch.zeros(2), "b": Call(print, ["ran"])},
        torch.nn.Linear(1, 1),
        {"a": "text"},
        [],
        torch.zeros(2),
    ],
)
def test_files_that_hold_more_than_tensors(tmp_path, made, old, capsys, monkeypatch) -> None:
    path = tmp_path / "w.pth"
    torch.save(made, path, _use_new_zipfile_serialization=not old)
    monkeypatch.setattr(DeepGazeIIIModel, "network_class", lambda: torch.nn.Linear(1, 1))
    with pytest.raises(DataError, match=r"w\.pth") as caught:
        DeepGazeIIIModel(str(path)).build()
    assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


def test_another_networks_checkpoint(tmp_path, iii) -> None:
    with pytest.raises(
        DataError, match=r"not the weights of DeepGazeIII; it lacks .* more; it has"
    ):
        load_state(iii, torch.nn.Linear(1, 1).state_dict(), tmp_path)


# --- a whole run ---------------------------------------------------------------------------------


def invoke(*words):
    return CliRunner().invoke(app, ["benchmark", *(str(word) for word in words)])


def corpus(folder: Path) -> Path:
    with (folder / "fix.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "subject", "order", "x", "y"))
        for seed, size in enumerate(((64, 80), (70, 64), (40, 64))):
            picture(folder / "images" / f"{seed}.png", size, seed)
            rng = np.random.default_rng(seed)
            for order in range(12):
                x, y = rng.uniform(0, size[1] - 1), rng.uniform(0, size[0] - 1)
                writer.writerow((f"{seed}.png", "abc"[order % 3], order, round(x, 1), round(y, 1)))
    return folder


def test_a_benchmark(tmp_path) -> None:
    data = corpus(tmp_path)
    sets = f"datasets=[{{name: fixations_csv, csv: {data / 'fix.csv'}, images: {data / 'images'}}}]"
    models = (
        "models=[{name: deepgaze_iie, weights: none, centerbias: fitted, batch_size: 2}, "
        "{name: deepgaze_v3, weights: none, centerbias: fitted, low_memory: true, repo_id: null}]"
    )
    words = [models, sets, "n_jobs=1", "metrics=[NSS,IG,CC]", "heatmaps_png.enabled=false",
             "report_images=1", "null_iterations=2", "cache_predictions=true"]  # fmt: skip
    out = tmp_path / "out"
    ended = invoke("--output", out, "--device", "cpu", *words)
    said = " ".join(ended.output.split())
    assert ended.exit_code in (0, 1), ended.output
    for name in ("deepgaze_iie", "deepgaze_iii"):
        assert f"{name}: random weights" in said
    summary = json.loads((out / "summary.json").read_text())
    failed = {(row["model"], row["image_id"]) for row in summary["failures"]}
    assert failed == {("deepgaze_iie", "2"), ("deepgaze_v3", "2")}
    assert all("pixels or more" in row["reason"] for row in summary["failures"])
    for name in ("deepgaze_iie", "deepgaze_v3"):
        with (out / f"fixations_csv__{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["image_id"] for row in rows] == ["0", "1"]
        for row in rows:
            # with random weights it is the centre bias, smoothed: next to what IG starts from
            assert abs(float(row["IG"])) < 1.5
            assert all(math.isfinite(float(row[metric])) for metric in ("NSS", "CC"))
