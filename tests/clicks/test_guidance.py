from __future__ import annotations

import pytest

from dpsau2net_monai.clicks import click_names, draw_clicks
from dpsau2net_monai.data import Labels

NUCLEUS, PARTS = Labels("nucleus"), Labels({"background": 0, "anterior": 1, "posterior": 2})


@pytest.mark.parametrize(
    "labels, clicks",
    [
        (NUCLEUS, {"nucleus": [[5, 9]], "background": [[0, 0], [29, 11]]}),
        (PARTS, {"posterior": [[5, 9], [5, 9]], "anterior": [[4.6, 9.4], [-0.5, 11.4]]}),
    ],
)
def test_each_class_and_the_background_have_a_channel_of_points(labels, clicks):
    channels = draw_clicks(clicks, labels, (30, 12))
    assert channels.shape == (len(click_names(labels)), 30, 12)
    places = {"anterior": [[0, 11], [5, 9]], "posterior": [[5, 9]]} if labels == PARTS else clicks
    for channel, name in zip(channels, click_names(labels)):
        assert channel.nonzero().tolist() == places.get(name, []) and channel.sum() == len(places.get(name, []))
