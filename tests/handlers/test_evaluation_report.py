from __future__ import annotations

import csv
import json
import logging
import re
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.transforms import AsDiscrete, Compose, LoadImaged, Orientationd, Spacingd

from dpsau2net_monai.data import Labels
from dpsau2net_monai.handlers import EvaluationReport, evaluation_report
from dpsau2net_monai.handlers.evaluation_report import THRESHOLDS, dice_by_threshold, metrics_by_image


def test_a_metric_of_several_classes_is_their_mean_and_each_of_them():
    details = {"val_mean_dice": torch.tensor([[0.1, 0.3], [0.5, 0.9]]), "val_hd95": torch.tensor([[7.0, 9], [8, 8]])}
    first, second = metrics_by_image(details, ["whole tumour", "core"])
    assert first == pytest.approx(
        {"dice": 0.2, "dice_whole tumour": 0.1, "dice_core": 0.3, "hd95": 8, "hd95_whole tumour": 7, "hd95_core": 9}
    )
    assert second["dice"] == pytest.approx(0.7) and second["hd95_core"] == 8


def test_a_metric_of_a_single_class_has_one_column():
    assert metrics_by_image({"val_hd95": torch.tensor([[7.0], [8.0]])}, ["nucleus"]) == [{"hd95": 7}, {"hd95": 8}]


@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.5])
def test_the_curve_of_dice_against_the_threshold(threshold):
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.random((40, 30)) < 0.3)
    probability = torch.from_numpy((0.6 * true.numpy() + 0.4 * rng.random(true.shape)).round(2)).float()
    curve = dict(zip(THRESHOLDS, dice_by_threshold(probability, true)))
    predicted = AsDiscrete(threshold=threshold)(probability) > 0
    assert curve[threshold] == pytest.approx(
        2 * (predicted & true).sum().item() / (predicted.sum() + true.sum()).item()
    )
    assert dice_by_threshold(probability * 0, true & False) == [1] * 19


def evaluate(folder, item, labels):
    """Report on one image. Return its row of ``images.csv`` and the page."""
    report = EvaluationReport(str(folder), {}, labels, 0.5, str(folder / "instances"), str(folder / "history.csv"))
    engine = SimpleNamespace(
        data_loader=SimpleNamespace(dataset=[0]),
        state=SimpleNamespace(
            output=[item],
            metric_details={"val_mean_dice": torch.ones(1, len(labels.names))},
            device=torch.device("cpu"),
        ),
        logger=logging.getLogger(__name__),
    )
    report.start(engine)
    for _ in ("read", "inferred", "postprocessed"):
        report.clock(engine)
    report.add(engine)
    report.write(engine)
    with open(folder / "images.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    return row, (folder / "report.html").read_text()


EXCLUSIVE, REGIONS = {"background": 0, "organ": 1, "tumour": 2}, {"organ": [1, 2], "tumour": [2]}


@pytest.mark.parametrize("definition", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA"])
def test_a_volume_is_reported_in_the_voxels_of_its_mask(definition, axes, tmp_path):
    labels = Labels(definition)
    codes = np.zeros((30, 20, 8), np.uint8)
    codes[5:15, 5:15, 2:6], codes[6:10, 6:10, 3:5] = 1, 2
    ras = nibabel.Nifti1Image(codes * np.float32(50), np.diag([1, 1, 3, 1]))  # voxels of 3 mm^3
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(ras.affine), nibabel.orientations.axcodes2ornt(axes)
    )
    stored = ras.as_reoriented(turn)
    nibabel.save(stored, tmp_path / "volume.nii.gz")
    # as the network sees it
    load = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", "RAS", labels=None),
            Spacingd("image", (1, 1, 1)),
        ]
    )
    item = load({"image": str(tmp_path / "volume.nii.gz")})
    label = MetaTensor(torch.as_tensor(stored.get_fdata() / 50)[None], affine=stored.affine)
    pred = label.clone()
    pred[label == 2] = 1  # the tumour is missed
    item |= {"label": labels.channels(label), "pred": labels.channels(pred)}
    item["probability"] = labels.channels(pred, labels.softmax).float()
    row, page = evaluate(tmp_path, item, labels)

    tumour, organ = 4 * 4 * 2 * 0.003, (10 * 10 * 4 - (4 * 4 * 2 if labels.softmax else 0)) * 0.003
    found = {name: float(row[name]) for name in row if "volume" in name and name != "image"}
    expected = {"true_volume_organ": organ, "predicted_volume_organ": 1.2, "volume_error_organ": 1.2 - organ}
    expected |= {"true_volume_tumour": tumour, "predicted_volume_tumour": 0, "volume_error_tumour": -tumour}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert found["true_volume"] == pytest.approx((organ + tumour) / 2)
    assert not any("instance" in name or "count" in name for name in row)

    (pictures,) = json.loads(re.search(r'id="pictures">(.*?)</script>', page, re.DOTALL)[1])
    slices = json.loads(re.search(r'id="slices-0">(.*?)</script>', page, re.DOTALL)[1])
    # voxels of 1 x 1 x 3 mm: the sides of the planes are 30, 20 and 24 mm, and a gap
    assert (pictures["width"], pictures["height"]) == (30 + 1 + 20, 20 + 1 + 24)
    assert slices["total"] == 8 and slices["numbers"] == list(range(1, 9))
    assert slices["numbers"][slices["start"]] in (4, 5)  # the lowest slice, number 1, has the index 0 in RAS
    with_tumour = [number for number, one in zip(slices["numbers"], slices["pictures"]) if one["contours"]["true"][1]]
    assert with_tumour == [4, 5]
    # x 6 to 10 from the right, so 20 to 24 from the picture's left; y 6 to 10 from the back, so 10 to 14 from the top
    path = slices["pictures"][3]["contours"]["true"][1]
    start = [float(number) for number in re.match(r"M([\d.]+) ([\d.]+)", path).groups()]
    assert 20 <= start[0] <= 24 and 10 <= start[1] <= 14
    assert ("by threshold" in page) is not labels.softmax


