"""What every network supports: sizes, options, training, copies, and export."""

from __future__ import annotations

import copy
import io
import logging
import os
import pickle
from pathlib import Path

import monai.networks.nets
import pytest
import torch
from monai.bundle import ConfigParser
from processes import fork_server
from torch import nn
from torch.export import Dim

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.networks import DPSAU2Net, DPSAU2NetLite, SABlock, SafeBatchNorm, SplitAttention, load_weights
from dpsau2net_monai.networks.dpsau2net import sub_pixel

NETWORKS = (DPSAU2Net, DPSAU2NetLite)
every_network = pytest.mark.parametrize("kind", NETWORKS)
only_lite = pytest.mark.parametrize("shallow", [DPSAU2NetLite], indirect=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """At these sizes, threads cost more than they save, above all while another process computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(kind: type[DPSAU2Net], *args, **kwargs) -> DPSAU2Net:
    """
    Build a network with weights that keep the signal's strength in every stage.

    With the default initial weights the signal fades, so that the outputs hardly depend on the deeper stages.
    """
    torch.manual_seed(0)
    network = kind(*args, **kwargs)
    for parameter in network.parameters():
        if parameter.dim() > 2:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return network


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_agree(result: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4 * expected.std().item())


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A 2D network with 3 input channels and 1 output channel. Each test sets its mode."""
    return build(request.param, 2, 3, 1)


@pytest.mark.parametrize(
    "kind, size",
    [
        (DPSAU2Net, (32, 32)),
        (DPSAU2Net, (33, 47)),
        (DPSAU2Net, (32, 32, 32)),
        (DPSAU2NetLite, (32, 32)),
        (DPSAU2NetLite, (33, 47)),
        (DPSAU2NetLite, (97, 113)),
        (DPSAU2NetLite, (32, 32, 32)),
        (DPSAU2NetLite, (33, 34, 36)),
    ],
)
def test_output_has_the_size_of_the_input(kind, size):
    network = kind(len(size), 2, 4).eval()
    with torch.inference_mode():
        assert network(images(1, 2, *size)).shape == (1, 4, *size)


THICK_SLICES = {  # strides for volumes whose slices are two to four times as thick as their pixels
    DPSAU2Net: [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2], [2, 2, 1]],
    DPSAU2NetLite: [[2, 2, 1], [2, 2, 1], [2, 2, 2]],
}


@pytest.mark.parametrize(
    "kind, size, deepest",
    [
        (DPSAU2Net, (32, 33, 9), (1, 2, 3)),
        (DPSAU2NetLite, (32, 40, 12), (4, 5, 6)),
        (DPSAU2NetLite, (33, 47, 7), (5, 6, 4)),
    ],
)
def test_strides_for_thick_slices(kind, size, deepest):
    network = build(kind, 3, 1, 2, strides=THICK_SLICES[kind]).eval()
    shapes = []
    network.encoder[-1].register_forward_hook(lambda module, given, output: shapes.append(tuple(output.shape[2:])))
    with torch.inference_mode():
        logits = network(images(1, 1, *size))
    assert logits.shape == (1, 2, *size) and torch.isfinite(logits).all()
    assert shapes == [deepest]


@every_network
def test_a_wrong_number_of_strides_is_refused(kind):
    with pytest.raises(ValueError, match=f"needs {len(THICK_SLICES[kind])} strides in 3D, got 2"):
        kind(3, 1, 1, strides=[[2, 2, 1]] * 2)


def test_a_thin_axis_is_not_mixed_before_it_is_reduced():
    """With strides of 1 along an axis, each slice has a position of its own in the maps."""
    volume = images(1, 1, 32, 32, 12)
    same, thin = (build(DPSAU2NetLite, 3, 1, 1, strides=strides) for strides in (None, THICK_SLICES[DPSAU2NetLite]))
    assert same.eval().entries[0](volume).shape == (1, 16, 16, 16, 6)
    assert thin.eval().entries[0](volume).shape == (1, 16, 16, 16, 12)


