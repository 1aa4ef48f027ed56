from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import synthesize

ROOT = Path(__file__).parents[2]
NAME = "nuclei_segmentation"
# by what a package is imported where that is not its name
IMPORTED_AS = {"pillow": "PIL", "pytorch-ignite": "ignite", "pyyaml": "yaml", "scikit-image": "skimage"}


@pytest.fixture(scope="module")
def packaged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packaged")
    bundle = folder / "bundle"
    shutil.copytree(ROOT / "bundle", bundle)
    for leftover in ("models/state-00001.pt", "models/run.json", "models/before-1/model.pt", "eval/masks/a.png"):
        path = bundle / leftover
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of a run")
    assert main(["package", "--output", str(folder), "--name", NAME, "--bundle_root", str(bundle)]) == 0
    return folder / NAME


def test_what_is_in_it(packaged):
    assert {path.name for path in packaged.iterdir()} == {"LICENSE", "configs", "dpsau2net_monai", "docs", "models"}
    assert [path.name for path in (packaged / "models").iterdir()] == ["model.pt"]
    for folder in ("configs", "docs"):
        assert {path.name for path in (packaged / folder).iterdir()} == set(os.listdir(ROOT / "bundle" / folder))
    package = {path.name for path in (packaged / "dpsau2net_monai").iterdir()}
    assert {"bundle.py", "networks", "transforms"} <= package and not {"cli.py", "__main__.py", "zoo"} & package
    assert not list(packaged.rglob("__pycache__")) and not list(packaged.parent.glob(".part-*"))


def test_it_segments_with_its_own_code(packaged, tmp_path):
    synthesize(tmp_path, 1, size=(64, 64))
    # says which package it was, as an installed one would do as well
    config = tmp_path / "where.yaml"
    config.write_text('initialize: ["$print(ours.__file__)"]\n')
    configs = str(["configs/inference.yaml", str(config)])
    options = ["--dataset_dir", str(tmp_path / "images"), "--output_dir", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "segmenting", "--config_file", configs, *options],
        cwd=packaged, env={**os.environ, "PYTHONWARNINGS": "ignore"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert str(packaged / "dpsau2net_monai" / "bundle.py") in result.stdout
    mask, image = (Image.open(tmp_path / folder / "nuclei_000.png") for folder in ("out", "images"))
    assert mask.size == image.size and set(np.unique(mask)) <= {0, 255}


def test_what_it_imports_is_in_its_metadata(packaged):
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    known = {IMPORTED_AS.get(name, name) for name in metadata["required_packages_version"]}
    known |= {"dpsau2net_monai", "monai", "numpy", "torch", *sys.stdlib_module_names}
    known |= {"markupsafe"}  # comes with jinja2
    for path in packaged.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {module.partition(".")[0] for module in modules} <= known, path


@pytest.mark.parametrize(
    "name, options, says",
    [
        (NAME, (), "is there already"),
        ("nuclei-segmentation", (), "is of letters, digits and underscores"),
        ("../nuclei", (), "is of letters, digits and underscores"),
        ("nuclei_v2", (), "takes what stands behind '_v' for the bundle's version"),
        ("other", ("--bundle_root", "nowhere"), "nowhere: has no configs/metadata.json; --bundle_root names"),
        ("other", ("--bundle_root", "empty"), "no such weights file"),
    ],
)
def test_what_cannot_be_packaged_is_said_in_one_line(name, options, says, packaged, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty" / "configs").mkdir(parents=True)
    (tmp_path / "empty" / "configs" / "metadata.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    before = sorted(packaged.parent.rglob("*"))
    options = options or ("--bundle_root", str(ROOT / "bundle"))
    assert main(["package", "--output", str(packaged.parent), "--name", name, *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert sorted(packaged.parent.rglob("*")) == before
