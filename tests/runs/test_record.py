from __future__ import annotations

from pathlib import Path

import pytest

from dpsau2net_monai.runs import read_history
from dpsau2net_monai.runs.record import _absolute


def test_the_recorded_paths_hold_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    channels = ["a_0000.nii", "a_0001.nii"]
    recorded = _absolute({"training": [{"image": channels, "label": "a.nii"}]})
    assert recorded == {
        "training": [{"image": [str(tmp_path / name) for name in channels], "label": str(Path.cwd() / "a.nii")}]
    }


@pytest.mark.parametrize(
    "text", ["loss\n0.3\n", "epoch,loss\n1/10,0.2\n", "epoch,train_loss\n1,high\n", "epoch\n1,2\n"]
)
def test_a_history_of_another_program_is_left_out(text, tmp_path):
    (tmp_path / "history.csv").write_text("epoch,train_loss,val_mean_dice\n1.0,0.5,\n2.0,0.4,0.8\n")
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == ["1.0", "2.0"]
    (tmp_path / "history.csv").write_text(text)
    assert read_history(tmp_path / "history.csv") == []
