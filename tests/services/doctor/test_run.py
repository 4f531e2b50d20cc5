"""What `doctor` says of a config is what a run of it would meet."""

from __future__ import annotations

import itertools
import json
import socket
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clickmap_cli
from clickmap_cli.config.loading import BENCHMARK, BY_TASK, EXPERIMENT, load_experiment
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.machine import Disk, Gpus, Package
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.data import tools as data_tools
from clickmap_cli.services.doctor import config as doctor_config
from clickmap_cli.services.doctor import run as doctor
from clickmap_cli.services.prepare import run as prepare
from tests.helpers.studies import random_rows, write_csv

ROOT = Path(clickmap_cli.__file__).parents[1]


def machine_of(
    missing: tuple[str, ...] = (), broken: dict[str, str] | None = None, gpus: Gpus | None = None,
    cores: int = 64,
) -> dict[str, Any]:  # fmt: skip
    """A machine; `missing` extras are not installed."""
    broken = broken or {}
    gpus = gpus or Gpus(problem=broken.get("torch", ""))
    lacks = {name: f"{name} is not installed" for name in missing}
    return {"broken": broken, "missing": lacks, "gpus": gpus, "cores": cores}


def findings(
    path: Path | None, *words: str, about: dict[str, Any] | None = None
) -> tuple[list[str], list[str]]:
    """Problems and notes."""
    _, found = doctor_config.examine(path, words, Silent(), **(about or machine_of()))
    return found.problems, found.notices


