"""The loop: accumulation, kills, stops, and what it leaves behind."""

from __future__ import annotations

import csv
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickmap_cli.config.saliency import Freeze, Stage
from clickmap_cli.models.weights import read_state
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.training import fitting
from clickmap_cli.training.checkpoints import load, save
from clickmap_cli.training.fitting import FitJob, FitSettings, Watch, fit
from clickmap_cli.training.optimisation import block_rates
from clickmap_cli.training.tasks.base import Task
from clickmap_cli.training.tasks.saliency import SaliencyTask, Targets
from clickmap_cli.training.trackers import CsvTracker
from tests.training.tiny import Spot, TinyModel, TinyNetwork, job_for, make_stage, spots


def weights(path) -> dict[str, torch.Tensor]:
    return read_state(path)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)


def sizes_mixed() -> list[Spot]:
    """Six images of two sizes, so that batches cannot be equal."""
    return [*spots(4), Spot("big0", 10, size=(14, 12)), Spot("big1", 11, size=(14, 12))]


@pytest.mark.parametrize("loss", ["kl", "nll_fixations"])
def test_accumulation_equals_the_large_batch(tmp_path, loss) -> None:
    found = []
    for batch_size, accumulate in ((6, 1), (1, 6), (2, 3), (3, 2)):
        job = job_for(
            tmp_path / f"{batch_size}", [make_stage("all", 3, 0.1)], train=sizes_mixed(),
            model=TinyModel(norm=False), batch_size=batch_size, accumulate=accumulate,
            optimizer="sgd", clip_norm=0.5, loss=loss,
        )  # fmt: skip
        rows = fit(job)
        found.append((rows, {k: v.clone() for k, v in job.task.network.state_dict().items()}))
    (rows, state), *others = found
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    for other_rows, other in others:
        for row, other_row in zip(rows, other_rows, strict=True):
            assert row["train_loss"] == pytest.approx(other_row["train_loss"], abs=1e-6)
        for key, value in state.items():
            torch.testing.assert_close(value, other[key], atol=1e-6, rtol=1e-6)


class Killed(Watch):
    """Interrupts at a chosen step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, epoch: str, loss: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


STAGES = [
    make_stage("head", 2, 0.02, freeze=Freeze("train_blocks", ["head"]), schedule="cosine"),
    make_stage(
        "all",
        3,
        0.05,
        schedule="plateau",
        plateau_patience=1,
        gamma=0.5,
        weight_decay=0.01,
    ),
]


def tracked(folder):
    return [CsvTracker(folder / "history.csv")]


def test_a_killed_and_resumed_training_equals_one_never_killed(tmp_path) -> None:
    whole = tmp_path / "whole"
    fit(job_for(whole, STAGES, trackers=tracked(whole)))
    # six images, four a step: two steps an epoch, ten in all; some kills fall on an epoch's end
    for kills in ([1], [4], [5, 2], [7], [3, 3, 10]):
        folder = tmp_path / "killed"
        for at, step in enumerate(kills):
            with pytest.raises(KeyboardInterrupt):
                job = job_for(folder, STAGES, trackers=tracked(folder), watch=Killed(step))
                fit(job, resume=at > 0)
                raise KeyboardInterrupt  # the rest was shorter than that
        rows = fit(job_for(folder, STAGES, trackers=tracked(folder)), resume=True)
        assert len(rows) == 5
        assert (folder / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
        for name in ("best.pth", "final.pth", "last.pth"):
            assert equal(weights(folder / name), weights(whole / name)), (kills, name)
        ours, theirs = load(folder / "last.pth"), load(whole / "last.pth")
        assert ours["random"][0]["cpu"].equal(theirs["random"][0]["cpu"])
        assert repr(ours["optimizer"]) == repr(theirs["optimizer"])
        shutil.rmtree(folder)


def test_half_precision_goes_on_with_the_scale_it_had(tmp_path) -> None:
    # a scale that overflows at first, so that it falls, and is counted up from there
    def job(name, **kwargs):
        return job_for(tmp_path / name, STAGES, precision="fp16", loss_scale=1e9, **kwargs)

    fit(job("whole"))
    with pytest.raises(KeyboardInterrupt):
        fit(job("killed", watch=Killed(8)))
    fit(job("killed"), resume=True)
    whole, killed = (load(tmp_path / name / "last.pth") for name in ("whole", "killed"))
    assert whole["scaler"]["scale"] < 1e9
    assert killed["scaler"] == whole["scaler"]
    assert equal(killed["state_dict"], whole["state_dict"])


class Counted(Watch):
    """Counts the optimiser's steps."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self, epoch: str, loss: float) -> None:
        self.steps += 1


