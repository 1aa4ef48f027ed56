from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer

from dpsau2net_monai.inferers import TTAInferer


@pytest.mark.parametrize("shape", [(2, 1, 5, 8), (1, 1, 4, 5, 6)], ids=["2D", "3D"])
def test_each_of_eight_views_is_inferred_once_and_turned_back(shape):
    seen = []

    def network(x):
        seen.append(x)
        return x  # so the result equals the input if each view is turned back correctly

    x = torch.randn(shape)
    torch.testing.assert_close(TTAInferer(SimpleInferer())(x, network), x)
    assert len(seen) == 8
    assert len({tuple(view.flatten().tolist()) + tuple(view.shape) for view in seen}) == 8


def test_probabilities_are_averaged_not_logits():
    ramp = torch.tensor([-4.0, 8.0]).expand(1, 1, 2, 2)  # half of the eight views swap the columns
    out = TTAInferer(SimpleInferer())(torch.zeros(1, 1, 2, 2), lambda x: ramp)
    expected = (torch.tensor(-4.0).sigmoid() + torch.tensor(8.0).sigmoid()) / 2
    torch.testing.assert_close(out.sigmoid(), expected.expand(1, 1, 2, 2))
