from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from bright import NETWORK, write_bright
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from dpsau2net_monai.clicks import draw_clicks
from dpsau2net_monai.data import Labels, Task
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.inferers import BFloat16Inferer, ClickInferer, TTAInferer, window_inferer
from dpsau2net_monai.networks import DPSAU2NetLite
from dpsau2net_monai.runtimes import open_network


@pytest.mark.parametrize(
    ("shape", "flip_axes", "views"),
    [((2, 1, 5, 8), None, 8), ((1, 1, 4, 5, 6), None, 8), ((1, 1, 4, 5, 6), [0], 2), ((1, 1, 4, 5, 6), [0, 2], 4)],
    ids=["2D", "3D", "one axis", "two axes"],
)
def test_each_view_is_inferred_once_and_turned_back(shape, flip_axes, views):
    seen = []

    def network(x):
        seen.append(x)
        return x  # so the result equals the input if each view is turned back correctly

    x = torch.randn(shape)
    torch.testing.assert_close(TTAInferer(SimpleInferer(), flip_axes=flip_axes)(x, network), x)
    assert len(seen) == views
    assert len({tuple(view.flatten().tolist()) + tuple(view.shape) for view in seen}) == views


def test_the_flipped_views_of_pictures_are_enlarged():
    ramp = torch.linspace(-2, 2, 96).expand(1, 3, 64, 96)
    seen = []

    def network(x):
        seen.append(tuple(x.shape[2:]))
        return x[:, :1], x

    logits, further = window_inferer(Task(roi_size=[64, 64]), tta=True).inferer(ramp, network)
    assert seen == [(64, 64)] * 8 + [(80, 80)] * 8  # two windows in each view, which show as much of it
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(further[inside], ramp[inside], atol=1e-3, rtol=0)
    torch.testing.assert_close(logits[inside], ramp[:, :1][inside], atol=1e-3, rtol=0)


def test_probabilities_are_averaged_not_logits():
    ramp = torch.tensor([-4.0, 8.0]).expand(1, 1, 2, 2)  # half of the eight views swap the columns
    out = TTAInferer(SimpleInferer())(torch.zeros(1, 1, 2, 2), lambda x: ramp)
    expected = (torch.tensor(-4.0).sigmoid() + torch.tensor(8.0).sigmoid()) / 2
    torch.testing.assert_close(out.sigmoid(), expected.expand(1, 1, 2, 2))


def test_probabilities_of_classes_that_exclude_each_other_are_averaged():
    ramp = torch.tensor([[-1.0, 3.0], [0.0, 0.0], [2.0, 2.0]]).view(1, 3, 1, 2).expand(1, 3, 2, 2)
    out = TTAInferer(SimpleInferer(), softmax=True)(torch.zeros(1, 1, 2, 2), lambda x: ramp)
    expected = ramp.softmax(1).mean(-1, keepdim=True).expand(1, 3, 2, 2)  # half of the eight views swap the columns
    torch.testing.assert_close(out.softmax(1), expected)


def test_further_outputs_are_turned_back_and_averaged():
    image = torch.randn(1, 1, 5, 8)
    seen = []

    def network(x):
        seen.append(x)
        return x, 2 * x + len(seen)

    _, further = TTAInferer(SimpleInferer())(image, network)
    torch.testing.assert_close(further, 2 * image + 4.5)  # the mean of 1 to 8


@pytest.mark.parametrize("overlap", [1.0, -0.1, "half", [0.5, 1]])
def test_an_overlap_out_of_range_is_refused_in_one_line(overlap):
    with pytest.raises(InputError, match="give a share from 0 to less than 1"):
        window_inferer(Task(), overlap=overlap)


