"""Evaluating masks with the clicks of a simulated annotator, as `run evaluating --clicks N` does."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from bright import NETWORK, write_bright
from PIL import Image
from processes import fork_server, ranks
from running import CONFIGS, ROOT, bundle_arguments, environment, succeeded
from samples import write_volumes

from dpsau2net_monai.clicks import draw_clicks, next_click, spread_clicks
from dpsau2net_monai.data import Labels, Task, synthesize
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.handlers import ClickCurve
from dpsau2net_monai.inferers import ClickInferer
from dpsau2net_monai.report.clicks import ClickedImage, click_table, clicks_to

EVALUATION = [str(CONFIGS / name) for name in ("train.yaml", "evaluate.yaml")]
PARTS = {"background": 0, "anterior": 1, "posterior": 2}
BRIGHTNESS, CLICKS = 2.0, 4


def evaluate(data: Path, weights: Path, output: Path, **keys) -> list[dict[str, str]]:
    """Return ``clicks.csv``."""
    monai.bundle.run(
        "evaluating", config_file=EVALUATION, dataset_dir=str(data), ckpt_path=str(weights), output_dir=str(output),
        network_def=NETWORK, bundle_root="bundle", size=0.6, **keys,
    )  # fmt: skip
    return rows(output / "clicks.csv")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def curve(row: dict[str, str]) -> list[float]:
    return [float(value) for name, value in row.items() if name.startswith("dice_")]


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """The mean over the classes."""
    of_classes = [(mask == code, truth == code) for code in range(1, truth.max() + 1)]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in of_classes]))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    synthesize(folder, 10, size=(60, 80))
    write_bright(folder / "model", Task(2, 3, "nucleus", roi_size=[128, 128]), BRIGHTNESS)
    return folder


@pytest.fixture(scope="module")
def evaluated(pictures, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("evaluated")
    evaluate(pictures, pictures / "model" / "model.pt", output, clicks=CLICKS)
    return output


def test_the_curve_of_pictures_is_that_by_hand(pictures, evaluated):
    """What the network computes is known, so the clicks and the answers follow from the files."""
    clicked = rows(evaluated / "clicks.csv")
    assert len(clicked) == 4
    for row in clicked:
        pixels = np.asarray(Image.open(pictures / "images" / f"{row['image']}.png").convert("RGB"), np.float32)
        truth = (np.asarray(Image.open(pictures / "masks" / f"{row['image']}.png")) > 0).astype(int).T  # (x, y)
        image = torch.from_numpy(((pixels - pixels.mean()) / pixels.std()).T.copy())
        logit = BRIGHTNESS * image.mean(0) - 1
        logits = torch.stack([torch.zeros_like(logit), logit])
        clicks: dict[str, list] = {"background": [], "nucleus": []}
        points, values, spread = [], [], torch.zeros_like(logits)
        probability, found = logit.sigmoid(), (logit > 0).float()
        expected = float(2 * (probability * found).sum() / (probability + found).sum())
        for _ in range(CLICKS + 1):
            mask = (logit + spread[1] - spread[0] > 0).numpy().astype(int)
            values.append(dice(mask, truth))
            code, point = next_click(mask, truth, points)
            points.append(point)
            clicks[["background", "nucleus"][code]].append(point)
            drawn = draw_clicks(clicks, Labels("nucleus"), truth.shape)
            share = min(max((ClickInferer.SURE[1] - expected) / (ClickInferer.SURE[1] - ClickInferer.SURE[0]), 0), 1)
            spread = spread_clicks(drawn, logits, image, share)
        assert curve(row) == pytest.approx(values, abs=5e-3)


def test_what_follows_from_the_curve(evaluated):
    images, clicked = rows(evaluated / "images.csv"), rows(evaluated / "clicks.csv")
    assert [row["image"] for row in images] == [row["image"] for row in clicked]
    assert [float(row["dice"]) for row in images] == pytest.approx([curve(row)[0] for row in clicked], abs=1e-5)
    for row in clicked:
        for target in ("0.90", "0.95"):
            reached = [index for index, value in enumerate(curve(row)) if value >= float(target)]
            assert int(row[f"clicks_to_{target}"]) == (reached[0] if reached else CLICKS)
    page = (evaluated / "report.html").read_text()
    gains = sorted(clicked, key=lambda row: curve(row)[0] - curve(row)[-1])
    shown = re.findall(r"<h3>(.*?)</h3>", page)
    assert shown == [row["image"] for row in gains[:3] if curve(row)[-1] > curve(row)[0]] and shown
    captions = [f"{count} click{'s' * (count != 1)}, Dice {curve(gains[0])[count]:.3f}" for count in (0, 1, 3)]
    assert re.findall(r"<figcaption>(\d+ clicks?, .*?)</figcaption>", page)[:3] == captions
    circles = [figure.count("<circle") for figure in re.findall(r"<figure style=.*?</figure>", page, re.DOTALL)]
    assert circles == [0, 1, 3] * len(shown)
    assert "Mean Dice by clicks" in page and f"Dice after {CLICKS} clicks" in page


def test_overlays_show_the_image_in_its_colours(pictures, evaluated):
    for path in (evaluated / "overlays").iterdir():
        overlay = np.asarray(Image.open(path), int)
        source = np.asarray(Image.open(pictures / "images" / path.name).convert("RGB"), int)
        if np.ptp(source, axis=2).max() > 20:
            assert (np.ptp(overlay, axis=2) > 5).mean() > 0.5


def test_volumes_follow_clicks(tmp_path):
    """Two classes, voxels that are resampled, and orientations that are turned; without clicks, all is background."""
    write_volumes(tmp_path, {f"v{index}": ("turned", "straight")[index % 2] for index in range(10)}, (30, 34, 24))
    write_bright(tmp_path / "model", Task(3, 1, PARTS, "mr", [0.9] * 3, roi_size=[48, 48, 48]))
    clicked = evaluate(tmp_path, tmp_path / "model" / "model.pt", tmp_path / "eval", clicks=3)
    assert len(clicked) == 4
    for row in clicked:
        values = curve(row)
        assert values[0] == 0 < values[1] < values[3]
    page = (tmp_path / "eval" / "report.html").read_text()
    assert "axial slice of the first click" in page and page.count("<circle") >= 3


def test_an_annotator_stops_when_nothing_is_wrong():
    images = [
        ClickedImage("a", [0.85, 0.93, 0.93]),
        ClickedImage("b", [0.97, 0.97, 0.97]),
        ClickedImage("c", [0.1] * 3),
    ]
    assert [clicks_to(image.dice, 0.9) for image in images] == [1, 0, None]
    assert click_table(images) == [
        ("Dice after 0 clicks", ["0.640", "0.475"]),
        ("Dice after 1 click", ["0.667", "0.515"]),
        ("Dice after 2 clicks", ["0.667", "0.515"]),
        ("Clicks to a Dice of 0.90, NoC@90", ["1.00", "1.50"]),
        ("Images that do not reach 0.90", ["1", "1"]),
        ("Clicks to a Dice of 0.95, NoC@95", ["1.33", "2.00"]),
        ("Images that do not reach 0.95", ["2", "2"]),
    ]


@pytest.mark.parametrize(
    "labels, clicks, says",
    [
        (["cell", "nucleus"], 3, "classes that overlap cannot be clicked; set clicks to 0"),
        ("nucleus", "many", "clicks is 'many'; give the number"),
        ("nucleus", -1, "clicks is -1; give the number"),
        ("nucleus", True, "clicks is True; give the number"),
    ],
)
def test_what_cannot_be_clicked_is_said_in_one_line(labels, clicks, says):
    with pytest.raises(InputError, match=says):
        ClickCurve(Task(2, 3, labels), clicks, dict, "nowhere")


@pytest.mark.slow
def test_an_evaluation_by_two_processes_gives_what_one_gives(pictures, evaluated, tmp_path):
    arguments = bundle_arguments(
        "evaluating", "train.yaml", "evaluate.yaml", bundle_root="bundle", dataset_dir=pictures, size=0.6,
        ckpt_path=pictures / "model" / "model.pt", clicks=CLICKS, network_def=NETWORK, output_dir=tmp_path / "two",
    )  # fmt: skip
    for result in fork_server().run_together(arguments, ROOT, [{**environment(), **rank} for rank in ranks(2)]):
        succeeded(result)
    one, two = (rows(folder / "clicks.csv") for folder in (evaluated, tmp_path / "two"))
    assert [row.pop("image") for row in one] == [row.pop("image") for row in two] and len(one) == 4
    for first, second in zip(one, two):
        assert [*map(float, first.values())] == pytest.approx([*map(float, second.values())], abs=1e-4)
    pages = [(folder / "report.html").read_text() for folder in (evaluated, tmp_path / "two")]
    assert len({tuple(re.findall(r"<h3>(.*?)</h3>|(\d clicks?, Dice [\d.]+)<", page)) for page in pages}) == 1
