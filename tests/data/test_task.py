from __future__ import annotations

import pytest

from dpsau2net_monai.data import Labels, Task, read_task
from dpsau2net_monai.errors import InputError


def test_a_task_is_read_as_it_was_written(tmp_path):
    task = Task(
        3, 2, Labels({"whole": [1, 2], "core": [2]}), "ct", [1, 1, 3.5], {"low": 0.0}, [[2, 2, 1]], [32, 32, 16]
    )
    task.write(tmp_path / "task.yaml")
    assert read_task(tmp_path / "task.yaml") == task
    assert read_task(tmp_path / "task.yaml", in_channels=4, modality=None).in_channels == 4
    assert read_task(tmp_path / "nowhere.yaml") == Task()
    (tmp_path / "old.yaml").write_text("in_channels: 2\nclicks: false\n")
    assert read_task(tmp_path / "old.yaml") == Task(in_channels=2)
    # the windows of volumes do not fit pictures
    picture = read_task(tmp_path / "task.yaml", spatial_dims=2, modality="picture")
    assert (picture.window, picture.spacing, picture.strides, picture.intensity) == ([256, 256], None, None, None)
    assert picture.labels == task.labels


@pytest.mark.parametrize(
    "settings, instances",
    [
        ({}, True),
        ({"labels": "cell"}, True),
        ({"labels": {"background": 0, "cell": 1}}, True),
        ({"labels": ["cell", "nucleus"]}, False),
        ({"roi_size": [64, 64, 1]}, False),
    ],
)
def test_pictures_of_a_single_class_keep_their_instances(settings, instances, tmp_path):
    Task(labels="nucleus", instances=True).write(tmp_path / "task.yaml")
    assert read_task(tmp_path / "task.yaml", **settings).instances == instances


@pytest.mark.parametrize(
    "content, says",
    [
        ("{", "cannot be read as YAML"),
        ("nucleus", "has no settings"),
        ("classes: 3", "has classes; the settings are"),
        ("clicks: true", "these weights have input channels for clicks; choose others"),
        ("spatial_dims: 4", "spatial_dims is 4; it must be 2 or 3"),
        ("roi_size: 128", "roi_size is 128; give a list, or null"),
        ("roi_size: [128]", r"roi_size is \[128\], but the network is 2D; give all sides"),
        ("spacing: [a, 1, 1]", r"spacing is \['a', 1, 1\]; give a list of numbers"),
        ("modality: photo", "modality is 'photo'; it must be one of picture, mr, ct"),
        ("spacing: [1, 0, 1]", "give three sizes over 0 in mm"),
        ("labels: {cell: .inf}", "the value of 'cell' is inf; give an integer or a list"),
        ("labels: {}", "has no class but the background"),
    ],
)
def test_a_wrong_task_gives_one_line(content, says, tmp_path):
    (tmp_path / "task.yaml").write_text(content)
    with pytest.raises(InputError, match=says):
        read_task(tmp_path / "task.yaml")