@pytest.mark.parametrize("best", ["of that epoch", "of an earlier one"])
def test_a_kill_between_the_two_checkpoints_costs_one_epoch(tmp_path, monkeypatch, best) -> None:
    """The best weights are those of an epoch that the other checkpoint does not know yet."""
    whole = tmp_path / "whole"
    rows = fit(job_for(whole, STAGES, keep_bests="model_{}.pt"))
    losses = [row["val_loss"] for row in rows]
    epoch = max(at + 1 for at in range(2, 5) if losses[at] < min(losses[:at]))
    written = []

    def killed(path, state) -> None:
        written.append(path)
        if len(written) == epoch:
            raise KeyboardInterrupt
        save(path, state)

    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(job_for(folder, STAGES))
    assert load(folder / "best.pth")["about"]["epoch"] == epoch
    assert load(folder / "last.pth")["place"]["epoch"] == epoch - 1
    if best == "of an earlier one":
        assert load(folder / "last.pth")["place"]["best_epoch"] != 1
        shutil.copy(whole / "model_1.pt", folder / "best.pth")
    watch = Counted()
    fit(job_for(folder, STAGES, watch=watch), resume=True)
    # two steps an epoch; weights that nobody knows are not kept as the best
    again = 5 - (epoch - 1) if best == "of that epoch" else 5
    assert watch.steps == 2 * again
    for name in ("best.pth", "final.pth", "last.pth"):
        assert equal(weights(folder / name), weights(whole / name)), name


class Scripted(Task):
    """Losses that are written down: of training 1 to 5, of validation one an epoch."""

    def __init__(self, losses) -> None:
        self.network = torch.nn.Linear(1, 1)
        self.train, self.validation = range(5), range(2)
        self.left = list(losses)

    def name(self, item) -> str:
        return str(item)

    def read(self, item, epoch):
        return item

    def losses(self, batch, precision):
        validating = torch.is_inference_mode_enabled()
        assert self.network.training is not validating
        given = self.left.pop(0) if validating else torch.tensor(batch) + 1.0
        return 0 * self.network(torch.ones(len(batch), 1))[:, 0] + given, batch


STEPS = 3  # an epoch: five items, two a step


