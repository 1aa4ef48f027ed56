from __future__ import annotations

from pathlib import Path

import pytest
from running import QUICK, bundle_run, succeeded

from dpsau2net_monai.data import synthesize


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    synthesize(folder, 16, size=(64, 64))
    return folder


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
