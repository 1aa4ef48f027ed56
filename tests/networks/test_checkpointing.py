from __future__ import annotations

import copy

import pytest
import torch

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.networks import DPSAU2Net, DPSAU2NetLite, checkpoint_stages


def step(network: torch.nn.Module, x: torch.Tensor) -> tuple[float, int]:
    """Return the loss, and the number of values that the network keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    torch.manual_seed(1)  # of the dropout
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(x).square().mean()
    loss.backward()
    return loss.item(), sum(kept.values()) - sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("kind", "size", "autocast"),
    [
        (DPSAU2NetLite, (64, 48), False),
        (DPSAU2NetLite, (64, 48), True),
        (DPSAU2NetLite, (40, 36, 33), False),
        pytest.param(DPSAU2Net, (64, 64), False, marks=pytest.mark.slow),
    ],
    ids=["Lite 2D", "Lite 2D in bfloat16", "Lite 3D", "full 2D"],
)
def test_a_step_is_the_same_and_keeps_less(kind, size, autocast):
    torch.manual_seed(0)
    plain = kind(len(size), 1, 2, dropout=0.2)
    lean = checkpoint_stages(copy.deepcopy(plain))
    copied = copy.deepcopy(lean)  # as the average of the weights is
    x = torch.rand(2, 1, *size)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        (loss, values), (lean_loss, lean_values) = step(plain, x), step(lean, x)
    assert lean_loss == loss and lean_values < 0.5 * values
    lean_gradients = dict(lean.named_parameters())
    assert all(torch.equal(lean_gradients[name].grad, given.grad) for name, given in plain.named_parameters())
    # the running statistics too, with their counts
    assert lean.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(lean.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(lean.eval()(x), plain.eval()(x), rtol=0, atol=0)
        assert not torch.equal(copied.eval()(x), lean(x))  # the copy has the old statistics: it is one of its own


def test_a_network_without_stages_is_refused():
    with pytest.raises(InputError, match="Conv2d has no stages to checkpoint; set checkpointing to false"):
        checkpoint_stages(torch.nn.Conv2d(1, 1, 1))
