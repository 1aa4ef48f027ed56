"""The package without napari."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_package_leaves_napari_alone():
    result = run("import sys, dpsau2net_monai.cli, dpsau2net_monai.bundle\nprint(*sys.modules)")
    assert "dpsau2net_monai.bundle" in result.stdout
    assert not {"napari", "qtpy"} & set(result.stdout.split())


@pytest.mark.parametrize("missing", ["napari", "qtpy"])
def test_one_line_says_what_to_install(missing):
    code = f"import sys; sys.modules['{missing}'] = None\nfrom dpsau2net_monai.errors import one_line_errors\n"
    result = run(f"{code}one_line_errors()\nimport dpsau2net_monai.napari")
    assert result.stderr.splitlines()[-1:] == [
        'error: napari or Qt is not installed; pip install "dpsau2net-monai[napari]"'
    ]
