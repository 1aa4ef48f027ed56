"""What the model zoo asks of a bundle, after its CONTRIBUTING.md and what its CI checks."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from dpsau2net_monai.data import synthesize

ROOT = Path(__file__).parents[2]
LARGEST = 25 * 2**20
KEYS = {
    "inference": ("bundle_root", "device", "network_def", "inferer", "output_dir", "dataset_dir"),
    "train": (
        "bundle_root", "device", "dataset_dir", "output_dir", "val_interval", "network_def",
        "train#trainer", "train#trainer#max_epochs", "train#dataset", "train#dataset#data", "train#handlers",
        "train#preprocessing", "train#inferer", "train#key_metric",
        "validate#evaluator", "validate#handlers", "validate#dataset", "validate#dataset#data",
        "validate#preprocessing", "validate#postprocessing", "validate#inferer", "validate#key_metric",
    ),
}  # fmt: skip
# from the folder above models/, with the bundle's folder on Python's path and as bundle_root, in one process
CHECKS = """
import sys
from monai.bundle import ckpt_export, create_workflow, verify_metadata, verify_net_in_out

root = "models/bundle"
sys.path.insert(0, root)
meta, config = f"{root}/configs/metadata.json", f"{root}/configs/inference.yaml"
verify_metadata(meta_file=meta, filepath=f"{root}/eval/schema.json")
verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, bundle_root=root)
ckpt_export(
    net_id="network_def", filepath=f"{root}/models/verify_model.ts", ckpt_file=f"{root}/models/model.pt",
    meta_file=meta, config_file=config, bundle_root=root,
)
workflow = create_workflow(
    workflow_type="inference", bundle_root=root, config_file=config, meta_file=meta,
    logging_file=f"{root}/configs/logging.conf", dataset_dir="data/images", output_dir="masks",
)
print("lacking:", workflow.check_properties())
"""


def test_files_names_and_sizes(packaged):
    for name in ("LICENSE", "configs/metadata.json", "models/model.pt", "configs/inference.yaml", "docs/README.md",
                 "docs/data_license.txt"):  # fmt: skip
        assert (packaged / name).is_file(), name
    files = [path for path in packaged.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) < LARGEST
    assert not re.search(r"/(home|root|Users|work)/", (packaged / "docs" / "README.md").read_text())


def test_version_and_what_it_is_for(packaged):
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    for key in ("required_packages_version", "supported_apps", "intended_use", "references", "eval_metrics", "authors",
                "copyright", "data_source", "task", "name"):  # fmt: skip
        assert metadata[key] or key == "supported_apps", key


def test_the_metrics_are_those_of_the_docs(packages):
    packaged = packages["nuclei"]
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    row = next(line for line in (packaged / "docs/README.md").read_text().splitlines() if "| DPSAU2NetLite |" in line)
    dice, iou = (float(cell.split()[0]) for cell in row.split("|")[3:5])
    assert metadata["eval_metrics"] == {"mean_dice": dice, "mean_iou": iou}


@pytest.mark.parametrize("config", KEYS)
def test_keys_of_the_configs(config, packaged):
    parser = ConfigParser()
    parser.read_config(packaged / "configs" / f"{config}.yaml")
    for key in KEYS[config]:
        assert key in parser, key


@pytest.mark.slow
def test_metadata_properties_shapes_and_torchscript(packaged, run_without_package, tmp_path):
    """What the zoo's ci/verify_bundle.py calls, and a workflow's properties."""
    bundle = shutil.copytree(packaged, tmp_path / "models" / "bundle")
    (bundle / "eval").mkdir()  # where the schema would be downloaded to
    shutil.copy(ROOT / "tests" / "bundle" / "meta_schema_20240725.json", bundle / "eval" / "schema.json")
    synthesize(tmp_path / "data", 1)  # any image, as it is not segmented
    result = run_without_package(tmp_path, "-c", CHECKS)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "lacking: []" in result.stdout
    assert (bundle / "models" / "verify_model.ts").stat().st_size < LARGEST