def test_sub_pixel_is_pixel_shuffle():
    ours = images(2, 12, 5, 7).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    shuffled, expected = sub_pixel(ours, [2, 2]), nn.functional.pixel_shuffle(theirs, 2)
    assert torch.equal(shuffled, expected)
    weight = images(2, 3, 10, 14)
    (shuffled * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_sub_pixel_with_a_factor_for_each_axis():
    x = images(1, 6, 4, 5, 3)
    result = sub_pixel(x, [2, 1, 3])
    assert result.shape == (1, 1, 8, 5, 9)
    for i in range(2):
        for k in range(3):
            assert torch.equal(result[:, 0, i::2, :, k::3], x[:, 3 * i + k])


@pytest.mark.parametrize("spatial_dims", [1, 4])
@every_network
def test_other_dimensions_are_refused(kind, spatial_dims):
    with pytest.raises(ValueError, match="spatial_dims"):
        kind(spatial_dims, 1, 1)


def test_number_of_parameters(network):
    number = sum(parameter.numel() for parameter in network.parameters())
    if isinstance(network, DPSAU2NetLite):
        assert number <= 1_000_000
    else:
        assert number == 60_697_357  # the published network's, without those that its forward pass does not use


@pytest.mark.parametrize(
    "options, present, absent",
    [
        ({"act": "leakyrelu"}, nn.LeakyReLU, nn.ReLU),
        ({"norm": "instance"}, nn.InstanceNorm2d, SafeBatchNorm),
        ({"norm": ("group", {"num_groups": 4})}, nn.GroupNorm, SafeBatchNorm),
    ],
    ids=["leakyrelu", "instance", "group"],
)
@every_network
def test_act_and_norm(kind, options, present, absent):
    network = kind(2, 1, 1, **options)
    types = [type(module) for module in network.modules()]
    assert present in types and absent not in types
    assert torch.isfinite(network(images(1, 1, 64, 64))).all()


@every_network
def test_dropout_acts_only_in_training(kind):
    network = build(kind, 2, 1, 1, dropout=0.2)
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) == len(kind.DESIGNS[2].encoder) + len(kind.DESIGNS[2].decoder)
    assert {module.p for module in dropouts} == {0.2}
    image = images(2, 1, 64, 64)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("size", [32, 64])
def test_training_on_one_image(network, size):
    network.train().zero_grad()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(images(1, 3, size, size)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name

    pooled = [name for name, module in network.named_modules() if isinstance(module, SplitAttention)]
    assert len(pooled) == sum(isinstance(module, SABlock) for module in network.modules()) > 0
    for name, buffer in network.named_buffers():
        assert torch.isfinite(buffer).all(), name
        if any(name.startswith(f"{attention}.norm.") for attention in pooled):
            assert torch.equal(buffer, before[name]), name
        elif name.startswith("encoder.0.stem."):
            assert not torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"track_running_stats": False}, {"affine": False}])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 5), (2, 3, 1, 1)])
def test_safe_batch_norm_is_batch_norm(shape, options):
    ours, theirs = SafeBatchNorm(3, **options), nn.BatchNorm2d(3, **options)
    for _ in range(2):
        assert torch.equal(ours(images(*shape)), theirs(images(*shape)))
    assert torch.equal(ours.eval()(images(*shape)), theirs.eval()(images(*shape)))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_safe_batch_norm_treats_a_single_value_as_in_evaluation():
    norm = SafeBatchNorm(3)
    norm(images(2, 3, 4, 5))
    before = copy.deepcopy(norm.state_dict())
    value = images(1, 3, 1, 1)
    in_training = norm(value)
    assert torch.equal(in_training, norm.eval()(value))
    for name, buffer in before.items():
        assert torch.equal(norm.state_dict()[name], buffer), name


@every_network
def test_deep_supervision(kind):
    network = build(kind, 2, 3, 2, deep_supervision=True)
    number = 1 + len(kind.DESIGNS[2].decoder) + 1  # the fused logits, the decoder's and the deepest stage's
    image = images(2, 3, 64, 64)
    with torch.no_grad():
        stacked = network(image)
        assert stacked.shape == (2, number, 2, 64, 64)
        assert network.eval()(image).shape == (2, 2, 64, 64)
        network.train().deep_supervision = False
        assert torch.equal(stacked[:, 0], network(image))
    for i in range(number):
        assert not any(torch.equal(stacked[:, i], stacked[:, j]) for j in range(i))


def test_deep_supervision_of_volumes():
    network = build(DPSAU2NetLite, 3, 1, 2, deep_supervision=True, strides=THICK_SLICES[DPSAU2NetLite])
    stacked = network(images(1, 1, 33, 34, 9))
    assert stacked.shape == (1, 4, 2, 33, 34, 9)
    stacked[:, 1:].square().mean().backward()  # the side logits alone
    assert all(parameter.grad is not None for parameter in network.encoder.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.encoder.parameters())


