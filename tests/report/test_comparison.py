from __future__ import annotations

import math

import numpy as np
import pytest

from dpsau2net_monai.cli import main
from dpsau2net_monai.report.statistics import paired_difference, summarise


def evaluation(folder, dice):
    folder.mkdir()
    rows = [f"image {i},{value},{1 - value:.6g}" for i, value in enumerate(dice)]
    (folder / "images.csv").write_text("\n".join(["image,dice,hd95", *rows]) + "\n")
    return str(folder)


def test_compare_prints_means_differences_and_the_images_that_differ_most(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", [0.5, 0.6, 0.7, 0.8]), evaluation(tmp_path / "b", [0.6, 0.7, 0.4, 0.9])
    assert main(["compare", a, b]) == 0
    lines = capsys.readouterr().out.splitlines()
    (dice,) = [line.split() for line in lines if line.startswith("dice")]
    assert [float(cell) for cell in dice[1:4]] == [0.65, 0.65, 0]
    assert float(dice[4]) < 0 < float(dice[6])
    first, *_ = lines[lines.index("Where Dice differs most:") + 2 :]
    assert first.split() == ["0.7000", "0.4000", "-0.3000", "image", "2"]


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda b: (b / "images.csv").unlink(), "b/images.csv: no such file; name a folder that `evaluating` wrote to"),
        (lambda b: (b / "images.csv").write_text("name,dice\nx,1\n"), "b/images.csv: is not a table that"),
        (lambda b: (b / "images.csv").write_text("image,dice\nx,high\n"), "b/images.csv: is not a table that"),
        (lambda b: (b / "images.csv").write_text("image,iou\nimage 0,1\n"), "b/images.csv: has no column 'dice'"),
        (lambda b: (b / "images.csv").write_text("image,dice\n"), "b/images.csv: has no images"),
        (lambda b: (b / "images.csv").write_text("image,dice\nother,1\n"), "b: has no metrics of 'image 0'"),
        (
            lambda b: (b / "images.csv").write_text("image,dice\nimage 0,1\nimage 1,1\nimage 1,0\n"),
            "b/images.csv: has two images 'image 1', so they cannot be paired",
        ),
    ],
)
def test_evaluations_that_cannot_be_compared_give_one_line(spoil, says, tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", [0.5, 0.6]), evaluation(tmp_path / "b", [0.5, 0.6])
    spoil(tmp_path / "b")
    assert main(["compare", a, b]) != 0
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and says in printed.err


def test_summary_and_difference():
    values = np.random.default_rng(0).normal(0.9, 0.05, 400)
    summary = summarise(values)
    assert summary == summarise(values)
    # for so many values, the interval is close to that of the normal distribution
    error = 1.96 * values.std() / 20
    assert (summary.low, summary.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=error / 10)
    assert (summary.mean, summary.std, summary.median) == (values.mean(), values.std(), np.median(values))
    assert math.isnan(summarise([0.5]).low)
    assert paired_difference(values, values) == (0, 0, 0, 1)
    better = paired_difference(values, values + 0.01)
    assert better.p < 1e-6 and better.mean == pytest.approx(0.01)
