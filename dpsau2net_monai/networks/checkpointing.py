"""Training in less memory: the blocks of the networks compute their activations again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from .rsdpu import RSDPU
from .split_attention import SABlock

__all__ = ["checkpoint_stages"]

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def _keeping_buffers(module: nn.Module) -> Iterator[None]:
    """Give the module copies of its buffers for a while: batch norm must not count what it sees a second time."""
    buffers = [
        (owner, name, buffer) for owner in module.modules() for name, buffer in owner.named_buffers(recurse=False)
    ]
    for owner, name, buffer in buffers:
        setattr(owner, name, buffer.clone())
    try:
        yield
    finally:
        for owner, name, buffer in buffers:
            setattr(owner, name, buffer)


class _Checkpointed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        return checkpoint(
            super().forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _keeping_buffers(self))
        )


class _CheckpointedRSDPU(_Checkpointed, RSDPU):
    pass


class _CheckpointedSABlock(_Checkpointed, SABlock):
    pass


def checkpoint_stages(network: Network) -> Network:
    """
    Let each :class:`RSDPU` block and each :class:`SABlock` of a network keep only its input for the backward pass, and
    compute the rest again there, after Chen et al., "Training deep nets with sublinear memory cost", 2016,
    https://arxiv.org/abs/1604.06174. Loss, gradients and running statistics stay the same, and so do the names of the
    weights.

    ``torch.utils.checkpoint`` does it. But the second computation would update the statistics of batch norm again.

    Args:
        network: a :class:`DPSAU2Net` or :class:`DPSAU2NetLite`, which is changed.

    Returns:
        The same network.

    Raises:
        InputError: the network has no such blocks.
    """
    blocks = [module for module in network.modules() if isinstance(module, (RSDPU, SABlock))]
    if not blocks:
        raise InputError(f"{type(network).__name__} has no stages to checkpoint; set checkpointing to false")
    for block in blocks:  # another class only: hooks and wrappers would change the names of the weights
        block.__class__ = _CheckpointedRSDPU if isinstance(block, RSDPU) else _CheckpointedSABlock
    return network