def plain_factor(stage: Stage, t: int, falls: int) -> float:
    """The factor at step t of a stage, from the schedules' definitions."""
    steps = STEPS * stage.epochs
    if t < stage.warmup_steps:
        return (t + 1) / stage.warmup_steps
    done = min(1.0, (t - stage.warmup_steps) / max(1, steps - stage.warmup_steps))
    return {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "step": stage.gamma ** (t // (STEPS * stage.step_epochs)),
        "plateau": stage.gamma**falls,
    }[stage.schedule]


@st.composite
def some_stages(draw):
    return [
        make_stage(
            f"s{at}", draw(st.integers(1, 6)), lr, gamma=0.5,
            schedule=draw(st.sampled_from(["constant", "cosine", "linear", "step", "plateau"])),
            warmup_steps=draw(st.sampled_from([0, 0, 1, 3, 5])),
            step_epochs=draw(st.integers(1, 3)),
            plateau_patience=draw(st.integers(1, 3)),
            patience=draw(st.one_of(st.none(), st.integers(1, 3))),
        )
        for at, lr in enumerate([1.0, 0.25])
    ]  # fmt: skip


PLATEAU = make_stage("s0", 4, 1.0, gamma=0.5, schedule="plateau", plateau_patience=1)


@settings(max_examples=25)
@given(some_stages(), st.lists(st.integers(1, 4), min_size=12, max_size=12))
@example([PLATEAU], [4, 3, 2, 1])  # every epoch is better, so the rate never falls
@example([PLATEAU], [1, 2, 2, 1])
def test_stages_end_and_rates_fall_as_a_plain_loop_has_it(tmp_path_factory, stages, losses) -> None:
    folder = tmp_path_factory.mktemp("fit")
    rows = fit(
        FitJob(
            task=Scripted(losses), folder=folder,
            settings=FitSettings(stages=tuple(stages), batch_size=2, optimizer="sgd"),
        )
    )  # fmt: skip
    left = list(losses)
    wanted = []
    for stage in stages:
        best, waited, still, falls = math.inf, 0, 0, 0
        for epoch in range(1, stage.epochs + 1):
            rate = stage.lr * plain_factor(stage, STEPS * epoch - 1, falls)
            loss = left.pop(0)
            wanted.append((stage.name, epoch, pytest.approx(rate, abs=1e-12), loss))
            if loss < best:
                best, waited, still = loss, 0, 0
            else:
                waited, still = waited + 1, still + 1
            if still == stage.plateau_patience:
                falls, still = falls + 1, 0
            if stage.patience is not None and waited == stage.patience:
                break
    assert [(r["stage"], r["stage_epoch"], r["lr"], r["val_loss"]) for r in rows] == wanted
    assert [row["epoch"] for row in rows] == list(range(1, len(wanted) + 1))
    assert all(row["train_loss"] == pytest.approx(3) for row in rows)
    # of equally good epochs the first
    seen = [loss for *_, loss in wanted]
    assert load(folder / "best.pth")["about"]["epoch"] == seen.index(min(seen)) + 1


def test_history_is_cut_back_to_the_checkpoint(tmp_path) -> None:
    fit(job_for(tmp_path, STAGES, trackers=tracked(tmp_path)))
    whole = (tmp_path / "history.csv").read_bytes()
    (tmp_path / "history.csv").write_bytes(whole + b"6,all,4,0,0,")
    fit(job_for(tmp_path, STAGES, trackers=tracked(tmp_path)), resume=True)
    assert (tmp_path / "history.csv").read_bytes() == whole
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["head"] * 2 + ["all"] * 3
    assert [row["epoch"] for row in rows] == list("12345")
    assert all(np.isfinite(float(row["val_NSS"])) for row in rows)


class Told(Watch):
    """Keeps the names of checkpoints that were of no use."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def restart(self, file) -> None:
        self.files.append(file.name)


@pytest.mark.parametrize("damage", ["gone", "cut", "another's"])
@pytest.mark.parametrize("name", ["best.pth", "last.pth"])
def test_a_damaged_checkpoint_is_trained_again(tmp_path, name, damage) -> None:
    fit(job_for(tmp_path, STAGES))
    whole = {kept.name: kept.read_bytes() for kept in tmp_path.glob("*.pth")}
    path = tmp_path / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(whole[name][:500])
    elif name == "best.pth":
        path.write_bytes(whole["final.pth"])
    else:
        path.write_bytes(b"")
    told = Told()
    fit(job_for(tmp_path, STAGES, watch=told), resume=True)
    assert {kept: (tmp_path / kept).read_bytes() for kept in whole} == whole
    # without last.pth it is a new training, which needs no word
    assert told.files == ([] if (name, damage) == ("last.pth", "gone") else [name])


def test_the_best_weights_have_the_lowest_validation_loss(tmp_path) -> None:
    rows = fit(job_for(tmp_path, [make_stage("all", 6, 0.3)]))
    best = min(rows, key=lambda row: row["val_loss"])
    about = torch.load(tmp_path / "best.pth", weights_only=True)["about"]
    assert about["epoch"] == about["best_epoch"] == best["epoch"]
    assert about["best"] == best["val_loss"]


def test_patience_ends_a_stage(tmp_path) -> None:
    rows = fit(job_for(tmp_path, [make_stage("still", 9, 0.0, patience=2),
                                  make_stage("next", 1, 0.01)],
                       model=TinyModel(norm=False), targets=Targets("mean")))  # fmt: skip
    assert [row["stage"] for row in rows] == ["still"] * 3 + ["next"]


def test_rates_of_blocks(tmp_path) -> None:
    stage = make_stage(
        "s",
        1,
        1e-3,
        block_lr={"all": 1e-4, "head": 1e-2, "finalizer": 0.5},
        schedule="constant",
    )
    assert block_rates(TinyNetwork(), stage) == {
        "backbone": 1e-4, "saliency": 1e-2, "finalizer": 0.5,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no block 'fixation_selection'"):
        block_rates(
            TinyNetwork(),
            make_stage(
                "s",
                1,
                1.0,
                block_lr={"fixation_selection": 1.0},
                schedule="constant",
            ),
        )


class Broken(TinyModel):
    """Gives NaN for one image from some forward pass on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def forward(self, network, images):
        self.after -= 1
        values = super().forward(network, images)
        return values * math.nan if self.after < 0 else values


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(tmp_path) -> None:
    # an epoch is three batches in two steps and one of validation; the sixth is in epoch 2
    with pytest.raises(RunError) as error:
        fit(job_for(tmp_path, STAGES, model=Broken(5)))
    text = str(error.value)
    assert "stage head: the loss became NaN or infinite in step 1 of epoch 2" in text
    assert text.count("images: s") == 1
    assert "last.pth holds epoch 1" in text
    assert load(tmp_path / "last.pth")["place"]["epoch"] == 1
    assert all(torch.isfinite(v).all() for v in weights(tmp_path / "last.pth").values())
    with pytest.raises(RunError, match=r"in the validation after epoch 1 .*nothing was kept"):
        fit(job_for(tmp_path / "two", STAGES, model=Broken(3)))


def test_a_full_gpu_names_the_batch_size_to_try(tmp_path) -> None:
    class Full(TinyModel):
        def forward(self, network, images):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RunError, match=r"batch_size=1 training.accumulate=4, which gives the same"):
        fit(job_for(tmp_path, model=Full()))
    with pytest.raises(RunError, match=r"batch_size=1 training.accumulate=3"):
        fit(job_for(tmp_path, model=Full(), batch_size=3, accumulate=1))
    with pytest.raises(RunError, match="batch_size is 1 already"):
        fit(job_for(tmp_path, model=Full(), batch_size=1))


