"""Freezing, seen in the weights and statistics before and after training."""

from __future__ import annotations

import pytest
import torch

from clickmap_cli.config.saliency import Freeze
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.training.blocks import apply_freeze, block_table, get_blocks, set_modes
from clickmap_cli.training.fitting import fit
from tests.training.tiny import TinyNetwork, job_for, make_stage


def trained_after(tmp_path, freeze: Freeze) -> set[str]:
    """Names of the tensors that an epoch has changed."""
    job = job_for(tmp_path, [make_stage("one", 1, 0.05, freeze=freeze)])
    network = job.task.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(job)
    return {name for name, value in network.state_dict().items() if not value.equal(before[name])}


BACKBONE = {
    "features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias",
    "features.4.weight", "features.4.bias",
}  # fmt: skip
STATISTICS = {
    "features.1.running_mean", "features.1.running_var", "features.1.num_batches_tracked",
}  # fmt: skip
HEAD = {"readout.weight", "scale"}  # a bias moves every pixel alike: no gradient


@pytest.mark.parametrize(
    ("freeze", "changed"),
    [
        (Freeze("train_blocks", ["head"]), HEAD),
        (Freeze("train_blocks", ["finalizer"]), {"scale"}),
        (Freeze("freeze_blocks", ["backbone"]), HEAD),
        (Freeze("freeze_blocks", ["head"]), BACKBONE | STATISTICS),
        (Freeze("train_blocks", ["all"]), BACKBONE | STATISTICS | HEAD),
        (Freeze("train_blocks", ["head"], 1), HEAD | {"features.4.weight", "features.4.bias"}),
        (
            Freeze("train_blocks", ["all"], 2),
            HEAD | STATISTICS | BACKBONE - {"features.0.weight", "features.0.bias"},
        ),
    ],
)
def test_frozen_weights_and_statistics_are_equal_bit_for_bit(tmp_path, freeze, changed) -> None:
    found = trained_after(tmp_path, freeze)
    invisible = {"features.4.bias", "readout.bias"}  # moved by rounding alone, if at all
    assert found - invisible == changed - invisible
    assert not (found & invisible) - changed - {"readout.bias"}


def test_modes_follow_what_is_trained() -> None:
    network = TinyNetwork()
    apply_freeze(network, Freeze("train_blocks", ["head"]))
    network.train()
    set_modes(network)
    assert not any(module.training for module in network.features.modules())
    assert network.readout.training
    apply_freeze(network, Freeze("train_blocks", ["backbone"]))
    set_modes(network)
    assert all(module.training for module in network.features.modules())
    assert not network.readout.training


def test_the_table_counts_parameters() -> None:
    network = TinyNetwork()
    apply_freeze(network, Freeze("train_blocks", ["saliency"]))
    rows = {row.block: (row.trainable, row.total) for row in block_table(network)}
    assert rows == {
        "backbone": (0, 4 * 27 + 4 + 8 + 4 * 36 + 4),
        "saliency": (5, 5),
        "finalizer": (0, 1),
    }


def test_without_blocks_everything_is_backbone() -> None:
    plain = torch.nn.Linear(3, 2)
    assert list(get_blocks(plain)) == ["backbone"]
    with pytest.raises(ConfigError, match=r"no block 'head'; it has: backbone, all"):
        apply_freeze(plain, Freeze("train_blocks", ["head"]))


def test_what_no_block_names_trains_with_all_alone() -> None:
    class Odd(TinyNetwork):
        def blocks(self):
            return {"saliency": list(self.readout.parameters())}

    network = Odd()
    apply_freeze(network, Freeze("train_blocks", ["saliency"]))
    assert not network.scale.requires_grad
    apply_freeze(network, Freeze("train_blocks", ["all"]))
    assert network.scale.requires_grad


def test_members_of_a_mixture_each_train_their_last_modules() -> None:
    class Mixture(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.models = torch.nn.ModuleList([TinyNetwork(), TinyNetwork()])

        def blocks(self):
            both = [member.blocks() for member in self.models]
            return {name: both[0][name] + both[1][name] for name in both[0]}

    network = Mixture()
    apply_freeze(network, Freeze("train_blocks", ["backbone"], 1))
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {
        f"models.{at}.features.4.{kind}" for at in (0, 1) for kind in ("weight", "bias")
    }


def test_missing_blocks_and_nothing_to_train_are_refused() -> None:
    with pytest.raises(ConfigError, match="no block 'fixation_selection'"):
        apply_freeze(TinyNetwork(), Freeze("train_blocks", ["fixation_selection"]))
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        apply_freeze(TinyNetwork(), Freeze("freeze_blocks", ["all"]))


def test_a_module_that_keeps_its_statistics_is_left_to_do_so() -> None:
    class Still(torch.nn.Sequential):
        def train(self, mode: bool = True):
            return super().train(False)

    network = TinyNetwork()
    network.features = Still(*network.features)
    apply_freeze(network, Freeze())
    set_modes(network)
    assert not any(module.training for module in network.features.modules())
    assert network.readout.training


def test_last_modules_are_those_that_gradients_reach(tmp_path) -> None:
    job = job_for(
        tmp_path,
        [
            make_stage(
                "one",
                1,
                0.05,
                freeze=Freeze("train_blocks", ["head"], 1),
                schedule="constant",
            )
        ],
    )
    network = job.task.network
    network.features.add_module("never_read", torch.nn.Conv2d(4, 4, 1))
    network.features.forward = torch.nn.Sequential(*list(network.features)[:5]).forward
    before = network.features[4].weight.clone()
    fit(job)
    assert not network.features[4].weight.equal(before)
    assert not network.features.never_read.weight.requires_grad
