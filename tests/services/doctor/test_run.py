"""What `doctor` says of a config is what a run of it would meet."""

from __future__ import annotations

import dataclasses
import itertools
import json
import socket
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clickmap_cli
from clickmap_cli.config.loading import BENCHMARK, BY_TASK, EXPERIMENT, load_experiment
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.machine import Cores, Disk, Gpus, Memory, Package
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.data import tools as data_tools
from clickmap_cli.services.doctor import config as doctor_config
from clickmap_cli.services.doctor import run as doctor
from clickmap_cli.services.doctor.facts import Extra, Installed
from clickmap_cli.services.prepare import run as prepare
from tests.helpers.studies import random_rows, write_csv

ROOT = Path(clickmap_cli.__file__).parents[1]


def installed(
    missing: tuple[str, ...] = (), broken: dict[str, str] | None = None, gpus: Gpus | None = None,
    cores: int = 64,
) -> Installed:  # fmt: skip
    """A machine; `missing` extras lack their package."""
    extras = tuple(
        Extra(name, "", (Package(name, "", None if name in missing else "1", name not in missing),))
        for name in ("wandb", "tensorboard", "emd", "tensorflow", "dask")
    )
    broken = broken or {}
    gpus = gpus or Gpus(problem=broken.get("torch", ""))
    return Installed(extras, broken, gpus, Cores(cores, cores), Memory(None, None, None))


def said(path: Path | None, *words: str, about: Installed | None = None) -> tuple[list, list]:
    """Problems and notes."""
    _, findings = doctor_config.examine(path, words, about or installed(), Silent())
    kinds = ("problem", "note")
    problems, notes = ([f.text for f in findings if f.kind == kind] for kind in kinds)
    return problems, notes


def only(texts: list[str], *parts: str) -> None:
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
    assert said(experiment) == ([], [])
    config = load_experiment(experiment).config
    prepare.run(config, Silent(), lambda _: None)
    problems, notes = said(experiment)
    assert problems == []
    only(notes, "assets/experiment", "--resume")
    assert said(None, "clickme_data=assets/experiment", "experiment_name=new")[0] == []


def test_every_missing_input_is_named_and_why_a_run_would_stop(experiment) -> None:
    words = [
        "clickme_data=none.csv", "metadata_file=sizes.json", "class_filter_file=c.txt",
        "participant_filter=q.pt", "mask_dir=masks", "image_dir=photos",
    ]  # fmt: skip
    problems, notes = said(experiment, *words)
    names = ["clickme_data", "metadata_file", "class_filter_file", "participant_filter", "mask_dir"]
    assert [text.split(":")[0] for text in problems] == names
    only(notes, "photos", "only pictures")
    only(said(None)[0], "clickme_data is not set")
    (experiment.parent / "folder").mkdir()
    only(said(experiment, "clickme_data=folder")[0], "no finished run of prepare")
    only(said(experiment, f"clickme_data={'x' * 5000}", "image_dir=" + "y" * 5000)[0], "nothing at")


def test_a_table_that_cannot_be_used_is_a_problem(experiment) -> None:
    only(said(experiment, "category_column=kind")[0], "category_column")
    only(said(experiment, "min_subjects=13")[0], "min_subjects (13)", "4 images", "most has 12")
    (experiment.parent / "trials.csv").write_text("a,b\n1,2\n")
    only(said(experiment)[0], "no column image_path")
    (experiment.parent / "sizes.json").write_text("[]")
    only(said(experiment, "metadata_file=sizes.json")[0], "sizes.json")


def test_a_wrong_config_is_an_error_of_its_own(experiment) -> None:
    with pytest.raises(ConfigError, match="blur_size"):
        said(experiment, "blur_sise=3")