def step(network, inferer, size=(40, 40, 40)):
    """The logits of blobs, and the gradient of a loss, after which the network has its old weights."""
    coarse = torch.rand(1, 1, *(side // 8 for side in size), generator=torch.Generator().manual_seed(1))
    x = torch.nn.functional.interpolate(coarse, size=size, mode="trilinear")
    network.zero_grad()
    logits = inferer(x, network)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, (x > 0.5).float().expand_as(logits)).backward()
    return logits.detach(), torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


@pytest.mark.slow
def test_a_step_in_bfloat16_is_close_to_one_in_float32():
    torch.manual_seed(0)
    network = DPSAU2NetLite(3, 1, 2)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(15):  # the first gradients of random weights change with any rounding
        step(network, SimpleInferer())
        optimizer.step()
    expected_logits, expected = step(network, SimpleInferer())
    logits, gradient = step(network, BFloat16Inferer())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=0.05 * expected_logits.std().item())
    assert not torch.equal(logits, expected_logits)
    assert (gradient - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("size", [(3, 3, 3), (3, 5, 7), (5, 3, 3)])
@pytest.mark.parametrize("options", [{}, {"dilation": 4}, {"groups": 8}], ids=["plain", "dilated", "depthwise"])
def test_gradients_of_the_smallest_maps_that_are_let_through(options, size):
    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(8, 8, 3, padding=options.get("dilation", 1), **options)
    x, upstream, gradients = torch.randn(2, 8, *size), torch.randn(2, 8, *size), []
    for inferer in (SimpleInferer(), BFloat16Inferer()):
        convolution.zero_grad()
        inferer(x, convolution).backward(upstream)
        gradients.append(convolution.weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.01 * gradients[0].norm()


def test_a_crop_too_small_for_bfloat16_is_refused_in_one_line():
    network = DPSAU2NetLite(3, 1, 2)
    with pytest.raises(InputError, match="a crop of 32 x 32 x 32 is too small for bfloat16 on a CPU.*2 x 2 x 2"):
        step(network, BFloat16Inferer(), (32, 32, 32))
    assert not any(module._forward_pre_hooks for module in network.modules())
    step(network, SimpleInferer(), (32, 32, 32))


class Patches(torch.nn.Module):
    """A network whose logits and side outputs follow from each pixel alone, and which takes images of one channel."""

    def __init__(self, labels: Labels, sure: float = 1.0) -> None:
        super().__init__()
        self.sides = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
        self.first = torch.tensor([0.0] * labels.softmax + [sure] + [-sure] * (len(labels.names) - 1))
        self.sure = sure

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1] == 1
        for side in self.sides:
            side(x)
        found, other = self.first.view(1, -1, *[1] * (x.dim() - 2)), torch.zeros(len(self.first))
        other = torch.where(self.first == 0, self.first, -self.sure - 0.4).view_as(found)
        return torch.where(x == 2, found, other)


PARTS = {"background": 0, "anterior": 1, "posterior": 2}


@pytest.mark.parametrize("definition", ["nucleus", PARTS], ids=["one class", "two classes"])
@pytest.mark.parametrize("tta", [False, True])
def test_masks_follow_clicks_and_without_any_are_those_of_the_network(definition, tta):
    """Windows, views of test-time augmentation, and a network in half precision change nothing of it."""
    labels = Labels(definition)
    task = Task(2, 1, labels, roi_size=[32, 32])
    image = torch.zeros(1, 1, 70, 50)
    image[..., 40:60, 10:30] = 2
    points = {"background": (50, 20), labels.names[-1]: (8, 40)}
    clicks = draw_clicks({name: [point] for name, point in points.items()}, labels, image.shape[2:])
    inferer = window_inferer(task, tta)

    def codes(inputs: torch.Tensor) -> torch.Tensor:
        logits = inferer(inputs, Patches(labels))
        return logits.argmax(1)[0] if labels.softmax else (logits[0, 0] > 0).long()

    before, after = codes(image), codes(torch.cat([image, clicks[None]], 1))
    assert torch.equal(before, (image[0, 0] == 2).long())
    assert torch.equal(codes(torch.cat([image, 0 * clicks[None]], 1)), before)
    assert after[points["background"]] == 0 and after[points[labels.names[-1]]] == len(labels.names)
    assert after[69, 0] == 0


@pytest.mark.parametrize("sure", [0.1, 20.0])
def test_clicks_speak_for_far_pixels_unless_the_mask_is_sure(sure):
    task = Task(2, 1, "cell", roi_size=[128, 128])
    image = torch.zeros(1, 1, 128, 128)
    image[..., 10:40, 10:40] = image[..., 90:120, 90:120] = 1  # missed, and alike
    image[..., 10:40, 90:120] = 2  # found
    clicks = draw_clicks({"cell": [(25, 25)]}, task.labels, (128, 128))
    mask = window_inferer(task)(torch.cat([image, clicks[None]], 1), Patches(task.labels, sure))[0, 0] > 0
    assert mask[25, 25] and mask[25, 105] and not mask[60, 60]
    assert bool(mask[105, 105]) == (sure == 0.1)


def test_clicks_without_side_outputs(tmp_path):
    """A plain network and one of ONNX Runtime follow the clicks by the image's channels, and give the same."""
    task = Task(2, 3, "nucleus", roi_size=[64, 64])
    write_bright(tmp_path, task, 2.0)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    clicks = draw_clicks({"nucleus": [(9, 50), (40, 8)], "background": [(30, 30)]}, task.labels, (64, 64))
    results = []
    for runtime in ("torch", "onnx"):
        network = ConfigParser({"task": task, "network": NETWORK}).get_parsed_content("network")
        network = open_network(network, tmp_path / "model.pt", task, runtime, "float32")
        with torch.inference_mode():
            results.append(window_inferer(task)(torch.cat([image, clicks[None]], 1), network))
    assert torch.allclose(*results, atol=1e-3)
    assert results[0][0, 0, 9, 50] > 0 and results[0][0, 0, 40, 8] > 0 and results[0][0, 0, 30, 30] < 0


@pytest.fixture
def clicked():
    """A network that counts its calls, and the function that segments an image with clicks by it."""
    task = Task(2, 3, "nucleus", roi_size=[64, 64])
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.5))
    network.eval().calls = 0
    network.register_forward_hook(lambda module, *_: setattr(module, "calls", module.calls + 1))

    def segment(image, *points, network=network, **options):
        clicks = draw_clicks({"nucleus": points}, task.labels, image.shape[2:])
        inferer = window_inferer(task, **options)  # a new one for each request, as in MONAI Label
        return inferer(torch.cat([image, clicks[None]], 1), network)

    return network, segment


