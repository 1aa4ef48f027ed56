from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from sample_images import stamps

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import dataset_settings, make_datalist
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.importers import prepare_decathlon

NAMES = [f"x_{i}" for i in range(8)]


@pytest.fixture
def task(tmp_path) -> Path:
    """A task with one test image, with the files that macOS adds."""
    root = tmp_path / "Task99_X"
    for number, name in enumerate([*NAMES, "new"]):
        for folder in ("imagesTr", "labelsTr") if name != "new" else ("imagesTs",):
            (root / folder).mkdir(parents=True, exist_ok=True)
            array = np.random.default_rng(number).integers(0, 3, (6, 5, 4), np.uint8)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), root / folder / f"{name}.nii.gz")
            (root / folder / f"._{name}.nii.gz").write_bytes(b"Mac OS X")
    content = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "front", "2": "back"},
        "numTraining": len(NAMES),
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in NAMES],
        "test": ["./imagesTs/new.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(content))
    (root / "._dataset.json").write_bytes(b"Mac OS X")
    return root


def packed(task: Path) -> Path:
    path = task.parent / "Task99_X.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(task, task.name)
    return path


@pytest.mark.parametrize("make", [packed, lambda task: task])
def test_a_task_can_be_trained_on(make, task, tmp_path, capsys):
    command = ["prepare", "decathlon", str(make(task)), str(tmp_path / "out")]
    assert main(command) == 0
    assert capsys.readouterr().out == f"9 images written, 0 already there, 0 left out: {tmp_path / 'out'}\n"
    assert dataset_settings(tmp_path / "out")["labels"] == {"background": 0, "front": 1, "back": 2}
    assert sum(map(len, make_datalist(tmp_path / "out").values())) == 8
    before = stamps(tmp_path / "out")
    assert len(before) == 8 + 8 + 1 + 1
    (tmp_path / "out" / "imagesTr" / "x_3.nii.gz").unlink()
    assert main(command) == 0
    assert "1 images written, 8 already there" in capsys.readouterr().out
    assert {name for name, time in stamps(tmp_path / "out").items() if before[name] != time} == {"imagesTr/x_3.nii.gz"}


def test_another_dataset_in_the_folder_is_refused(task, tmp_path):
    prepare_decathlon(task, tmp_path / "out")
    before = stamps(tmp_path / "out")
    (task / "imagesTr" / "x_1.nii.gz").rename(task / "imagesTr" / "y_1.nii.gz")
    (task / "dataset.json").write_text((task / "dataset.json").read_text().replace("imagesTr/x_1", "imagesTr/y_1"))
    with pytest.raises(InputError, match="out/dataset.json: is that of another dataset, or was changed; name a new"):
        prepare_decathlon(packed(task), tmp_path / "out")
    assert stamps(tmp_path / "out") == before


def test_problems_of_a_task_are_noted(task, tmp_path):
    (task / "labelsTr" / "x_2.nii.gz").unlink()
    label = task / "labelsTr" / "x_5.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((6, 5, 4), 9, np.uint8), np.eye(4)), label)
    summary = prepare_decathlon(packed(task), tmp_path / "out")
    assert summary.left_out == 1
    assert ["x_2.nii.gz: no such file" in note for note in summary.notes] == [True, False]
    assert "120 pixels have the value 9" in summary.notes[1]


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "has 0 files dataset.json; name the archive or folder of one task"),
        (b"{", r"Task99_X/dataset.json: is not a datalist in JSON"),
        (b"{}", "its dataset.json has no list 'training' of images and labels"),
        (b'{"training": [5]}', "its dataset.json has no list 'training' of images and labels"),
    ],
)
def test_another_archive_is_refused(content, says, tmp_path):
    path = tmp_path / "task.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("Task99_X/dataset.json" if content else "Task99_X/readme.txt")
        info.size = len(content or b"")
        archive.addfile(info, io.BytesIO(content or b""))
    with pytest.raises(InputError, match=says) as error:
        prepare_decathlon(path, tmp_path / "out")
    assert str(error.value).startswith(f"{path}: ")
    assert not (tmp_path / "out").exists()
