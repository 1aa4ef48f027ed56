"""A package of the BioImage Model Zoo, tried by the zoo's own program and against the bundle's own masks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from monai.utils import OptionalImportError

from dpsau2net_monai.cli import main
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.networks import DPSAU2NetLite, load_weights
from dpsau2net_monai.zoo import write_bioimageio
from dpsau2net_monai.zoo.bioimageio import HALO

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundle"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Without ONNX, which takes a minute."""
    found = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name, *args: None if name == "onnx" else found(name, *args))
        return write_bioimageio(BUNDLE, tmp_path_factory.mktemp("packages"), "nuclei")


def tried(package):
    """``bioimageio test PACKAGE``, and the description as it read it."""
    from bioimageio.core import load_description, test_description

    summary = test_description(package, devices=["cpu"])
    assert summary.status == "passed", summary.format()
    return load_description(package)


def test_it_passes_the_zoos_test(package):
    description = tried(package)
    assert description.weights.onnx is None and description.weights.torchscript
    assert [author.name for author in description.authors] == ["The DPSAU2-Net MONAI project"]
    assert description.license == "Apache-2.0" and any(entry.doi for entry in description.cite)


@pytest.mark.slow
def test_with_onnx_it_passes_too(tmp_path):
    assert main(
        ["package", "--format", "bioimageio", "--bundle_root", str(BUNDLE), "--output", str(tmp_path), "--name", "n"]
    ) == 0  # fmt: skip
    assert tried(tmp_path / "n.zip").weights.onnx


def test_it_gives_what_the_bundle_gives(package):
    """In the zoo an image is (y, x), in MONAI (x, y); and it is mirrored at its edges first, by the halo."""
    from bioimageio.core import predict

    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 128)).astype(np.float32)
    given = predict(model=package, inputs={"image": pixels}).members["probability"].data.to_numpy()
    network = DPSAU2NetLite(2, 3, 1).eval()
    load_weights(network, BUNDLE / "models" / "model.pt")
    image = np.pad(pixels, [(0, 0), (0, 0), (HALO, HALO), (HALO, HALO)], "symmetric")
    image = (image - image.mean()) / image.std()
    with torch.inference_mode():
        expected = network(torch.from_numpy(image).mT).sigmoid().mT.numpy()
    np.testing.assert_allclose(given, expected[..., HALO:-HALO, HALO:-HALO], atol=1e-4)


def test_what_is_wrong_is_said_in_one_line(package, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nuclei.zip: exists"):
        write_bioimageio(BUNDLE, package.parent, "nuclei")
    with pytest.raises(InputError, match="nowhere: has no configs/metadata.json"):
        write_bioimageio(tmp_path / "nowhere", tmp_path, "nuclei")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text((BUNDLE / "configs" / "metadata.json").read_text())
    config = yaml.safe_load((BUNDLE / "configs" / "inference.yaml").read_text())
    (tmp_path / "configs" / "inference.yaml").write_text(yaml.safe_dump({**config, "spatial_dims": 3}))
    with pytest.raises(InputError, match="segments volumes"):
        write_bioimageio(tmp_path, tmp_path, "nuclei")
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    with pytest.raises(OptionalImportError, match="import bioimageio.spec failed; pip install bioimageio.core"):
        write_bioimageio(BUNDLE, tmp_path, "nuclei")
    assert not (tmp_path / "nuclei.zip").exists()