def test_images_that_are_not_in_their_folder_are_a_note(experiment) -> None:
    photos = experiment.parent / "photos"
    for name in ("cat0/0.png", "cat1/1.png", "cat0/2.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"")
    problems, notes = said(experiment, "image_dir=photos")
    assert problems == []
    only(notes, "1 of 4 images", "cat1/3.png")


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
    problems, _ = said(experiment, f"device={device}", about=installed(gpus=gpus))
    if says is None:
        assert problems == []
    else:
        only(problems, f"device: {device}", says)


def test_more_workers_than_cores_and_blurring_without_a_gpu_are_notes(experiment) -> None:
    problems, notes = said(experiment, "n_jobs=7", about=installed(cores=4))
    assert problems == []
    only(notes, "n_jobs: 7", "set n_jobs=4")
    only(said(experiment, "use_gpu_blurring=true")[1], "use_gpu_blurring", "CPU")


def test_a_cluster_must_answer(experiment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"scheduler=tcp://127.0.0.1:{server.getsockname()[1]}"
        assert said(experiment, "backend=dask", address) == ([], [])
        about = installed(missing=("dask",))
        only(said(experiment, "backend=dask", address, about=about)[0], "clickmap[dask]")
    only(said(experiment, "backend=dask", address)[0], "scheduler", "refused")


def test_extras_that_the_config_asks_for(experiment) -> None:
    words = ("metric=[spearman,emd]",)
    assert said(experiment, *words)[0] == []
    about = installed(missing=("emd", "wandb"))
    only(said(experiment, *words, about=about)[0], "pip install 'clickmap[emd]'")
    assert said(experiment, about=about)[0] == []


@pytest.mark.parametrize(
    ("words", "most", "likely"),
    [
        ([], 4 * 4096, 0.8 * 4 * 4096),
        (["save_maps=participants"], 48 * 4096, 0.2 * 48 * 4096),
        (["save_maps=both", "click_bins=3"], (16 + 48) * 4096, (0.8 * 16 + 0.2 * 48) * 4096),
        (["save_maps=participants", "max_subjects=5"], 20 * 4096, 0.2 * 20 * 4096),
        (["output_format=numpy"], 4 * 4096, 4 * 4096),
        (["output_format=npz"], 4 * 4096, 0.8 * 4 * 4096),
        (["hdf5_compression=null"], 4 * 4096, 4 * 4096),
        (["center_crop=[16,8]"], 4 * 512, 0.8 * 4 * 512),
    ],
)
def test_the_room_that_maps_need(experiment, words, most, likely) -> None:
    facts, _ = doctor_config.examine(experiment, words, installed(), Silent())
    assert facts.need is not None
    assert (facts.need.images, facts.need.most) == (4, most)
    assert facts.need.likely == int(likely)


def test_the_room_of_images_of_their_own_sizes(experiment) -> None:
    sizes = {"cat0/0.png": [64, 32], "cat1/1.png": [32, 48]}  # width, height
    (experiment.parent / "sizes.json").write_text(json.dumps(sizes))
    words = ["metadata_file=sizes.json"]
    facts, _ = doctor_config.examine(experiment, words, installed(), Silent())
    # 64 x 32 keeps its size (short side 32), 32 x 48 too; two are 32 x 32
    assert facts.need is not None
    assert facts.need.most == 4 * (64 * 32 + 32 * 48 + 2 * 32 * 32)


def test_the_estimate_holds_what_prepare_writes(experiment) -> None:
    for words in ([], ["save_maps=participants"]):
        name = f"experiment_name=x{len(words)}"
        facts, _ = doctor_config.examine(experiment, [*words, name], installed(), Silent())
        config = load_experiment(experiment, [*words, name, "hdf5_compression=null"]).config
        done = prepare.run(config, Silent(), lambda _: None)
        assert facts.need is not None
        assert facts.need.images == done.summary.images
        written = (done.folder / "maps.h5").stat().st_size
        assert facts.need.most <= written < facts.need.most + 40_000  # and HDF5's own words


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    data_tools.toy(Path("toy"), 3, 0, Silent())
    return Path("toy/benchmark.yaml")


def test_a_benchmark_that_runs_and_ones_that_do_not(toy, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert said(toy) == ([], [])
    about = installed(missing=("emd",))
    only(said(toy, "metrics=[CC,EMD]", about=about)[0], "clickmap[emd]")
    only(said(toy, "datasets.0.csv=none.csv")[0], "data set toy", "none.csv")
    only(said(toy, "models=[centre_bias]")[0], "model centre_bias", "center_bias")
    only(said(toy, "models=[{name: old, type: precomputed, root: gone}]")[0], "model old", "gone")
    Path("maps").mkdir()
    old = "models=[{name: old, type: precomputed, root: maps}]"
    only(said(toy, old)[0], "model old: 0 of 3 images of toy have a map in maps")
    image = sorted(Path("toy/images").iterdir())[0]
    np.save(f"maps/{image.stem}.npy", np.eye(128))
    only(said(toy, old)[0], "model old: 1 of 3 images of toy have a map in maps")
    problems, notes = said(toy, old, "max_lost=0.7")
    assert problems == []
    only(notes, "model old: 1 of 3 images of toy have a map in maps")
    assert said(toy, old, "limit_images=1") == ([], [])
    np.save(f"maps/{image.stem}.npy", -np.ones((128, 128)))
    only(said(toy, old, "limit_images=1")[0], "clipping at 0 would leave nothing")
    assert said(toy, old, "limit_images=1", "postprocess=false") == ([], [])
    missing = "models=[{name: net, type: torchscript, weights_path: net.pt}]"
    only(said(toy, missing)[0], "model net", "net.pt")
    away = "models=[{name: blur_baseline, sigma: 3}]"
    only(said(toy, away)[0], "model blur_baseline", "unknown setting")
    only(said(toy, "plugins=[mine.py]")[0], "mine.py")
    only(said(toy, "prediction_cache_dir=/proc/self/x")[0], "prediction_cache_dir")
    broken = installed(broken={"torch": "ImportError: libfoo"})
    problems, notes = said(toy, "models=[centre_bias]", about=broken)
    assert problems == []
    only(notes, "before torch")


def test_a_models_own_device_and_downloads(toy, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    own = "models=[{name: gradient, model: resnet18, weights: timm, device: 'cuda:1'}]"
    problems, notes = said(toy, own)
    only(problems, "model gradient: device: cuda:1", "no NVIDIA GPU")
    only(notes, "weights (timm, resnet18) are")
    one = installed(gpus=Gpus(cuda=(("A100", 1),)))
    only(said(toy, own, about=one)[0], "there are 1 GPUs")
    two = installed(gpus=Gpus(cuda=(("A100", 1), ("A100", 1))))
    assert said(toy, own, about=two)[0] == []


def test_damaged_images_of_a_data_set_are_a_note(toy) -> None:
    next(Path("toy/images").glob("*.png")).write_bytes(b"no image")
    problems, _ = said(toy)  # a third of the images: more than a run may lose
    only(problems, "1 of 3 images cannot be used")
    problems, notes = said(toy, "max_lost=0.5")
    assert problems == []
    only(notes, "1 of 3 images cannot be used")


def test_a_fine_tuning(toy, tmp_path) -> None:
    path = tmp_path / "finetune.yaml"
    path.write_text(
        "task: saliency\nmodel: {name: readout, backbone: resnet18, weights: none}\ndatasets:\n"
        "  - {name: fixations_csv, csv: toy/fixations.csv, images: toy/images}\n"
        "cv: {folds: 3}\n"
    )
    problems, notes = said(path)
    assert problems == []
    assert any("train on the CPU" in text for text in notes)
    about = installed(missing=("wandb", "tensorboard"))
    problems, _ = said(
        path, "wandb.enabled=true", "tensorboard=true", "gt_cache_dir=gt", "cv.holdout=h.txt",
        "cv.fold_files=[a.txt]", about=about,
    )  # fmt: skip
    assert [text.split(":")[0] for text in problems] == [
        "gt_cache_dir", "cv.holdout", "cv.fold_files", "tensorboard", "wandb.enabled",
    ]  # fmt: skip


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
    assert said(path)[0] == []
    only(said(path, *words)[0], says)


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
    only(said(toy, f"models=[{{{entry}, weights: none}}]")[0], says)
    only(said(toy, f"models=[{{{entry}, weights: timm}}]")[0], says)


def test_key_points_look_below_their_root_directory_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "keypoints.yaml"
    path.write_text("train_csv_file: labels.csv\npretrained_dir: timm\nuse_wandb: true\n")
    about = installed(gpus=Gpus(mps=True))
    only(said(path, about=about)[0], "train_csv_file", "labels.csv")
    labelled(tmp_path / "below")
    only(said(path, "root_directory=nowhere", about=about)[0], "nor at nowhere/labels.csv")
    problems, notes = said(path, "root_directory=below", about=about)
    assert problems == []
    assert notes[0] == "keypoints.yaml sets no task: it is read as task: keypoints."
    only(notes[1:], "pretrained_dir: its weights (timm, vit_base_patch16_224.orig_in21k) are")
    only(said(path, "root_directory=below", about=installed(missing=("wandb",)))[0], "wandb")
    (tmp_path / "below/w.npz").write_bytes(b"")  # which a run would not find there
    problems, _ = said(path, "root_directory=below", "pretrained_dir=w.npz", about=about)
    only(problems, "pretrained_dir")
    assert said(path, "root_directory=below", "pretrained_dir=none", about=about) == ([], notes[:1])


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
    problems, _ = said(path, *words)
    assert problems == [] if says is None else len(problems) == 1
    assert says is None or says in problems[0]
    both, _ = said(path, "model_type=ViT-B_17", "n_KPs=5")
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
    problems, _ = said(path, *words)
    assert problems == [] if says is None else len(problems) == 1, problems
    assert says is None or says in problems[0]


def test_maps_that_are_left_out_are_a_note(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (maps_of(tmp_path / "maps") / "C/p0/0.png").write_bytes(b"no map")
    path = tmp_path / "study.yaml"
    path.write_text(
        "task: classifier\ndata: {root: maps}\ncv: {outer_kfolds: 3, inner_kfolds: 2}\n"
    )
    problems, notes = said(path)
    assert problems == []
    assert any("1 of 24 maps cannot be read (4%)" in text for text in notes)


def test_too_few_known_people_for_the_folds(experiment, tmp_path) -> None:
    quality = tmp_path / "quality.yaml"
    good, bad = ([f"u{k}" for k in part] for part in (range(8), range(8, 12)))
    quality.write_text(
        "task: participant_quality\n"
        f"data: {{experiment: experiment.yaml, good_users: {good}, bad_users: {bad}}}\nfolds: 4\n"
    )
    assert said(quality)[0] == []
    only(said(quality, "folds=5")[0], "bad_users lists 4 participants", "one of 5 folds")
    only(said(quality, "data.bad_users=[u1,u2]")[0], "both list 'u1', 'u2'")


def test_classifiers(experiment, tmp_path) -> None:
    maps = tmp_path / "maps.yaml"
    maps.write_text("task: classifier\ndata: {root: maps, labels: l.csv}\n")
    problems, _ = said(maps)
    assert [text.split(":")[0] for text in problems] == ["data.root", "data.labels"]
    quality = tmp_path / "quality.yaml"
    quality.write_text(
        "task: participant_quality\n"
        "data: {experiment: experiment.yaml, good_users: g.txt, bad_users: [u1]}\n"
    )
    only(said(quality)[0], "data.good_users")
    (tmp_path / "g.txt").write_text("u0\n")
    (tmp_path / "trials.csv").unlink()
    only(said(quality)[0], "data.experiment: clickme_data", "trials.csv")


def test_every_kind_of_config_is_known() -> None:
    schemas = {schema.type for schema in (EXPERIMENT, BENCHMARK, *BY_TASK.values())}
    assert set(doctor_config._KINDS) == schemas


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
    assert found.findings == ()
    assert {"clickmap", "python", "numpy", "torch"} <= set(found.versions)
    assert {extra.name for extra in found.extras} == set(doctor.ENABLES)
    assert found.disk.folder == Path()


def test_a_package_that_does_not_import_is_a_problem(machine_with, experiment) -> None:
    machine_with({"torch": "ImportError: libcudart.so.12"})
    found = doctor.run(experiment, (), None, Silent())
    only([finding.text for finding in found.problems], "torch", "libcudart.so.12")
    assert found.config is not None
    machine_with({"numpy": "ImportError: broken"})
    found = doctor.run(experiment, (), None, Silent())
    assert found.config is None
    only([finding.text for finding in found.findings if finding.kind == "note"], "not looked into")


def test_a_missing_package_names_how_to_get_it(machine_with, monkeypatch) -> None:
    machine_with()
    absent = Package("numpy", ">=1.26", None, False)
    monkeypatch.setattr(doctor, "wanted_packages", lambda: ((absent,), {}))
    found = doctor.run(None, (), None, Silent())
    only([f.text for f in found.problems], "numpy is not installed", "pip install 'numpy>=1.26'")


def test_a_config_that_cannot_be_read_is_a_problem_among_others(machine_with, tmp_path) -> None:
    machine_with()
    found = doctor.run(tmp_path / "none.yaml", (), None, Silent())
    only([finding.text for finding in found.problems], "No config file")
    assert found.versions


def test_room_on_the_disk(machine_with, experiment) -> None:
    likely, most = int(0.8 * 4 * 4096), 4 * 4096
    for free, problem, note in (
        (1 << 40, None, None), (None, None, None), (most, None, None),
        (most - 1, None, "may just do"), (likely, None, "may just do"),
        (likely - 1, "disk is too small", None),
    ):  # fmt: skip
        machine_with(free=free)
        found = doctor.run(experiment, (), None, Silent())
        texts = {finding.kind: finding.text for finding in found.findings}
        assert set(texts) == {kind for kind, text in (("problem", problem), ("note", note)) if text}
        assert (problem or "") in texts.get("problem", "")
        assert (note or "") in texts.get("note", "")


def test_an_output_that_cannot_be_written_counts_where_one_is_asked_for(
    machine_with, experiment
) -> None:
    machine_with(problem="cannot be written (read-only file system)")
    assert doctor.run(None, (), None, Silent()).problems == ()
    for config, output in ((experiment, None), (None, Path("x"))):
        found = doctor.run(config, (), output, Silent())
        only([finding.text for finding in found.problems], "read-only file system")
    assert doctor.run(experiment, (), Path("y"), Silent()).disk.folder == Path("y")


def test_a_diagnosis_is_plain_data(machine_with, experiment) -> None:
    from clickmap_cli.reports.doctor import as_json
    from clickmap_cli.storage.atomic import json_ready

    machine_with()
    found = doctor.run(experiment, (), None, Silent())
    value = json.loads(json.dumps(json_ready(as_json(found)), allow_nan=False))
    assert value["ok"] is True
    assert value["config"]["maps"] == dataclasses.asdict(found.config.need)
    assert value["cores"]["usable"] == found.cores.usable
    assert np.isfinite(value["disk"]["write"])
