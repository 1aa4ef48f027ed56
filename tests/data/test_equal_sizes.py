"""Images of one size that go through the network together."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

from dpsau2net_monai.data import EqualSizes


def numbers(images, **options):
    items = [{"image": MetaTensor(torch.zeros(3, *size)), "number": number} for number, size in enumerate(images)]
    return [[item["number"] for item in group] for group in EqualSizes(items, window=[64, 64], **options)]


def test_sizes_mixed():
    small, other, large = (40, 30), (30, 40), (40, 65)
    images = [small, other, small, large, small, other, large, small]
    assert numbers(images, number=3) == [[3], [0, 2, 4], [6], [1, 5], [7]]
    assert numbers(images, number=1) == [[number] for number in range(8)]


def test_few_wait_where_all_sizes_differ(monkeypatch):
    monkeypatch.setattr(EqualSizes, "WAITING", 120)
    sizes = [(10, 3), (3, 10), (5, 6), (6, 5), (6, 5), (1, 31)]
    assert numbers(sizes, number=4) == [[0], [3, 4], [5], [1], [2]]
