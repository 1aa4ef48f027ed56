from __future__ import annotations

import math

import pytest
import torch

from dpsau2net_monai.clicks import propagation, spread_clicks


def clicked(shape, classes, points) -> torch.Tensor:
    clicks = torch.zeros(classes, *shape)
    for code, point in points:
        clicks[(code, *point)] = 1
    return clicks


@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 16)], ids=["picture", "volume"])
@pytest.mark.parametrize("count", [1, 6, 300])
def test_the_mask_has_the_class_of_each_click(shape, count, monkeypatch):
    """In noise, in three classes, however wrong it is, and however many pixels are computed at once."""
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randperm(math.prod(shape), generator=generator)[:count]
    points = [tuple(int(i) for i in torch.unravel_index(pixel, shape)) for pixel in pixels]
    codes = torch.randint(3, (count,), generator=generator).tolist()
    logits = 8 * torch.randn(3, *shape, generator=generator)
    features = torch.randn(4, *shape, generator=generator)
    clicks = clicked(shape, 3, zip(codes, points))
    spread = spread_clicks(clicks, logits, features)
    assert spread.isfinite().all()
    classes = (logits + spread).argmax(0)
    assert [int(classes[point]) for point in points] == codes
    monkeypatch.setattr(propagation, "CHUNK", 1000)
    torch.testing.assert_close(spread_clicks(clicks, logits, features), spread, rtol=0, atol=0.02)


def test_clicks_act_alike_at_both_ends_of_a_long_picture():
    shape, points = (24, 20_000), [(5, 30), (9, 24), (15, 20)]
    far = [(1, (row, shape[1] - 1 - column)) for row, column in points]
    logits = torch.stack([torch.full(shape, 4.0), torch.zeros(shape)])
    features = torch.zeros(1, *shape)
    near = spread_clicks(clicked(shape, 2, [(1, point) for point in points]), logits, features, anywhere=0)
    torch.testing.assert_close(spread_clicks(clicked(shape, 2, far), logits, features, anywhere=0).flip(2), near)


def test_only_what_is_wrong_is_corrected():
    logits = torch.stack([torch.zeros(30, 30), torch.full((30, 30), -3.0)])
    features = torch.zeros(2, 30, 30)
    right, wrong = (0, (5, 5)), (1, (20, 20))
    assert not spread_clicks(clicked((30, 30), 2, [right]), logits, features).any()
    assert not spread_clicks(clicked((30, 30), 2, [(0, (9, 9)), (1, (9, 9))]), logits, features).any()
    alone = (logits + spread_clicks(clicked((30, 30), 2, [wrong]), logits, features)).argmax(0)
    both = (logits + spread_clicks(clicked((30, 30), 2, [wrong, right]), logits, features)).argmax(0)
    assert alone[20, 20] == both[20, 20] == 1 and both[5, 5] == 0 and both.sum() < alone.sum()


@pytest.mark.parametrize("anywhere", [0.0, 1.0])
def test_a_click_speaks_for_pixels_that_are_like_the_clicked_one(anywhere):
    features = torch.zeros(1, 100, 100)
    squares = {"clicked": (5, 5, 1), "alike": (85, 85, 1), "near, other": (5, 30, -1)}
    for row, column, value in squares.values():
        features[0, row : row + 10, column : column + 10] = value
    logits = torch.stack([torch.zeros(100, 100), torch.full((100, 100), -0.4)])
    mask = (logits + spread_clicks(clicked((100, 100), 2, [(1, (9, 9))]), logits, features, anywhere)).argmax(0)
    found = {name: mask[r : r + 10, c : c + 10].float().mean() for name, (r, c, _) in squares.items()}
    assert found == {"clicked": 1, "alike": anywhere, "near, other": 0}