def through_state_dict(network: DPSAU2Net) -> DPSAU2Net:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    restored = type(network)(2, 3, 1).eval()
    restored.load_state_dict(torch.load(file, weights_only=True))
    return restored


def through_pickle(network: DPSAU2Net) -> DPSAU2Net:
    return pickle.loads(pickle.dumps(network))


@pytest.mark.parametrize("copied", [through_state_dict, through_pickle, copy.deepcopy])
def test_copies_are_equal(network, copied):
    network.eval()
    image = images(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(copied(network)(image), network(image))


@only_lite
def test_load_weights_logs_the_file(shallow, tmp_path, caplog):
    path = tmp_path / "weights.pt"
    torch.save(shallow.state_dict(), path)
    other = type(shallow)(2, 3, 1)
    with caplog.at_level(logging.INFO, "dpsau2net_monai"):
        load_weights(other, path)
    assert caplog.messages == [f"weights: {path}"]
    assert all(torch.equal(value, shallow.state_dict()[name]) for name, value in other.state_dict().items())
    with pytest.raises(InputError, match="weights.pt: does not match this .*: '.*' has shape"):
        load_weights(type(shallow)(2, 1, 1), path)


@pytest.fixture(scope="module", params=NETWORKS)
def shallow(request):
    """The network's first and last stage alone: to trace all of them takes up to a minute, and is the same code."""
    design = request.param.DESIGNS[2]
    stages = {"encoder": (design.encoder[0], design.encoder[-1]), "decoder": design.decoder[:1]}
    return build(type("Shallow", (request.param,), {"DESIGNS": {2: design._replace(**stages)}}), 2, 3, 1)


def test_script(shallow):
    shallow.eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(shallow), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    with torch.inference_mode():
        for image in (images(2, 3, 64, 64), images(1, 3, 33, 47)):
            assert_agree(scripted(image), shallow(image))


@pytest.fixture(scope="module", params=[None, THICK_SLICES[DPSAU2NetLite]], ids=["all axes", "thick slices"])
def volume_network(request):
    return build(DPSAU2NetLite, 3, 1, 2, strides=request.param).eval()


def test_script_of_volumes(volume_network):
    scripted = torch.jit.script(volume_network)
    with torch.inference_mode():
        for volume in (images(1, 1, 32, 32, 16), images(2, 1, 33, 35, 17)):
            assert_agree(scripted(volume), volume_network(volume))


@only_lite
def test_export(shallow):
    shallow.eval()
    # torch requires a proof of the conditions on named sizes, and has none for a pooling in ceil mode
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        exported = torch.export.export(shallow, (images(2, 3, 97, 113),), dynamic_shapes=(free,))
    program = exported.module()
    with torch.inference_mode():
        for image in (images(1, 3, 64, 64), images(3, 3, 33, 47)):
            assert_agree(program(image), shallow(image))


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@only_lite
def test_compile_makes_one_graph(shallow, training):
    shallow.train(training)
    torch.compiler.reset()
    compiled = torch.compile(
        shallow, fullgraph=True, backend="eager"
    )  # Dynamo traces it; the slow inductor is not needed
    image = images(2, 3, 64, 64)
    with torch.set_grad_enabled(training):
        assert_agree(compiled(image), shallow(image))


@every_network
def test_monai_finds_the_network_by_name(kind):
    name = kind.__name__
    assert getattr(monai.networks.nets, name) is kind
    config = {"_target_": f"monai.networks.nets.{name}", "spatial_dims": 2, "in_channels": 1, "out_channels": 1}
    parser = ConfigParser({"network_def": config})
    assert type(parser.get_parsed_content("network_def")) is kind


def test_monai_finds_the_network_whatever_is_imported_first():
    code = """
import sys
import monai.networks.nets, dpsau2net_monai
assert monai.networks.nets.DPSAU2Net is dpsau2net_monai.DPSAU2Net
for name in ["monai.networks.nets", *(name for name in sys.modules if name.startswith("dpsau2net_monai"))]:
    del sys.modules[name]
import dpsau2net_monai, monai.networks.nets
assert monai.networks.nets.DPSAU2Net is dpsau2net_monai.DPSAU2Net
"""
    result = fork_server().run(["-c", code], Path.cwd(), os.environ)
    assert result.returncode == 0, result.stderr
