"""MONAI's own commands on the bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from running import CONFIGS, ROOT, verb

SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
CONFIG = ("--config_file", str(CONFIGS / "inference.yaml"), "--bundle_root", str(ROOT / "bundle"))


def test_verify_metadata(tmp_path):
    # where the verb would download to; a file that is there is taken as it is
    path = tmp_path / "schema.json"
    shutil.copy(SCHEMA, path)
    verb("verify_metadata", "--meta_file", str(CONFIGS / "metadata.json"), "--filepath", str(path))


def test_verify_net_in_out():
    verb("verify_net_in_out", "network_def", "--meta_file", str(CONFIGS / "metadata.json"), "--n", "2", *CONFIG)


def test_metadata_names_the_installed_versions():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert metadata["monai_version"] == pinned["monai"] and metadata["pytorch_version"] == pinned["torch"]
    for package, version in metadata["required_packages_version"].items():
        assert pinned[package] == version, package
