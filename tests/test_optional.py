from __future__ import annotations

import sys
from types import ModuleType

import pytest

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.optional import require


def test_a_package_that_is_there_recent_enough_and_missing(monkeypatch):
    peer = ModuleType("peer")
    peer.__version__ = "1.18.2+cpu"
    monkeypatch.setitem(sys.modules, "peer", peer)
    assert require("peer", "1.18", "peer-of-ours") is peer
    with pytest.raises(InputError, match=r"peer 1.18.2\+cpu is older than 1.19: pip install --upgrade peer-of-ours"):
        require("peer", "1.19", "peer-of-ours")
    monkeypatch.setitem(sys.modules, "peer", None)
    with pytest.raises(InputError, match=r"peer cannot be imported .* pip install peer-of-ours"):
        require("peer", "1.18", "peer-of-ours")