def test_an_image_without_truth_is_named(tmp_path) -> None:
    lonely = Spot("lonely", 3)
    lonely.points = None
    with pytest.raises(DataError, match="lonely: no fixations"):
        fit(job_for(tmp_path, train=[lonely, *spots(2)], loss="nll_fixations", targets=Targets()))


def test_a_checkpoint_of_another_run_is_refused(tmp_path) -> None:
    job = job_for(tmp_path, STAGES)
    fit(job)
    job.identity = "another"
    with pytest.raises(RunError, match="another training"):
        fit(job, resume=True)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(tmp_path, precision) -> None:
    rows = fit(
        job_for(
            tmp_path,
            [make_stage("all", 2, 0.01)],
            precision=precision,
        )
    )
    assert all(math.isfinite(row["val_loss"]) for row in rows)


def test_another_score_chooses_the_best_weights(tmp_path) -> None:
    stages = [make_stage("all", 6, 0.3)]
    rows = fit(
        job_for(tmp_path, stages, monitor="val_CC", monitor_max=True, keep_bests="model_{}.pt")
    )
    best = max(rows, key=lambda row: row["val_CC"])
    about = torch.load(tmp_path / "best.pth", weights_only=True)["about"]
    assert (about["monitor"], about["best"]) == ("val_CC", best["val_CC"])
    assert about["epoch"] == best["epoch"]
    highest = -math.inf
    for row in rows:
        kept = tmp_path / f"model_{row['epoch']}.pt"
        assert kept.exists() == (row["val_CC"] > highest)
        highest = max(highest, row["val_CC"])
    assert equal(weights(tmp_path / f"model_{best['epoch']}.pt"), weights(tmp_path / "best.pth"))


def test_validation_every_few_epochs_and_kept_epochs(tmp_path) -> None:
    stages = [
        make_stage("one", 5, 0.05),
        make_stage("two", 2, 0.05),
    ]
    rows = fit(job_for(tmp_path, stages, validate_every=3, keep_every=2))
    watched = [row["epoch"] for row in rows if math.isfinite(row["val_loss"])]
    assert watched == [3, 5, 6, 7]  # every third, and each stage's last
    assert all(math.isfinite(row["train_loss"]) for row in rows)
    assert sorted(path.name for path in tmp_path.glob("epoch_*")) == [
        "epoch_2.pth", "epoch_4.pth", "epoch_6.pth",
    ]  # fmt: skip
    once = fit(job_for(tmp_path / "each", stages))
    assert [row["train_loss"] for row in once] == [row["train_loss"] for row in rows]


def in_steps(folder, **kwargs):
    """A training of 2 + 3 epochs of two steps each that is validated every third step."""
    return job_for(folder, STAGES, validate_steps=3, **kwargs)