@pytest.mark.parametrize(
    ("mode", "tta"), [(torch.no_grad, False), (torch.inference_mode, False), (torch.no_grad, True)]
)
def test_further_clicks_on_an_image_do_not_compute_the_network_again(clicked, mode, tta):
    network, segment = clicked
    image, points = torch.rand(1, 3, 48, 40), [(9, 30), (40, 8), (20, 20)]
    with mode():
        for count in (1, 2, 3, 1):
            expected = segment(image, *points[:count], network=deepcopy(network), tta=tta)
            logits = segment(MetaTensor(image.clone(), meta={"count": count}), *points[:count], tta=tta)
            torch.testing.assert_close(logits.as_tensor(), expected)
            assert logits.meta["count"] == count
            logits.zero_()
    assert network.calls == (8 if tta else 1)  # one for each view


def test_what_is_kept_for_further_clicks_is_freed(clicked):
    network, segment = clicked
    with torch.no_grad():
        segment(torch.rand(1, 3, 48, 40), (9, 30))
        assert network in ClickInferer._kept
        segment(torch.rand(1, 3, 48, 40))
        assert network not in ClickInferer._kept


@torch.no_grad()
def test_a_click_computes_the_network_again_if_anything_else_changed(clicked):
    network, segment = clicked
    image = torch.rand(1, 3, 48, 40)

    def check(image=image, again=0, **options):
        """The network is computed anew, with the result of another network, and the second time ``again``."""
        expected = segment(image, (9, 30), network=deepcopy(network), **options)
        for calls in (1, again):
            calls += network.calls
            torch.testing.assert_close(segment(image, (9, 30), **options), expected)
            assert network.calls == calls

    check()
    check(image.flip(2))
    check(image[:, :, :40])
    image += 1
    check()
    check(mode="gaussian")
    with torch.autocast("cpu", torch.bfloat16):
        check()
    network[0].bias.add_(1)
    check()
    network[1].running_mean += 1
    check()
    network[0].weight = torch.nn.Parameter(2 * network[0].weight)
    check()
    with torch.inference_mode():
        network[0].weight.mul_(2)
        check()
        network[0].weight = torch.nn.Parameter(2 * network[0].weight)
        check(again=1)  # torch does not count the changes of such weights
    network[0].weight = torch.nn.Parameter(network[0].weight.clone())
    check()
    network[0].train()  # as with dropout
    check(again=1)
    network.eval()
    with torch.enable_grad():
        check(again=1)


