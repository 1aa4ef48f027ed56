"""Several classes through everything: training, evaluation, report, segmentation, package and export. Only the dataset
says what the classes are."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import monai.bundle
import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image
from running import ROOT

from dpsau2net_monai.data import Labels, find_images, name_of, synthesize
from dpsau2net_monai.zoo import package_bundle

pytestmark = pytest.mark.slow
TRAINING = dict(batch_size=4, size=0.75, num_workers=0, learning_rate=0.01, crop="by_class", show_progress=False)


class Case(NamedTuple):
    """A dataset and its classes."""

    data: dict  # arguments of synthesize
    window: list[int]
    epochs: int  # after which the masks are not empty
    labels: dict | None  # to put into dataset.json; None: there is none
    out_channels: int


CASES = {
    "binary": Case({"size": (64, 64)}, [64, 64], 12, None, 1),
    "exclusive": Case(
        {"size": (64, 64), "classes": 3}, [64, 64], 20,
        {"background": 0, "lymphocyte": 1, "tumour": 2, "macrophage": 3}, 4,
    ),
    "regions": Case(
        {"size": (32, 32, 32), "spatial_dims": 3, "classes": 2}, [32, 32, 32], 20,
        {"background": 0, "any": [1, 2], "vessel": [2]}, 2,
    ),
}  # fmt: skip


class Run(NamedTuple):
    """A trained network of a case."""

    case: Case
    labels: Labels
    folder: Path  # data, models, eval, masks

    def call(self, run_id: str, *configs: str, root: Path = ROOT / "bundle", **keys) -> None:
        """Run the bundle in this process, which is quicker than one of its own."""
        folder = root / "configs"
        monai.bundle.run(run_id, config_file=[str(folder / name) for name in configs], bundle_root=str(root), **keys)

    def segment(self, output: Path, weights: Path | None = None, **keys) -> dict[str, np.ndarray]:
        """Segment the dataset's images, and return the values of the masks by their names."""
        self.call(
            "segmenting", "inference.yaml", dataset_dir=str(self.folder / "data" / "images"),
            output_dir=str(output), ckpt_path=str(weights or self.folder / "models" / "model.pt"), **keys,
        )  # fmt: skip
        return {name_of(path): values(path) for path in output.iterdir() if path.is_file()}


def values(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path) if path.suffix == ".png" else nibabel.load(path).dataobj)


def make_dataset(folder: Path, case: Case) -> None:
    synthesize(folder, 12, **case.data)
    if case.labels:
        path = folder / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": case.labels}))


@pytest.fixture(scope="module", params=CASES)
def run(request, tmp_path_factory) -> Run:
    """A run of each case, trained and evaluated."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp(request.param)
    make_dataset(folder / "data", case)
    run = Run(case, Labels(case.labels), folder)
    keys = dict(dataset_dir=str(folder / "data"), ckpt_dir=str(folder / "models"), roi_size=case.window, **TRAINING)
    keys |= {"max_epochs": case.epochs, "val_interval": case.epochs}
    run.call("training", "train.yaml", **keys)
    run.call("evaluating", "train.yaml", "evaluate.yaml", output_dir=str(folder / "eval"), **keys)
    return run


@pytest.fixture(scope="module")
def masks(run) -> dict[str, np.ndarray]:
    return run.segment(run.folder / "masks")


def test_the_weights_say_what_they_segment(run):
    task = yaml.safe_load((run.folder / "models" / "task.yaml").read_text())
    assert len(Labels(task["labels"]).names) == len(run.labels.names)
    assert task["labels"] == (run.case.labels or "nucleus")
    assert Labels(task["labels"]).out_channels == run.case.out_channels
    assert len(task["roi_size"]) == task["spatial_dims"] == len(run.case.window)


def test_each_class_has_its_metrics_and_its_place_in_the_report(run):
    with open(run.folder / "eval" / "images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    names = run.labels.names if len(run.labels.names) > 1 else []
    for metric in ("dice", "precision", "hd95"):
        classes = [key for key in rows[0] if key.startswith(f"{metric}_")]
        assert classes == [f"{metric}_{name}" for name in names]
        for row in rows:
            mean = np.mean([float(row[key]) for key in classes or [metric]])
            assert float(row[metric]) == pytest.approx(mean, abs=1e-3)
    page = (run.folder / "eval" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in [*names, *(row["image"] for row in rows)])


def test_masks_have_the_values_of_the_dataset(run, masks):
    images = find_images(run.folder / "data" / "images")
    assert masks.keys() == {name_of(pair["image"]) for pair in images}
    known = {0, 255} if run.labels.form == "foreground" else set(run.labels.values)
    found = set()
    for name, mask in masks.items():
        (true,) = (run.folder / "data" / "masks").glob(f"{name}.*")
        assert mask.shape == values(true).shape and mask.dtype == np.uint8
        found |= set(np.unique(mask).tolist())
    assert found <= known and len(found) > 1


def test_the_package_segments_the_same(run, masks, tmp_path):
    bundle = shutil.copytree(ROOT / "bundle", tmp_path / "bundle", ignore=shutil.ignore_patterns("runs", "tasks"))
    task = bundle / "tasks" / "own"
    task.mkdir(parents=True)
    for name in ("model.pt", "task.yaml"):
        shutil.copy(run.folder / "models" / name, task / name)
    for name in ("README.md", "data_license.txt"):
        (task / name).write_text("of one's own")
    channels = {"0": "MRI"} if len(run.case.window) == 3 else {"0": "red", "1": "green", "2": "blue"}
    (task / "metadata.json").write_text(json.dumps({"network_data_format#inputs#image#channel_def": channels}))
    packaged = package_bundle(bundle, tmp_path, "own_classes", "own")
    again = run.segment(tmp_path / "masks", root=packaged, weights=packaged / "models" / "model.pt")
    assert again.keys() == masks.keys() and all(np.array_equal(again[name], mask) for name, mask in masks.items())
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    names = run.labels.channel_names if run.case.labels else ["nucleus"]
    assert list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()) == names


def test_openvino_segments_the_same(run, masks, tmp_path):
    for name in ("model.pt", "task.yaml"):
        shutil.copy(run.folder / "models" / name, tmp_path / name)
    exported = run.segment(tmp_path / "masks", weights=tmp_path / "model.pt", runtime="openvino")
    assert exported.keys() == masks.keys()
    different = sum(int((exported[name] != mask).sum()) for name, mask in masks.items())
    assert different <= 1e-3 * sum(mask.size for mask in masks.values())
