"""MONAI's own commands on the bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import CONFIGS, ROOT

from dpsau2net_monai.networks import DPSAU2NetLite, load_weights

SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
WEIGHTS = ROOT / "bundle" / "models" / "model.pt"
CONFIG = ("--config_file", str(CONFIGS / "inference.yaml"), "--bundle_root", str(ROOT / "bundle"))


def verb(name: str, *arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "monai.bundle", name, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def example():
    network = DPSAU2NetLite(2, 3, 1).eval()
    load_weights(network, WEIGHTS)
    image = torch.randn(2, 3, 75, 102)
    with torch.inference_mode():
        return image, network(image)


def test_verify_metadata(tmp_path):
    # where the verb would download to; a file that is there is taken as it is
    path = tmp_path / "schema.json"
    shutil.copy(SCHEMA, path)
    verb("verify_metadata", "--meta_file", str(CONFIGS / "metadata.json"), "--filepath", str(path))


def test_verify_net_in_out():
    verb("verify_net_in_out", "network_def", "--meta_file", str(CONFIGS / "metadata.json"), "--n", "2", *CONFIG)


def test_ckpt_export(example, tmp_path):
    path = tmp_path / "model.ts"
    verb("ckpt_export", "network_def", "--filepath", str(path), "--ckpt_file", str(WEIGHTS),
         "--meta_file", str(CONFIGS / "metadata.json"), *CONFIG)  # fmt: skip
    image, logits = example
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.load(path)(image), logits, atol=1e-4, rtol=0)


def test_onnx_export(example, tmp_path):
    path = tmp_path / "model.onnx"
    verb("onnx_export", "network_def", "--filepath", str(path), "--ckpt_file", str(WEIGHTS),
         "--meta_file", str(CONFIGS / "metadata.json"), "--input_shape", "[1,3,64,64]", *CONFIG)  # fmt: skip
    session = onnxruntime.InferenceSession(str(path))
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    network = DPSAU2NetLite(2, 3, 1).eval()
    load_weights(network, WEIGHTS)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    (logits,) = session.run(None, {session.get_inputs()[0].name: image})
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_metadata_names_the_installed_versions():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert metadata["monai_version"] == pinned["monai"] and metadata["pytorch_version"] == pinned["torch"]
    for package, version in metadata["required_packages_version"].items():
        assert pinned[package] == version, package
