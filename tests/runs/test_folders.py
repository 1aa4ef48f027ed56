from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dpsau2net_monai.runs import folders, newest_run, run_folder


@pytest.fixture
def bundle(tmp_path):
    """A bundle of four runs, the first with a name. The newest one was stopped before it had weights."""
    for time, (date, files) in enumerate(
        (
            ("first", ("run.json", "model.pt")),
            ("20260101-000000", ("run.json", "model.pt")),
            ("20260102-000000", ("run.json", "model.pt")),
            ("20260103-000000", ("run.json",)),
        )
    ):
        for file in files:
            path = tmp_path / "runs" / date / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (time, time))
    return tmp_path


def test_a_new_run_gets_a_folder_of_its_own(bundle):
    folder = run_folder(bundle)
    assert re.fullmatch(re.escape(str(bundle / "runs")) + r"/\d{8}-\d{6}", folder)
    assert folder > str(bundle / "runs" / "20260103-000000")
    assert run_folder(bundle) == folder  # until a run is recorded there


def test_runs_that_begin_in_one_second_get_two_folders(bundle, monkeypatch):
    first = run_folder(bundle)
    monkeypatch.setattr(folders, "_new", {})  # as in another process
    second = run_folder(bundle)
    assert second > first and re.fullmatch(r"\d{8}-\d{6}", Path(second).name)


def test_resuming_takes_the_newest_run_and_evaluating_the_newest_weights(bundle):
    assert run_folder(bundle, resume=True) == str(bundle / "runs" / "20260103-000000")
    assert newest_run(bundle) == str(bundle / "runs" / "20260102-000000")


def test_resuming_takes_the_run_that_was_resumed_last(bundle):
    (bundle / "runs" / "20260101-000000" / "state-00001.pt").touch()
    assert run_folder(bundle, resume=True) == str(bundle / "runs" / "20260101-000000")


def test_without_a_run(tmp_path):
    assert run_folder(tmp_path, resume=True).startswith(str(tmp_path / "runs"))
    assert newest_run(tmp_path) == str(tmp_path / "models")


def test_a_packaged_bundle_trains_where_monai_label_looks_for_the_weights(bundle):
    (bundle / "dpsau2net_monai").mkdir()
    assert run_folder(bundle) == str(bundle / "models")
