from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer

from dpsau2net_monai.clicks import draw_clicks
from dpsau2net_monai.data import Labels, Task
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.inferers import BFloat16Inferer, TTAInferer, window_inferer
from dpsau2net_monai.networks import DPSAU2NetLite


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


@pytest.mark.parametrize("definition", ["nucleus", {"background": 0, "anterior": 1, "posterior": 2}])
def test_the_mask_follows_the_clicks_at_their_points_also_where_the_network_does_not(definition):
    labels = Labels(definition)
    task = Task(2, 1, labels, roi_size=[32, 32], clicks=True)
    image = torch.zeros(1, task.network_channels, 40, 48)
    points = {"background": (30, 9), labels.names[-1]: (8, 40)}
    image[0, 1:] = draw_clicks({name: [point] for name, point in points.items()}, labels, (40, 48))
    for wrong in (0, len(labels.names)):  # everywhere
        logit = torch.eye(3)[wrong] if labels.softmax else torch.tensor([wrong - 0.5])

        def network(windows: torch.Tensor, logit: torch.Tensor = logit) -> torch.Tensor:
            return logit.view(1, -1, 1, 1).repeat(len(windows), 1, *windows.shape[2:])

        logits = window_inferer(task)(image, network)
        codes = logits.argmax(1)[0] if labels.softmax else (logits[0, 0] > 0).long()
        assert codes[points["background"]] == 0 and codes[points[labels.names[-1]]] == len(labels.names)
        assert codes[0, 0] == codes[-1, -1] == wrong


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


def test_a_click_corrects_what_is_like_the_clicked_pixels_unless_the_mask_is_sure():
    class Network(torch.nn.Module):  # two missed squares that look alike, and one that does not
        def __init__(self, sure: float) -> None:
            super().__init__()
            self.sides = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
            self.sure = sure

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for side in self.sides:
                side(x[:, :1])
            found = x[:, :1] == 2  # another square, which the network finds
            return torch.where(found, self.sure, -self.sure - 0.4)

    task = Task(2, 1, "cell", roi_size=[128, 128], clicks=True)
    image = torch.zeros(1, 3, 128, 128)
    squares = {"clicked": (10, 10, 1), "alike": (80, 80, 1), "other": (80, 10, -1), "found": (10, 80, 2)}
    for row, column, value in squares.values():
        image[0, 0, row : row + 30, column : column + 30] = value
    image[:, 1:] = draw_clicks({"cell": [(25, 25)]}, task.labels, (128, 128))
    changed = {}
    for sure in (0.1, 20.0):
        mask = window_inferer(task)(image, Network(sure))[0, 0] > 0
        changed[sure] = {
            name: mask[r : r + 30, c : c + 30].float().mean().item() for name, (r, c, _) in squares.items()
        }
    assert changed[0.1] == {"clicked": 1, "alike": 1, "other": 0, "found": 1}
    assert changed[20.0]["alike"] == 0


@pytest.mark.parametrize("slice_axis", [-1, 2], ids=["picture", "slices"])
def test_scoring_in_training_mode_has_dropout_and_the_statistics_of_training(slice_axis):
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.5)).train()
    image = torch.ones(1, 1, 32, 32, *[2] * (slice_axis == 2))
    out = window_inferer(Task(2, 1, "cell", roi_size=[32] * 2 + [1] * (slice_axis == 2)))(image, network)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 2.0]))
    assert network[0].running_mean.item() == 0
