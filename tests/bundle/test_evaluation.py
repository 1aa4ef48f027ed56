from __future__ import annotations

import csv

import numpy as np
import pytest
from conftest import QUICK, bundle_run, succeeded
from PIL import Image

METRICS = ("mean_dice", "iou", "hd95", "accuracy", "precision", "sensitivity", "f1")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def evaluated(trained, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    keys = {**QUICK, "dataset_dir": dataset, "ckpt_dir": trained / "models", "output_dir": folder, "threshold": 0.4}
    succeeded(bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys))
    return folder


def test_figures_of_each_test_image_and_their_summary(evaluated, dataset):
    for metric in METRICS:
        figures = [float(row["mean"]) for row in rows(evaluated / f"val_{metric}_raw.csv")]
        assert len(figures) == 4 and np.isfinite(figures).all()
        (summary,) = [row for row in rows(evaluated / f"val_{metric}_summary.csv") if row["class"] == "mean"]
        expected = [np.mean(figures), np.std(figures), np.median(figures)]
        assert [float(summary[key]) for key in ("mean", "std", "median")] == pytest.approx(expected, abs=1e-4)


def test_each_test_image_has_a_picture(evaluated):
    names = {row["filename"].rsplit("/")[-1] for row in rows(evaluated / "val_iou_raw.csv")}
    pictures = list((evaluated / "overlays").iterdir())
    assert {path.name for path in pictures} == names
    colours = {tuple(colour) for path in pictures for colour in np.asarray(Image.open(path)).reshape(-1, 3)}
    assert (230, 159, 0) in colours  # the true contour


def test_a_file_that_is_no_weights_file_ends_in_one_line(dataset, tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("no weights")
    keys = {**QUICK, "dataset_dir": dataset, "ckpt_path": path, "output_dir": tmp_path / "eval"}
    result = bundle_run("evaluating", "train.yaml", "evaluate.yaml", **keys)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1 and f"{path}: is not a weights file" in result.stderr
    assert not (tmp_path / "eval").exists()
