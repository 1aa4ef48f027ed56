from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpsau2net_monai.data import synthesize

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundle" / "configs"


def config_files(*names: str) -> str:
    return str([str(CONFIGS / name) for name in names])


def bundle_run(run_id: str, *configs: str, program: tuple[str, ...] = (), cwd: Path = ROOT, **keys):
    """``python -m monai.bundle run`` in a process of its own, as a user runs it; each key is an ``--option``."""
    command = [*(program or (sys.executable,)), "-m", "monai.bundle", "run", run_id]
    command += ["--config_file", config_files(*configs) if configs else str(keys.pop("config_file"))]
    for key, value in keys.items():
        command += [f"--{key}", str(value)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def succeeded(result: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    synthesize(folder, 16, size=(64, 64))
    return folder


# a run of seconds
QUICK = dict(bundle_root="bundle", max_epochs=2, batch_size=4, roi_size=[32, 32], size=0.75, num_workers=0)


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory) -> Path:
    """The folder of a short run: models/ and log/; what it printed is in printed.txt."""
    folder = tmp_path_factory.mktemp("trained")
    result = bundle_run(
        "training", "train.yaml",
        dataset_dir=dataset, ckpt_dir=folder / "models", output_dir=folder / "log", **QUICK,
    )  # fmt: skip
    (folder / "printed.txt").write_text(succeeded(result).stdout + result.stderr)
    return folder
