"""The distributions that are uploaded, and a wheel's way from its build to a segmented image."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from requirements import ROOT

from dpsau2net_monai import __version__
from dpsau2net_monai.data import synthesize

pytestmark = pytest.mark.slow
NAME = "dpsau2net_nuclei_segmentation"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:
    """The folder with the source distribution and the wheel that is built from it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("dpsau2net_monai", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(distributions) -> Path:
    return distributions / f"dpsau2net_monai-{__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "dpsau2net_monai"
    expected = [
        *package.rglob("*.py"), package / "py.typed", package / "report" / "report.html.jinja",
        package / "napari" / "napari.yaml",
    ]  # fmt: skip
    assert files == {path.relative_to(ROOT).as_posix() for path in expected}


def test_the_source_distribution_has_the_licence(distributions):
    with tarfile.open(distributions / f"dpsau2net_monai-{__version__}.tar.gz") as archive:
        assert f"dpsau2net_monai-{__version__}/LICENSE" in archive.getnames()


def test_the_package_index_would_take_them(distributions):
    command = [sys.executable, "-m", "twine", "check", "--strict", *distributions.iterdir()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0 and result.stdout.count("PASSED") == 2, result.stdout + result.stderr


def test_the_installed_wheel_packages_a_bundle_that_segments(wheel, make_environment, tmp_path):
    run = make_environment()

    def succeed(folder: Path, *arguments: str) -> str:
        result = run(folder, *arguments)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    # without --ignore-installed, pip would be content with the package that is installed here
    succeed(tmp_path, "-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed", str(wheel))
    program = "import dpsau2net_monai, sys; print(dpsau2net_monai.__file__.startswith(sys.prefix))"
    assert succeed(tmp_path, "-c", program) == "True\n"
    bundle_root = str(ROOT / "bundle")
    succeed(tmp_path, "-m", "dpsau2net_monai", "package", "--name", NAME, "--output", ".", "--bundle_root", bundle_root)
    synthesize(tmp_path / "data", 1, size=(64, 96))
    (image,) = (tmp_path / "data" / "images").iterdir()
    succeed(
        tmp_path / NAME, "-m", "monai.bundle", "run", "segmenting", "--config_file", "configs/inference.yaml",
        "--dataset_dir", str(image.parent), "--output_dir", str(tmp_path / "masks"),
    )  # fmt: skip
    with Image.open(image) as picture, Image.open(tmp_path / "masks" / image.name) as mask:
        assert mask.size == picture.size and set(np.unique(mask)) == {0, 255}
