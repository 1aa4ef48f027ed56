from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import synthesize

ROOT = Path(__file__).parents[2]
# by what a package is imported where that is not its name
IMPORTED_AS = {"pillow": "PIL", "pytorch-ignite": "ignite", "pyyaml": "yaml", "scikit-image": "skimage"}


def test_what_is_in_it(packaged):
    assert {path.name for path in packaged.iterdir()} == {"LICENSE", "configs", "dpsau2net_monai", "docs", "models"}
    assert [path.name for path in (packaged / "models").iterdir()] == ["model.pt"]
    for folder in ("configs", "docs"):
        assert {path.name for path in (packaged / folder).iterdir()} == set(os.listdir(ROOT / "bundle" / folder))
    package = {path.name for path in (packaged / "dpsau2net_monai").iterdir()}
    left_out = {"cli.py", "__main__.py", "importers", "zoo"}
    assert {"bundle.py", "networks", "transforms"} <= package and not left_out & package
    assert not list(packaged.rglob("__pycache__")) and not list(packaged.parent.glob(".part-*"))


@pytest.mark.slow
def test_it_trains_evaluates_and_segments_elsewhere(packaged, run_without_package, tmp_path):
    bundle = shutil.copytree(packaged, tmp_path / "elsewhere")
    synthesize(tmp_path / "data", 8, size=(64, 64))

    def run(run_id: str, config_file: str, **keys) -> None:
        words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        result = run_without_package(bundle, "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *words)
        assert result.returncode == 0, result.stderr[-3000:]

    run("segmenting", "configs/inference.yaml", dataset_dir=tmp_path / "data" / "images")
    for path in (tmp_path / "data" / "images").iterdir():
        with Image.open(path) as image, Image.open(bundle / "eval" / "masks" / path.name) as mask:
            assert mask.size == image.size and set(np.unique(mask)) <= {0, 255}
    quick = {"max_epochs": 1, "batch_size": 2, "roi_size": [32, 32], "size": 0.75, "num_workers": 0}
    keys = {"dataset_dir": tmp_path / "data", **quick}
    run("training", "configs/train.yaml", **keys)
    (shipped,) = (bundle / "models").glob("before-*/model.pt")
    assert (bundle / "models" / "model.pt").read_bytes() != shipped.read_bytes()
    run("evaluating", "['configs/train.yaml','configs/evaluate.yaml']", **keys)
    assert (bundle / "models" / "eval" / "report.html").is_file()
    with open(bundle / "models" / "eval" / "images.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.parametrize("missing", ["skimage", "jinja2"])  # at the configs' import, and at a class that they name
def test_what_is_not_installed_is_named_in_one_line(missing, packaged, run_without_package, tmp_path):
    synthesize(tmp_path / "data", 12, size=(64, 64))
    program = f"import sys, runpy; sys.modules['{missing}'] = None; sys.argv = ['monai.bundle', *sys.argv[1:]]; "
    result = run_without_package(
        packaged, "-c", program + "runpy.run_module('monai.bundle', run_name='__main__')", "run", "evaluating",
        "--config_file", "['configs/train.yaml','configs/evaluate.yaml']", "--dataset_dir", str(tmp_path / "data"),
        "--output_dir", str(tmp_path / "eval"), "--size", "0.5",
    )  # fmt: skip
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and f"{missing} is not installed; configs/metadata.json lists what to" in line


def test_what_it_imports_is_in_its_metadata(packaged):
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    known = {IMPORTED_AS.get(name, name) for name in metadata["required_packages_version"]}
    known |= {"dpsau2net_monai", "monai", "numpy", "torch", *sys.stdlib_module_names}
    for path in packaged.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {module.partition(".")[0] for module in modules} <= known, path


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("dpsau2net_nuclei_segmentation", (), "exists; choose another name"),
        ("nuclei-segmentation", (), "consists of letters, digits and underscores"),
        ("../nuclei", (), "consists of letters, digits and underscores"),
        ("nuclei_v2", (), "takes the text after '_v' for the bundle's version"),
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
