import pytest


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """On a CPU with bfloat16, ``precision: auto`` could choose it in one of two segmentations that are compared."""
    monkeypatch.setattr("dpsau2net_monai.runtimes.opening.has_bfloat16", lambda: False)
