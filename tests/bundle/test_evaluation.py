from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from running import QUICK, bundle_run, succeeded

METRICS = ("mean_dice", "iou", "hd95", "accuracy", "precision", "sensitivity", "iou_smoothed")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def evaluated(trained, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    keys = {**QUICK, "dataset_dir": dataset, "ckpt_dir": trained / "models", "output_dir": folder, "threshold": 0.4}
    succeeded(bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys, save_objects="true"))
    return folder


def test_metrics_of_each_test_image_and_their_summary(evaluated):
    for metric in METRICS:
        values = [float(row["mean"]) for row in rows(evaluated / f"val_{metric}_raw.csv")]
        assert len(values) == 4 and np.isfinite(values).all()
        (summary,) = [row for row in rows(evaluated / f"val_{metric}_summary.csv") if row["class"] == "mean"]
        expected = [np.mean(values), np.std(values), np.median(values)]
        assert [float(summary[key]) for key in ("mean", "std", "median")] == pytest.approx(expected, abs=1e-4)


def test_each_test_image_has_a_picture(evaluated):
    names = {row["filename"].rsplit("/")[-1] for row in rows(evaluated / "val_iou_raw.csv")}
    pictures = list((evaluated / "overlays").iterdir())
    assert {path.name for path in pictures} == names
    colours = {tuple(colour) for path in pictures for colour in np.asarray(Image.open(path)).reshape(-1, 3)}
    assert (230, 159, 0) in colours  # the true contour


def test_one_table_of_all_metrics_and_one_page(evaluated):
    images = rows(evaluated / "images.csv")
    for metric in METRICS:
        values = [float(row["mean"]) for row in rows(evaluated / f"val_{metric}_raw.csv")]
        assert [float(row[metric.removeprefix("mean_")]) for row in images] == pytest.approx(values, abs=1e-4)
    for row in images:
        instances = rows(evaluated / "objects" / f"{row['image']}.csv")
        assert len(instances) == int(row["predicted_instances"]) and 0 <= float(row["instance_ap"]) <= 1
    page = (evaluated / "report.html").read_text()
    assert all(row["image"] in page for row in images) and "model.pt" in page and "0.4" in page


def test_the_true_instances_are_the_numbered_ones_where_there_are(trained, dataset, tmp_path):
    instances = tmp_path / "instances"
    instances.mkdir()
    for path in (dataset / "images").iterdir():
        numbered = np.zeros(Image.open(path).size[::-1], np.uint16)
        numbered[:, :7] = np.arange(1, 8)
        Image.fromarray(numbered).save(instances / path.name)
    keys = {**QUICK, "dataset_dir": dataset, "ckpt_dir": trained / "models", "output_dir": tmp_path}
    keys |= {"instances_dir": instances, "tta": "true", "save_overlay": "false"}
    succeeded(bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys))
    images = rows(tmp_path / "images.csv")
    assert [row["true_instances"] for row in images] == ["7"] * 4

    Image.fromarray(numbered[:3, :3]).save(instances / f"{images[0]['image']}.png")
    result = bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys)
    assert result.returncode != 0 and result.stderr.count("\n") == 1 and f"{images[0]['image']}.png: " in result.stderr
    assert "Traceback" not in result.stdout


def test_images_that_cannot_be_told_apart_and_a_wrong_threshold_are_refused(trained, dataset, tmp_path):
    pairs = [{key: str(dataset / key / f"nuclei_{i:03d}.png") for key in ("images", "masks")} for i in range(8)]
    pairs = [{"image": pair["images"], "label": pair["masks"]} for pair in pairs]
    twins = [dict(pairs[6]), dict(pairs[7])]
    for patient, pair in zip(("patient1", "patient2"), twins):
        (tmp_path / patient).mkdir()
        pair["image"] = str(shutil.copy2(pair["image"], tmp_path / patient / "mri.png"))
    (tmp_path / "data.json").write_text(json.dumps({"training": pairs[:6], "test": twins}))
    keys = {**QUICK, "ckpt_dir": trained / "models", "output_dir": tmp_path / "eval"}
    first, second = (twin["image"] for twin in twins)
    for more, says in [
        ({"dataset_dir": tmp_path / "data.json"}, f"{second}: has the same name as {first}; rename one, or evaluate"),
        ({"dataset_dir": dataset, "threshold": "a"}, "threshold is a; it must be a number from 0 to 1\n"),
    ]:
        result = bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys, **more)
        assert result.returncode != 0
        assert result.stderr.startswith(f"error: {says}") and result.stderr.count("\n") == 1
        assert not (tmp_path / "eval").exists()


def test_a_part_without_images_is_named(trained, dataset, tmp_path):
    lines = ["image_id,category", *(f"nuclei_{i:03d},{'validation' if i else 'train'}" for i in range(16))]
    (tmp_path / "split.csv").write_text("\n".join(lines))
    keys = {**QUICK, "dataset_dir": dataset, "csvfile": tmp_path / "split.csv", "ckpt_dir": trained / "models"}
    result = bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys)
    assert result.returncode != 0
    says = "error: part is 'test', which has no image; set it to one of training, validation\n"
    assert result.stderr == says


def test_the_report_lies_beside_the_weights_unless_a_folder_is_given(trained, dataset, tmp_path):
    for name in ("model.pt", "task.yaml"):
        shutil.copy2(trained / "models" / name, tmp_path)
    succeeded(
        bundle_run(
            "evaluating", "train.yaml", "evaluate.yaml", **QUICK, dataset_dir=dataset, ckpt_path=tmp_path / "model.pt"
        )
    )
    assert (tmp_path / "eval" / "report.html").is_file()


def test_a_file_that_is_no_weights_file_ends_in_one_line(dataset, tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("no weights")
    keys = {**QUICK, "dataset_dir": dataset, "ckpt_path": path, "output_dir": tmp_path / "eval"}
    result = bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1 and f"{path}: is not a weights file" in result.stderr
    assert not (tmp_path / "eval").exists()
