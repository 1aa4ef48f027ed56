from __future__ import annotations

from pathlib import Path

from dpsau2net_monai.runs.record import _absolute


def test_the_recorded_paths_hold_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    channels = ["a_0000.nii", "a_0001.nii"]
    recorded = _absolute({"training": [{"image": channels, "label": "a.nii"}]})
    assert recorded == {
        "training": [{"image": [str(tmp_path / name) for name in channels], "label": str(Path.cwd() / "a.nii")}]
    }