def only(texts: Sequence[str], *parts: str) -> None:
    """There is one text, and it says this."""
    assert len(texts) == 1, texts
    for part in parts:
        assert part in texts[0]


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Path:
    """A config that runs: 4 images, 12 trials each."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "trials.csv", random_rows(0, images=4, users=12))
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "clickme_data: trials.csv\nimage_shape: [32, 32]\nkernel_type: circle\n"
        "display_image_keys: null\nn_jobs: 1\n"
    )
    return path


def test_a_config_that_runs_has_no_problem(experiment) -> None:
    assert findings(experiment) == ([], [])
    config = load_experiment(experiment).config
    prepare.run(config, Silent(), lambda _: None)
    problems, notes = findings(experiment)
    assert problems == []
    only(notes, "assets/experiment", "--resume")
    assert findings(None, "clickme_data=assets/experiment", "image_shape=[32,32]")[0] == []


def test_every_missing_input_is_named(experiment) -> None:
    words = [
        "clickme_data=none.csv", "metadata_file=sizes.json", "class_filter_file=c.txt",
        "participant_filter=q.pt", "mask_dir=masks",
    ]  # fmt: skip
    problems, _ = findings(experiment, *words)
    names = ["clickme_data", "metadata_file", "class_filter_file", "participant_filter", "mask_dir"]
    assert [text.split(":")[0] for text in problems] == names
    only(findings(None)[0], "clickme_data is not set")
    (experiment.parent / "folder").mkdir()
    only(findings(experiment, "clickme_data=folder")[0], "holds no trials.npz; run prepare first")
    only(findings(experiment, f"clickme_data={'x' * 5000}")[0], "File name too long")


def test_a_table_that_cannot_be_used_is_a_problem(experiment) -> None:
    only(findings(experiment, "category_column=kind")[0], "category_column")
    only(findings(experiment, "min_subjects=13")[0], "4 images with 48 trials", "min_subjects (13)")
    (experiment.parent / "trials.csv").write_text("a,b\n1,2\n")
    only(findings(experiment)[0], "no column image_path")
    (experiment.parent / "sizes.json").write_text("[]")
    only(findings(experiment, "metadata_file=sizes.json")[0], "sizes.json")


def test_a_wrong_config_is_an_error_of_its_own(experiment) -> None:
    with pytest.raises(ConfigError, match="blur_size"):
        findings(experiment, "blur_sise=3")


def test_images_that_are_not_in_their_folder_are_a_note(experiment) -> None:
    photos = experiment.parent / "photos"
    for name in ("cat0/0.png", "cat1/1.png", "cat0/2.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"")
    problems, notes = findings(experiment, "image_dir=photos")
    assert problems == []
    only(notes, "1 of 4 images", "cat1/3.png")
    only(findings(experiment, "image_dir=gone")[1], "4 of 4 images", "only pictures need them")


@pytest.mark.parametrize(
    ("device", "gpus", "says"),
    [
        ("cuda", Gpus(), "shows no NVIDIA GPU"),
        ("cuda", Gpus(driver=("A100",)), "built without CUDA"),
        ("mps", Gpus(), "no Apple GPU"),
        ("cuda", Gpus(cuda=(("A100", 1),)), None),
        ("mps", Gpus(mps=True), None),
        ("cpu", Gpus(), None),
        ("auto", Gpus(), None),
    ],
)
def test_a_device_that_is_not_there(experiment, monkeypatch, device, gpus, says) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    problems, _ = findings(experiment, f"device={device}", about=machine_of(gpus=gpus))
    if says is None:
        assert problems == []
    else:
        only(problems, f"device: {device}", says)


def test_more_workers_than_cores_and_blurring_without_a_gpu_are_notes(experiment) -> None:
    problems, notes = findings(experiment, "n_jobs=7", about=machine_of(cores=4))
    assert problems == []
    only(notes, "n_jobs: 7", "set n_jobs=4")
    only(findings(experiment, "use_gpu_blurring=true")[1], "use_gpu_blurring", "CPU")


def test_a_cluster_must_answer(experiment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"scheduler=tcp://127.0.0.1:{server.getsockname()[1]}"
        assert findings(experiment, "backend=dask", address) == ([], [])
        about = machine_of(missing=("dask",))
        only(findings(experiment, "backend=dask", address, about=about)[0], "clickmap[dask]")
    only(findings(experiment, "backend=dask", address)[0], "scheduler", "refused")


def test_extras_that_the_config_asks_for(experiment) -> None:
    words = ("metric=[spearman,emd]",)
    assert findings(experiment, *words)[0] == []
    about = machine_of(missing=("emd", "wandb"))
    only(findings(experiment, *words, about=about)[0], "pip install 'clickmap[emd]'")
    assert findings(experiment, about=about)[0] == []


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    data_tools.toy(Path("toy"), 3, 0, Silent())
    return Path("toy/benchmark.yaml")


def test_a_benchmark_that_runs_and_ones_that_do_not(toy, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert findings(toy) == ([], [])
    about = machine_of(missing=("emd",))
    only(findings(toy, "metrics=[CC,EMD]", about=about)[0], "clickmap[emd]")
    only(findings(toy, "datasets.0.csv=none.csv")[0], "data set toy", "none.csv")
    only(findings(toy, "models=[centre_bias]")[0], "model centre_bias", "center_bias")
    only(
        findings(toy, "models=[{name: old, type: precomputed, root: gone}]")[0], "model old", "gone"
    )
    Path("maps").mkdir()
    old = "models=[{name: old, type: precomputed, root: maps}]"
    only(findings(toy, old)[0], "model old: 0 of 3 images of toy have a map in maps")
    image = sorted(Path("toy/images").iterdir())[0]
    np.save(f"maps/{image.stem}.npy", np.eye(128))
    only(findings(toy, old)[0], "model old: 1 of 3 images of toy have a map in maps")
    problems, notes = findings(toy, old, "max_lost=0.7")
    assert problems == []
    only(notes, "model old: 1 of 3 images of toy have a map in maps")
    assert findings(toy, old, "limit_images=1") == ([], [])
    np.save(f"maps/{image.stem}.npy", -np.ones((128, 128)))
    only(findings(toy, old, "limit_images=1")[1], "clipping at 0 would leave nothing")
    assert findings(toy, old, "limit_images=1", "postprocess=false") == ([], [])
    missing = "models=[{name: net, type: torchscript, weights_path: net.pt}]"
    only(findings(toy, missing)[0], "model net", "net.pt")
    away = "models=[{name: blur_baseline, sigma: 3}]"
    only(findings(toy, away)[0], "model blur_baseline", "unknown setting")
    only(findings(toy, "plugins=[mine.py]")[0], "mine.py")
    only(findings(toy, "prediction_cache_dir=/proc/self/x")[0], "prediction_cache_dir")
    broken = machine_of(broken={"torch": "ImportError: libfoo"})
    problems, notes = findings(toy, "models=[centre_bias]", about=broken)
    assert problems == []
    only(notes, "before torch")


def test_a_models_own_device_and_downloads(toy, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    own = "models=[{name: gradient, model: resnet18, weights: timm, device: 'cuda:1'}]"
    problems, notes = findings(toy, own)
    only(problems, "model gradient: device: cuda:1", "no NVIDIA GPU")
    only(notes, "weights (timm, resnet18) are")
    one = machine_of(gpus=Gpus(cuda=(("A100", 1),)))
    only(findings(toy, own, about=one)[0], "there are 1 GPUs")
    two = machine_of(gpus=Gpus(cuda=(("A100", 1), ("A100", 1))))
    assert findings(toy, own, about=two)[0] == []


def test_damaged_images_of_a_data_set_are_a_note(toy) -> None:
    next(Path("toy/images").glob("*.png")).write_bytes(b"no image")
    problems, _ = findings(toy)  # a third of the images: more than a run may lose
    only(problems, "1 of 3 images cannot be used")
    problems, notes = findings(toy, "max_lost=0.5")
    assert problems == []
    assert any("1 of 3 images cannot be used" in text for text in notes)
    assert any("A run would leave out 1 of its items" in text for text in notes)


def test_a_fine_tuning(toy, tmp_path) -> None:
    path = tmp_path / "finetune.yaml"
    path.write_text(
        "task: saliency\nmodel: {name: readout, backbone: resnet18, weights: none}\ndatasets:\n"
        "  - {name: fixations_csv, csv: toy/fixations.csv, images: toy/images}\n"
        "cv: {folds: 3}\n"
    )
    problems, notes = findings(path)
    assert problems == []
    assert any("train on the CPU" in text for text in notes)
    about = machine_of(missing=("wandb", "tensorboard"))
    problems, _ = findings(
        path, "wandb.enabled=true", "tensorboard=true", "gt_cache_dir=gt", "cv.holdout=h.txt",
        "cv.fold_files=[a.txt]", about=about,
    )  # fmt: skip
    parts = ("tensorboard: true", "wandb.enabled: true", "at a.txt", "at h.txt", "gt_cache_dir")
    assert [part for part in parts if not any(part in text for text in problems)] == []
    assert len(problems) == len(parts)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cv.folds=4"], "Fold 4 is empty"),
        (["cv.group_by=category"], "cv.group_by is category"),
        (["cv.val_share=0.9", "cv.folds=3"], "has no image to train on"),
        (["limit_images=1", "cv.folds=2"], "Fold 2 is empty"),
        (["model.backbone=test_resnett"], "timm has no network 'test_resnett'"),
        (["model.layers=[layer9]"], "there is no layer 'layer9'"),
        (["freeze={blocks: [fixation_selection]}"], "has no block 'fixation_selection'"),
    ],
)
def test_a_fine_tuning_that_would_stop_at_its_start(toy, tmp_path, words, says) -> None:
    path = tmp_path / "finetune.yaml"
    path.write_text(
        "task: saliency\nmodel: {name: readout, backbone: test_resnet, weights: timm}\ndatasets:\n"
        "  - {name: fixations_csv, csv: toy/fixations.csv, images: toy/images}\n"
        "cv: {folds: 3}\n"
    )
    assert findings(path)[0] == []
    only(findings(path, *words)[0], says)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            "name: gradient, model: test_vit, requires_size: [33, 33]",
            "multiples of the network's patches",
        ),
        ("name: vit_attention, model: test_resnet", "is not a transformer"),
        (
            "name: eigencam, backbone: resnet188, layers: [layer4]",
            "there is no network 'resnet188'",
        ),
        ("name: eigencam, backbone: test_resnet, layers: [nope]", "there is no layer 'nope'"),
    ],
)
def test_networks_that_would_stop_a_benchmark_at_its_first_image(toy, entry, says) -> None:
    only(findings(toy, f"models=[{{{entry}, weights: none}}]")[0], says)
    only(findings(toy, f"models=[{{{entry}, weights: timm}}]")[0], says)


def test_key_points_look_below_their_root_directory_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "keypoints.yaml"
    path.write_text("train_csv_file: labels.csv\npretrained_dir: timm\nuse_wandb: true\n")
    about = machine_of(gpus=Gpus(mps=True))
    only(findings(path, about=about)[0], "train_csv_file", "labels.csv")
    labelled(tmp_path / "below")
    only(findings(path, "root_directory=nowhere", about=about)[0], "nor at nowhere/labels.csv")
    problems, notes = findings(path, "root_directory=below", about=about)
    assert problems == []
    assert notes[0] == "keypoints.yaml sets no task: it is read as task: keypoints."
    about_weights = "pretrained_dir: its weights (timm, vit_base_patch16_224.orig_in21k) are"
    assert any(text.startswith(about_weights) for text in notes)
    only(findings(path, "root_directory=below", about=machine_of(missing=("wandb",)))[0], "wandb")
    (tmp_path / "below/w.npz").write_bytes(b"")  # which a run would not find there
    problems, _ = findings(path, "root_directory=below", "pretrained_dir=w.npz", about=about)
    only(problems, "no weights at w.npz")
    problems, notes = findings(path, "root_directory=below", "pretrained_dir=none", about=about)
    assert problems == []
    assert not any("pretrained_dir" in text for text in notes)


def labelled(folder: Path, n: int = 4) -> Path:
    """Images and the labels of two key points."""
    folder.mkdir()
    rows = ["image,eye top x,eye top y,eye bottom x,eye bottom y"]
    for at in range(n):
        Image.new("RGB", (20, 20)).save(folder / f"{at}.png")
        rows.append(f"{at}.png,3,4,9,{at}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], None),
        (["model_type=ViT-B_17"], "timm has no network 'ViT-B_17'. Did you mean 'ViT-B_16'"),
        (["img_size=225"], "img_size is [225, 225]; its sides must be multiples of"),
        (["model_type=levit_128s", "img_size=200"], "takes images of [224, 224] only"),
        (["n_KPs=5"], "n_KPs is 5, and labels/labels.csv labels 2 key points"),
        (["reference_points=[0,7]"], "counted from 0 to 1"),
        (["train_csv_file=labels/0.png"], "labels/0.png"),
    ],
)
def test_a_key_point_training_that_would_stop_at_its_start(
    tmp_path, monkeypatch, words, says
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "labels")
    path = tmp_path / "keypoints.yaml"
    path.write_text("train_csv_file: labels/labels.csv\n")
    problems, _ = findings(path, *words)
    assert problems == [] if says is None else len(problems) == 1
    assert says is None or says in problems[0]
    both, _ = findings(path, "model_type=ViT-B_17", "n_KPs=5")
    assert len(both) == 2


def maps_of(folder: Path, participants: int = 6, side: int = 20) -> Path:
    """Maps of two classes, two of each participant and class."""
    for label, person, at in itertools.product("CP", range(participants), range(2)):
        path = folder / f"{label}/p{person}/{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, side), 9 * person).save(path)
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], None),
        (["model.name=test_resnet", "model.weights=timm"], None),  # nothing is downloaded
        (["model.name=resnet5O"], "timm has no network 'resnet5O'"),
        (["data.size=[12,12]"], "images of [12, 12] are too small"),
        (
            ["model.name=test_vit", "data.size=[4000,8]"],
            "size is [4000, 8]; its sides must be multiples of",
        ),
        (["cv.outer_kfolds=7"], "7"),
        (["data.classes=[C,Q]"], "'Q'"),
    ],
)
def test_a_study_of_maps_that_would_stop_at_its_start(tmp_path, monkeypatch, words, says) -> None:
    monkeypatch.chdir(tmp_path)
    maps_of(tmp_path / "maps")
    path = tmp_path / "study.yaml"
    path.write_text(
        "task: classifier\ndata: {root: maps}\ncv: {outer_kfolds: 3, inner_kfolds: 2}\n"
        "model: {name: base}\n"
    )
    problems, _ = findings(path, *words)
    assert problems == [] if says is None else len(problems) == 1, problems
    assert says is None or says in problems[0]


def test_maps_that_are_left_out_are_a_note(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (maps_of(tmp_path / "maps") / "C/p0/0.png").write_bytes(b"no map")
    path = tmp_path / "study.yaml"
    path.write_text(
        "task: classifier\ndata: {root: maps}\ncv: {outer_kfolds: 3, inner_kfolds: 2}\n"
    )
    problems, notes = findings(path)
    assert problems == []
    assert any("1 of 24 maps cannot be read (4%)" in text for text in notes)


def test_too_few_known_people_for_the_folds(experiment, tmp_path) -> None:
    quality = tmp_path / "quality.yaml"
    good, bad = ([f"u{k}" for k in part] for part in (range(8), range(8, 12)))
    quality.write_text(
        "task: participant_quality\n"
        f"data: {{experiment: experiment.yaml, good_users: {good}, bad_users: {bad}}}\nfolds: 4\n"
    )
    assert findings(quality)[0] == []
    only(findings(quality, "folds=5")[0], "bad_users lists 4 participants", "one of 5 folds")
    only(findings(quality, "data.bad_users=[u1,u2]")[0], "both list 'u1', 'u2'")


def test_classifiers(experiment, tmp_path) -> None:
    maps = tmp_path / "maps.yaml"
    maps.write_text("task: classifier\ndata: {root: maps, labels: l.csv}\n")
    problems, _ = findings(maps)
    assert [text.split(":")[0] for text in problems] == ["data.root", "data.labels"]
    quality = tmp_path / "quality.yaml"
    quality.write_text(
        "task: participant_quality\n"
        "data: {experiment: experiment.yaml, good_users: g.txt, bad_users: [u1]}\n"
    )
    only(findings(quality)[0], "data.good_users")
    (tmp_path / "g.txt").write_text("u0\n")
    (tmp_path / "trials.csv").unlink()
    only(findings(quality)[0], "data.experiment: clickme_data", "trials.csv")


def test_every_kind_of_config_is_known() -> None:
    schemas = {schema.type for schema in (EXPERIMENT, BENCHMARK, *BY_TASK.values())}
    assert set(doctor_config.KINDS) == schemas


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {*doctor.ENABLES, "dev", "fuzz", "all"}


@pytest.fixture
def machine_with(monkeypatch):
    """A run of doctor where every package imports, or says so, and the disk has some room."""

    def made(problems: dict[str, str] | None = None, free: int | None = 1 << 40, problem: str = ""):
        found = problems or {}, Gpus(problem=(problems or {}).get("torch", ""))
        monkeypatch.setattr(doctor, "probe", lambda _: found)
        monkeypatch.setattr(
            doctor.machine, "disk", lambda folder: Disk(folder, free, 1e9, 1e9, problem)
        )

    return made


def test_a_machine_without_a_config(machine_with) -> None:
    machine_with()
    found = doctor.run(None, (), None, Silent())
    assert (found.problems, found.notes) == ((), ())
    assert {"clickmap", "python", "numpy", "torch"} <= set(found.versions)
    assert set(found.extras) == set(doctor.ENABLES)
    assert found.disk.folder == Path()


def test_a_package_that_does_not_import_is_a_problem(machine_with, experiment) -> None:
    machine_with({"torch": "ImportError: libcudart.so.12"})
    found = doctor.run(experiment, (), None, Silent())
    only(found.problems, "torch", "libcudart.so.12")
    assert found.config is not None
    machine_with({"numpy": "ImportError: broken"})
    found = doctor.run(experiment, (), None, Silent())
    assert found.config is None
    only(found.notes, "not looked into")


def test_a_missing_package_names_how_to_get_it(machine_with, monkeypatch) -> None:
    machine_with()
    absent = Package("numpy", ">=1.26", None, False)
    monkeypatch.setattr(doctor, "wanted_packages", lambda: ((absent,), {}))
    found = doctor.run(None, (), None, Silent())
    only(found.problems, "numpy is not installed", "pip install 'numpy>=1.26'")


def test_a_config_that_cannot_be_read_is_a_problem_among_others(machine_with, tmp_path) -> None:
    machine_with()
    found = doctor.run(tmp_path / "none.yaml", (), None, Silent())
    only(found.problems, "No config file")
    assert found.versions


def test_an_output_that_cannot_be_written_counts_where_one_is_asked_for(
    machine_with, experiment
) -> None:
    machine_with(problem="cannot be written (read-only file system)")
    assert doctor.run(None, (), None, Silent()).problems == ()
    for config, output in ((experiment, None), (None, Path("x"))):
        found = doctor.run(config, (), output, Silent())
        only(found.problems, "read-only file system")
    assert doctor.run(experiment, (), Path("y"), Silent()).disk.folder == Path("y")


def test_a_diagnosis_is_plain_data(machine_with, experiment) -> None:
    from clickmap_cli.reports.doctor import as_json
    from clickmap_cli.storage.atomic import json_ready

    machine_with()
    found = doctor.run(experiment, (), None, Silent())
    value = json.loads(json.dumps(json_ready(as_json(found)), allow_nan=False))
    assert value["ok"] is True
    assert value["config"]["kind"] == "experiment"
    assert value["cores"]["usable"] == found.cores.usable
    assert np.isfinite(value["disk"]["write"])
