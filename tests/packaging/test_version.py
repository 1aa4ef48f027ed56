"""The places that name the version or what is required agree."""

from __future__ import annotations

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name
from requirements import ROOT, pinned, required

from dpsau2net_monai import __version__

METADATA = json.loads((ROOT / "bundle" / "configs" / "metadata.json").read_text(encoding="utf-8"))


def test_package_bundle_and_changelog_have_the_same_version():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    matches = [re.fullmatch(r"(\S+) - (\d{4}-\d\d-\d\d)", heading) for heading in headings]
    released = [match.groups() for match in matches if match]
    assert released == sorted(released, key=lambda release: release[1], reverse=True)
    assert released[0][0] == __version__ == METADATA["version"]
    assert METADATA["changelog"].keys() == {version for version, _ in released}


@pytest.mark.parametrize("extra", ["onnx", "bioimageio", "test", "docs", "dev"])
def test_what_is_required_is_pinned_to_a_version_that_it_allows(extra):
    pins = pinned()
    for name, requirement in required(extra).items():
        if name != "dpsau2net-monai":
            assert requirement.specifier.contains(pins[name]), requirement


def test_the_bundle_names_the_pinned_versions():
    named = METADATA["required_packages_version"] | {
        "monai": METADATA["monai_version"],
        "torch": METADATA["pytorch_version"],
        "numpy": METADATA["numpy_version"],
    }
    assert named == {name: version for name, version in pinned().items() if name in named}
    assert named.keys() <= required().keys()


def test_what_the_package_imports_is_required():
    distributions = packages_distributions()
    allowed = required("onnx", "bioimageio", "napari").keys() | {"dpsau2net-monai"}
    for path in (ROOT / "dpsau2net_monai").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names:
                names = distributions.get(module, [module])  # napari has an environment of its own
                assert {canonicalize_name(name) for name in names} & allowed, f"{path}: {module}"