@torch.no_grad()
def test_new_weights_at_the_address_of_former_ones_are_noticed(clicked):
    network, segment = clicked
    image, values = torch.rand(1, 3, 48, 40), np.ones((1, 3, 3, 3), np.float32)
    network[0].weight = torch.nn.Parameter(torch.from_numpy(values))
    segment(image, (9, 30))
    values *= 2
    plain = [torch.from_numpy(values) for _ in range(100)]  # made now, so that none takes the address
    address = id(network[0].weight)
    network[0].weight = None
    weights = [torch.nn.Parameter(one) for one in plain]
    network[0].weight = next((one for one in weights if id(one) == address), weights[0])
    expected = segment(image, (9, 30), network=deepcopy(network))
    torch.testing.assert_close(segment(image, (9, 30)), expected)


@torch.no_grad()
def test_requests_in_threads_follow_their_own_clicks(clicked):
    network, segment = clicked
    requests = [(torch.rand(1, 3, 48, 40), (row, 8)) for row in range(6)]
    expected = [segment(*request, network=deepcopy(network)) for request in requests]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(5):
            for logits, right in zip(pool.map(lambda request: torch.no_grad()(segment)(*request), requests), expected):
                torch.testing.assert_close(logits, right)


@pytest.mark.parametrize(
    ("task", "shape", "seen"),
    [
        (Task(3, 1, "organ", roi_size=[48, 64, 48], strides=[[2, 2, 2]] * 3), (36, 70, 33), (40, 64, 40)),
        (Task(2, 1, "cell"), (100, 300), (128, 256)),
        (Task(2, 1, "organ", roi_size=[64, 64, 1]), (20, 100, 3), (32, 64)),
    ],
    ids=["volume", "picture", "slices"],
)
def test_windows_are_padded_no_more_than_the_network_needs(task, shape, seen):
    shapes = set()

    def network(windows: torch.Tensor) -> torch.Tensor:
        shapes.add(tuple(windows.shape[2:]))
        return windows

    image = torch.rand(1, 1, *shape)
    torch.testing.assert_close(window_inferer(task)(image, network), image)
    assert shapes == {seen}


@pytest.mark.parametrize("slice_axis", [-1, 2], ids=["picture", "slices"])
def test_scoring_in_training_mode_has_dropout_and_the_statistics_of_training(slice_axis):
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.5)).train()
    image = torch.ones(1, 1, 32, 32, *[2] * (slice_axis == 2))
    out = window_inferer(Task(2, 1, "cell", roi_size=[32] * 2 + [1] * (slice_axis == 2)))(image, network)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 2.0]))
    assert network[0].running_mean.item() == 0
