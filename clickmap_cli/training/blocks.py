"""Named blocks of a network, and the choice of blocks to train."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from clickmap_cli.config.saliency import Freeze
from clickmap_cli.runtime.errors import ConfigError

Blocks = dict[str, list[nn.Parameter]]

BACKBONE = "backbone"
HEAD = ("saliency", "fixation_selection", "finalizer")
OTHER = "other"
"""Block of the parameters that a network's own `blocks()` does not name."""


@dataclass(frozen=True)
class BlockRow:
    """A block with its numbers of trainable and of all parameters."""

    block: str
    trainable: int
    total: int


def get_blocks(network: nn.Module) -> Blocks:
    """Return the blocks of a network that hold parameters, in the network's order.

    A network without a method `blocks` is one block, the backbone.
    """
    own = getattr(network, "blocks", None)
    if not callable(own):
        return {BACKBONE: list(network.parameters())}
    found = {name: list(parameters) for name, parameters in own().items() if parameters}
    named = {id(parameter) for parameters in found.values() for parameter in parameters}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in named]
    return {**found, OTHER: rest} if rest else found


def expand_names(names: Iterable[str], blocks: Mapping[str, Sequence[nn.Parameter]]) -> set[str]:
    """Return the blocks that names refer to; `head` and `all` stand for several blocks.

    Raises:
        ConfigError: the network does not have such a block.
    """
    found: set[str] = set()
    for name in names:
        if name == "all":
            meant = set(blocks)
        elif name == "head":
            meant = {part for part in HEAD if part in blocks}
        else:
            meant = {name} & set(blocks)
        if not meant:
            known = ", ".join(part for part in blocks if part != OTHER)
            raise ConfigError(f"The network has no block '{name}'; it has: {known}, all.")
        found |= meant
    return found


def apply_freeze(
    network: nn.Module, freeze: Freeze, reached: Container[int] | None = None
) -> tuple[BlockRow, ...]:
    """Freeze and unfreeze the parameters of a network.

    Args:
        network: the network.
        freeze: settings that choose the blocks to train.
        reached: `id`s of the parameters that gradients reach, so that the last modules of a
            backbone are counted from the last feature that is read; None = all.

    Returns:
        One row per block.

    Raises:
        ConfigError: the network does not have such a block, or nothing would be trained.
    """
    blocks = get_blocks(network)
    meant = expand_names(freeze.blocks, blocks)
    trained = meant if freeze.mode == "train_blocks" else set(blocks) - meant
    for name, parameters in blocks.items():
        for parameter in parameters:
            parameter.requires_grad_(name in trained)
    if freeze.backbone_last_n_modules:
        _only_last(network, blocks, freeze.backbone_last_n_modules, reached)
    rows = block_table(network)
    if not any(row.trainable for row in rows):
        raise ConfigError(
            f"freeze: {freeze.mode} {list(freeze.blocks)} leaves nothing to train; name other "
            "blocks."
        )
    return rows


def block_table(network: nn.Module) -> tuple[BlockRow, ...]:
    """Count trainable and all parameters of every block in their current state."""
    return tuple(
        BlockRow(
            name,
            sum(p.numel() for p in parameters if p.requires_grad),
            sum(p.numel() for p in parameters),
        )
        for name, parameters in get_blocks(network).items()
    )


def set_modes(network: nn.Module) -> None:
    """Set training mode for trained parameters and evaluation mode everywhere else.

    A frozen BatchNorm therefore keeps its statistics, and Dropout in a frozen block is inactive. A
    module without any parameters takes the mode of the module that contains it.
    """
    _set_modes(network, trained=False)


def get_trained_blocks(network: nn.Module) -> Blocks:
    """Return the trainable parameters by block."""
    found = {
        name: [parameter for parameter in parameters if parameter.requires_grad]
        for name, parameters in get_blocks(network).items()
    }
    return {name: parameters for name, parameters in found.items() if parameters}


def _set_modes(module: nn.Module, trained: bool) -> None:
    own = list(module.parameters(recurse=False)) or list(module.parameters())
    mode = any(parameter.requires_grad for parameter in own) if own else trained
    if type(module).train is not nn.Module.train:
        module.train(mode)  # it overrides `train`, for example to keep its statistics
        return
    module.training = mode
    for child in module.children():
        _set_modes(child, mode)


def _only_last(network: nn.Module, blocks: Blocks, n: int, reached: Container[int] | None) -> None:
    """In the backbone, train only the last `n` modules that hold parameters directly."""
    if not blocks.get(BACKBONE):
        raise ConfigError("freeze.backbone_last_n_modules: the network has no block 'backbone'.")
    for parameter in blocks[BACKBONE]:
        parameter.requires_grad_(False)
    backbone = {id(p) for p in blocks[BACKBONE] if reached is None or id(p) in reached}
    for part in _members(network):
        modules = []
        for module in part.modules():
            own = [p for p in module.parameters(recurse=False) if id(p) in backbone]
            if own:
                modules.append(own)
        for parameters in modules[-n:]:
            for parameter in parameters:
                parameter.requires_grad_(True)


def _members(network: nn.Module) -> list[nn.Module]:
    """Return the networks of a mixture, each with its backbone, or the network itself."""
    members = getattr(network, "models", None)
    if isinstance(members, torch.nn.ModuleList) and len(members):
        return list(members)
    return [network]