def test_validation_every_few_steps(tmp_path) -> None:
    rows = fit(in_steps(tmp_path / "steps"))
    # a row for each epoch's end and for each validation; the last step of a stage has one
    assert [(row["epoch"], row["step"]) for row in rows] == [
        (1, 2), (2, 3), (2, 4), (3, 6), (4, 8), (5, 9), (5, 10),
    ]  # fmt: skip
    watched = [row["step"] for row in rows if math.isfinite(row["val_loss"])]
    assert watched == [3, 4, 6, 9, 10]
    assert [row["stage_epoch"] for row in rows] == [1, 2, 2, 1, 2, 3, 3]
    each = fit(job_for(tmp_path / "each", STAGES))
    ends = [row for row in rows if row["step"] % 2 == 0]
    # what is learnt does not depend on when it is validated, but plateau goes by validations
    for row, other in zip(ends[:2], each[:2], strict=True):
        assert (row["train_loss"], row["lr"]) == (other["train_loss"], other["lr"])
    # in the middle of an epoch the training loss is the mean of its steps so far
    assert rows[1]["train_loss"] != rows[2]["train_loss"]
    assert "step" not in each[0]


def test_a_validation_within_an_epoch_changes_nothing_of_what_is_learnt(tmp_path) -> None:
    stages = [make_stage("all", 4, 0.05, schedule="cosine")]
    rows = fit(job_for(tmp_path / "steps", stages, validate_steps=1))
    assert [row["step"] for row in rows] == list(range(1, 9))
    each = fit(job_for(tmp_path / "each", stages))
    for row, other in zip(rows[1::2], each, strict=True):
        for name in ("epoch", "train_loss", "val_loss", "lr", "val_NSS"):
            assert row[name] == other[name], name
    assert equal(weights(tmp_path / "steps" / "final.pth"), weights(tmp_path / "each/final.pth"))


def test_the_best_weights_may_be_of_the_middle_of_an_epoch(tmp_path) -> None:
    for seed in range(20):
        rows = fit(job_for(tmp_path / str(seed), [make_stage("all", 4, 0.5)], validate_steps=1,
                           seed=seed))  # fmt: skip
        best = min(rows, key=lambda row: row["val_loss"])
        about = load(tmp_path / str(seed) / "best.pth")["about"]
        assert (about["epoch"], about["step"], about["best"]) == (
            best["epoch"], best["step"], best["val_loss"],
        )  # fmt: skip
        if best["step"] % 2:
            return
    pytest.fail("no seed has its best weights in the middle of an epoch")


@pytest.mark.parametrize("kills", [[3], [4], [5], [9], [3, 3], [10]])
def test_a_kill_within_an_epoch_that_was_validated_ends_with_the_same_bytes(
    tmp_path, kills
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    fit(in_steps(whole, trackers=tracked(whole)))
    for at, step in enumerate(kills):
        with pytest.raises(KeyboardInterrupt):
            job = in_steps(folder, trackers=tracked(folder), watch=Killed(step))
            fit(job, resume=at > 0)
            raise KeyboardInterrupt
    fit(in_steps(folder, trackers=tracked(folder)), resume=True)
    for name in ("history.csv", "best.pth", "final.pth", "last.pth"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_patience_and_plateau_count_validations(tmp_path) -> None:
    still = make_stage("still", 9, 0.0, patience=3)
    rows = fit(job_for(tmp_path, [still, make_stage("next", 1, 0.01)], validate_steps=1,
                       model=TinyModel(norm=False), targets=Targets("mean")))  # fmt: skip
    # the first validation is the best, three do not improve on it: they end with the second epoch
    assert [row["stage"] for row in rows] == ["still"] * 4 + ["next"] * 2


def test_a_loss_that_becomes_nan_within_an_epoch_names_the_step_and_what_is_kept(tmp_path) -> None:
    with pytest.raises(RunError, match=r"in the validation after step 3 .*last\.pth holds epoch 1"):
        fit(in_steps(tmp_path, model=Broken(5)))


def test_a_score_that_is_nowhere_defined_cannot_choose(tmp_path) -> None:
    class NoScore(SaliencyTask):
        def scores(self, example, output) -> dict[str, float]:
            return {"NSS": math.nan, "CC": math.nan}

    job = job_for(tmp_path, monitor="val_NSS")
    task = NoScore(TinyModel(), job.task.train, job.task.validation, Targets("mean"))
    with pytest.raises(RunError, match="val_NSS is not defined for any validation item"):
        fit(replace(job, task=task))
