"""The example of docs/start.md, as it stands there but for its paths."""

from __future__ import annotations

import re

import torch
from running import ROOT

from dpsau2net_monai.data import synthesize
from dpsau2net_monai.networks import DPSAU2NetLite, load_weights


def test_example(tmp_path, monkeypatch):
    synthesize(tmp_path / "DATA", 2, size=(64, 64))
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "start.md").read_text(encoding="utf-8"), re.DOTALL)
    for path in ("DATA/images", "masks"):
        assert f'"{path}"' in example
        example = example.replace(f'"{path}"', repr(str(tmp_path / path)))
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(example, names)

    images = {path.name for path in (tmp_path / "DATA" / "images").iterdir()}
    assert {path.name for path in (tmp_path / "masks").iterdir()} == images
    network = DPSAU2NetLite(2, 3, 2).eval()
    load_weights(network, ROOT / "bundle" / "models" / "model.pt")
    image = torch.randn(1, 3, 64, 80)
    with torch.inference_mode():
        assert torch.equal(names["network"].cpu()(image), network(image))
