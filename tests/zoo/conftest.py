from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
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
def run_without_package(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """
    Runs Python with MONAI and all else that is installed here, but without this package: ``run(folder, *arguments)``
    with the working directory, which ``-m`` and ``-c`` put on Python's path, as the zoo's CI and MONAI Label do.
    """
    folder = tmp_path_factory.mktemp("without_package")
    venv.create(folder, with_pip=False, symlinks=True)
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # what a .pth file names is searched for packages, but not for other .pth files, which an editable installation is
    (site_packages / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [python, *arguments], cwd=folder, env={**environment, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "2"},
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    assert "No module named 'dpsau2net_monai'" in run(folder, "-c", "import monai, dpsau2net_monai").stderr
    return run
