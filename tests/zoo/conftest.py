from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dpsau2net_monai.cli import main

ROOT = Path(__file__).parents[2]
NAME = "dpsau2net_nuclei_segmentation"


@pytest.fixture(scope="session")
def packaged(tmp_path_factory) -> Path:
    """The packaged bundle, made where runs have left their files; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("packaged")
    bundle = folder / "bundle"
    shutil.copytree(ROOT / "bundle", bundle)
    for leftover in ("models/state-00001.pt", "models/run.json", "models/before-1/model.pt", "eval/masks/a.png"):
        path = bundle / leftover
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of a run")
    assert main(["package", "--output", str(folder), "--name", NAME, "--bundle_root", str(bundle)]) == 0
    return folder / NAME


@pytest.fixture(scope="session")
def run_without_package(make_environment, tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """
    Runs Python with MONAI and all else that is installed here, but without this package: ``run(folder, *arguments)``
    with the working directory, which ``-m`` and ``-c`` put on Python's path, as the zoo's CI and MONAI Label do.
    """
    run = make_environment()
    folder = tmp_path_factory.mktemp("empty")
    assert "No module named 'dpsau2net_monai'" in run(folder, "-c", "import monai, dpsau2net_monai").stderr
    return run
