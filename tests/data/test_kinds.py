from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.data import kind_weights


def test_pictures_of_a_rare_kind_weigh_more(tmp_path):
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(13):
        stained = index >= 9
        shape, colour = ((20, 24, 3), (200, 120, 180)) if stained else ((20, 24), 20)
        picture = np.clip(rng.normal(colour, 5, shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
        pairs.append({"image": str(tmp_path / f"{index}.png")})
    weights = kind_weights(pairs, kinds=2)
    assert weights == pytest.approx([1 / 3] * 9 + [1 / 2] * 4)
