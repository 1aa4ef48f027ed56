"""The network gives the same numbers as the published network, and imports its weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dpsau2net_monai.cli import main
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.networks import DPSAU2Net, convert_weights
from dpsau2net_monai.networks.weights import published_name

FOLDER = Path(__file__).parent / "published"
CASES = ("rgb_to_1", "gray_to_4")


def published_weights(facts: dict) -> dict[str, torch.Tensor]:
    """
    Make weights with the published names, by the rule that the stored results were computed with.

    In training mode, tiny batches amplify rounding errors some 10^7 times, so even the last bit matters. Therefore the
    division by the square root of the fan-in is a multiplication by its reciprocal in float32.
    """
    rng = np.random.RandomState(facts["seed"])
    weights = {}
    for name, shape in facts["state_dict"].items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
            continue
        n = rng.standard_normal(shape).astype(np.float32)
        tenth = n * np.float32(0.1)
        if len(shape) == 4:
            value = n * np.float32(1 / np.sqrt(np.prod(shape[1:])))
        elif name.endswith("running_var"):
            value = 1 + abs(tenth)
        elif name.endswith(("running_mean", "bias")):
            value = tenth
        else:
            value = 1 + tenth
        weights[name] = torch.from_numpy(value)
    return weights


@pytest.fixture(scope="module", params=CASES)
def case(request):
    facts = json.loads((FOLDER / f"{request.param}.json").read_text())
    weights = published_weights(facts)
    network = DPSAU2Net(2, facts["in_channels"], facts["out_channels"])
    network.load_state_dict(convert_weights(weights))
    return facts, weights, np.load(FOLDER / f"{request.param}.npz"), network


def test_logits_in_evaluation_mode(case):
    facts, _, expected, network = case
    network.float().eval()
    keys = [key for key in expected if key.startswith("eval_")]
    assert keys
    for key in keys:
        batch, height, width = map(int, key.removeprefix("eval_").split("x"))
        rng = np.random.RandomState(facts["seed"] + 1000 * height + width)
        image = rng.standard_normal((batch, facts["in_channels"], height, width)).astype(np.float32)
        with torch.inference_mode():
            logits = network(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(logits, expected[key], rtol=0, atol=1e-5, err_msg=key)


def test_logits_loss_and_gradients_in_training_mode(case):
    facts, weights, expected, network = case
    network.load_state_dict(convert_weights(weights))
    network.double().train().zero_grad()
    rng = np.random.RandomState(facts["seed"] + 7)
    image = rng.standard_normal((3, facts["in_channels"], 64, 64)).astype(np.float32)
    logits = network(torch.from_numpy(image).double())
    loss = (logits**2).mean()
    loss.backward()

    norm = np.linalg.norm(expected["train_3x64x64"])
    assert np.linalg.norm(logits.detach().numpy() - expected["train_3x64x64"]) < 1e-6 * norm
    assert loss.item() == pytest.approx(float(expected["train_loss"]), rel=1e-6)
    norms = dict(facts["train_grad_l2_norm"])
    for name, parameter in network.named_parameters():
        value = norms.pop(published_name(name, network))
        if value < 1e-6:  # a batch norm cancels this bias, so its gradient is only rounding error
            assert parameter.grad.norm().item() < 1e-6, name
        else:
            assert parameter.grad.norm().item() == pytest.approx(value, rel=1e-6), name
    assert not set(norms) - set(facts["unused_in_forward"])


@pytest.mark.parametrize("case", CASES[:1], indirect=True)
def test_convert_weights_command(case, tmp_path, capsys):
    facts, weights, _, network = case
    source, target = tmp_path / "published.pt", tmp_path / "bundle.pt"
    torch.save(weights, source)
    assert main(["convert-weights", str(source), str(target)]) == 0
    converted = torch.load(target, weights_only=True)
    assert converted.keys() == network.state_dict().keys()

    before = target.read_bytes()
    assert main(["convert-weights", str(source), str(target)]) == 1  # an existing file is not overwritten
    assert target.read_bytes() == before
    assert str(target) in capsys.readouterr().err


def _without(weights):
    return {k: v for k, v in weights.items() if k != "stage3d.rebnconv2d.bn_s1.bias"}


def _misshapen(weights):
    return {**weights, "side4.weight": torch.zeros(1, 2, 3, 3)}


def _flat(weights):
    return {**weights, "outconv.weight": torch.zeros(6)}


def _with_more(weights):
    return {**weights, "stage7.conv.weight": torch.zeros(1)}


@pytest.mark.parametrize("case", CASES[:1], indirect=True)
@pytest.mark.parametrize(
    "change, named",
    [
        (_without, "'stage3d.rebnconv2d.bn_s1.bias' is missing"),
        (_misshapen, "'side4.weight' has shape"),
        (_flat, "'outconv.weight' has 1 dimensions"),
        (_with_more, "'stage7.conv.weight' is not part"),
    ],
)
def test_wrong_published_weights_name_the_tensor(case, change, named):
    with pytest.raises(InputError, match=named):
        convert_weights(change(case[1]))


@pytest.mark.parametrize(
    "content, says",
    [
        (torch.nn.Linear(2, 2), "state_dict"),
        ({"a": 1}, "has no state dictionary"),
        (b"text", "is not a weights file"),
        (b"", "is not a weights file"),
        (None, "no such weights file"),
    ],
    ids=["pickled module", "no tensors", "text", "empty", "missing"],
)
def test_a_file_without_state_dictionary_is_refused(content, says, tmp_path, capsys):
    source, target = tmp_path / "source.pt", tmp_path / "target.pt"
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    assert main(["convert-weights", str(source), str(target)]) == 1
    error = capsys.readouterr().err
    assert says in error and str(source) in error and error.count("\n") == 1
    assert not target.exists()
