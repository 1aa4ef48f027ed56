from __future__ import annotations

import pytest
import torch

from dpsau2net_monai.clicks import add_click, click_names, draw_clicks
from dpsau2net_monai.data import Labels

NUCLEUS, PARTS = Labels("nucleus"), Labels({"background": 0, "anterior": 1, "posterior": 2})


@pytest.mark.parametrize("point, shape", [((3, 35), (30, 50)), ((0, 49), (30, 50)), ((29, 0, 14), (30, 8, 20))])
def test_a_click_is_highest_at_its_point(point, shape):
    channel = torch.zeros(shape)
    add_click(channel, point)
    assert channel.max() == channel[point] == 1 and (channel == 1).sum() == 1
    assert channel[tuple(max(0, value - 30) for value in point)] < 0.01


@pytest.mark.parametrize(
    "labels, clicks",
    [
        (NUCLEUS, {"nucleus": [[5, 9]], "background": [[20, 3]]}),
        (PARTS, {"posterior": [[5, 9]], "anterior": [[20, 3]]}),
    ],
)
def test_each_class_and_the_background_have_a_channel(labels, clicks):
    guidance = draw_clicks(clicks, labels, (30, 12))
    assert guidance.shape == (len(click_names(labels)), 30, 12)
    for channel, name in zip(guidance, click_names(labels)):
        peaks = (channel == 1).nonzero().tolist()
        assert peaks == clicks.get(name, [])


def test_repeated_and_many_clicks_stay_in_range():
    once, twice = (draw_clicks({"nucleus": [[5, 9]] * count}, NUCLEUS, (30, 12)) for count in (1, 2))
    assert torch.equal(once, twice)
    many = draw_clicks({"nucleus": [[i % 30, i % 12] for i in range(500)]}, NUCLEUS, (30, 12))
    assert many.min() >= 0 and many.max() == 1
