from __future__ import annotations

import os

from dpsau2net_monai.files import clear_parts, whole_folder


def test_a_killed_process_hinders_no_later_one_of_its_number(tmp_path):
    left = tmp_path / f".part-{os.getpid()}-result" / "old"
    left.mkdir(parents=True)
    with whole_folder(tmp_path / "result") as part:
        (part / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["result", "new"]


def test_what_killed_processes_left_is_cleared(tmp_path):
    (tmp_path / ".part-1-folder" / "inner").mkdir(parents=True)
    for name in (".part-1-file", "file"):
        (tmp_path / name).touch()
    clear_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
