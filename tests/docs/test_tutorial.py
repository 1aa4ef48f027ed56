"""The tutorial notebook, as a reader runs it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BUNDLE = Path(__file__).parents[2] / "bundle"
NOTEBOOK = BUNDLE / "docs" / "tutorial.ipynb"


@pytest.mark.slow
def test_tutorial():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code)  # it is stored without outputs
    before = set(BUNDLE.rglob("*"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()

    assert set(BUNDLE.rglob("*")) == before
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4  # data, curves, evaluation, new images
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "0 errors, 0 warnings" in text
    (dice,) = re.findall(r"^dice +([\d.]+)", text, re.MULTILINE)
    assert float(dice) > 0.9