def test_a_picture_of_one_class_has_instances_and_one_of_several_has_none(tmp_path):
    image = MetaTensor(torch.rand(3, 30, 20), meta={"filename_or_obj": "image.png"})
    mask = torch.zeros(1, 30, 20)
    mask[0, 5:10, 5:10] = mask[0, 15:20, 5:10] = 1
    instances = mask.int()
    instances[0, 15:17, 5:10], instances[0, 17:20, 5:10] = 2, 3  # the second true one is split
    item = {"image": image, "label": mask, "pred": mask, "probability": torch.cat([mask, mask]), "instances": instances}
    row, page = evaluate(tmp_path, item, Labels("nucleus"))
    assert row["true_instances"] == "2" and row["predicted_instances"] == "3" and "by threshold" in page
    assert (row["merged"], row["split"]) == ("0", "1")
    (pictures,) = json.loads(re.search(r'id="pictures">(.*?)</script>', page, re.DOTALL)[1])
    assert {kind for kind, (path,) in pictures["contours"].items() if path} == {"right", "split"}
    two = {**item, **dict.fromkeys(("label", "pred"), mask.repeat(2, 1, 1)), "probability": mask.repeat(3, 1, 1)}
    row, page = evaluate(tmp_path, two, Labels(EXCLUSIVE))
    assert list(row) == ["image", "dice", "dice_organ", "dice_tumour"] and "by threshold" not in page


def test_the_speed_is_of_the_network_and_the_postprocessing_without_the_reading(tmp_path, monkeypatch, caplog):
    now = 0.0
    monkeypatch.setattr(evaluation_report, "time", SimpleNamespace(perf_counter=lambda: now))

    def taking(seconds, result=lambda x: x):
        def step(x):
            nonlocal now
            now += seconds
            return result(x)

        return step

    class Network(torch.nn.Module):
        forward = staticmethod(taking(0.25))

    image = MetaTensor(torch.rand(2, 30, 20), meta={"filename_or_obj": "image.png"})
    items = Dataset([{"image": image, "label": image.round()}] * 3, taking(7))
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader(items, num_workers=0),
        Network(),
        postprocessing=taking(0.75, lambda item: {**item, "pred": item["label"], "probability": item["pred"]}),
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[EvaluationReport(str(tmp_path), {}, Labels(EXCLUSIVE), 0.5, None, str(tmp_path / "history.csv"))],
    )
    with caplog.at_level(logging.INFO):
        evaluator.run()
    speed = "4 images/s (network), 1 images/s (with postprocessing)"
    assert speed in caplog.text and speed in (tmp_path / "report.html").read_text()
