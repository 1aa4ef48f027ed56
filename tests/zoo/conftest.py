from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import hippocampus_task, write_untrained

from dpsau2net_monai.cli import main

ROOT = Path(__file__).parents[2]
TASKS = ("nuclei", "hippocampus")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A copy of the bundle where runs have left their files. The hippocampus has an untrained network."""
    bundle = tmp_path_factory.mktemp("copied") / "bundle"
    shutil.copytree(ROOT / "bundle", bundle)
    write_untrained(bundle / "tasks" / "hippocampus", hippocampus_task())
    for folder in ("models", "tasks/hippocampus"):
        for leftover in ("state-00001.pt", "run.json", "before-1/model.pt", "eval/masks/a.png"):
            path = bundle / folder / leftover
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("of a run")
    return bundle


@pytest.fixture(scope="session")
def packages(bundle, tmp_path_factory) -> dict[str, Path]:
    """The packaged bundle of each task; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("packaged")
    for task in TASKS:
        options = ["--output", str(folder), "--name", f"{task}_segmentation", "--bundle_root", str(bundle)]
        assert main(["package", "--task", task, *options]) == 0
    return {task: folder / f"{task}_segmentation" for task in TASKS}


@pytest.fixture(params=TASKS)
def task(request) -> str:
    return request.param


@pytest.fixture
def packaged(task, packages) -> Path:
    return packages[task]


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
