from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sample_images import box, image, mask, read, save, stamps

from dpsau2net_monai.data import find_pairs, read_split
from dpsau2net_monai.importers import prepare_clinicdb
from dpsau2net_monai.importers.clinicdb import _draw

SEQUENCES = {str(frame): str(1 + (frame > 12) + (frame > 20) + (frame > 33)) for frame in range(1, 41)}


def clinicdb(root: Path, layout: str) -> None:
    folders = {"challenge": [("", "tif")], "kaggle": [("PNG", "png"), ("TIF", "tif")]}[layout]
    for frame in SEQUENCES:
        for folder, suffix in folders:
            image(root / folder / "Original" / f"{frame}.{suffix}")
            mask(root / folder / "Ground Truth" / f"{frame}.{suffix}")
    if layout == "kaggle":
        with open(root / "metadata.csv", "w", newline="") as file:
            writer = csv.writer(file)
            columns = ["png_image_path", "png_mask_path", "tif_image_path", "tif_mask_path"]
            writer.writerow(["frame_id", "sequence_id", *columns])
            for frame, sequence in SEQUENCES.items():
                paths = [f"{k}/{f}/{frame}.{k.lower()}" for k in ("PNG", "TIF") for f in ("Original", "Ground Truth")]
                writer.writerow([frame, sequence, *paths])


@pytest.mark.parametrize("layout", ["challenge", "kaggle"])
def test_clinicdb(layout, tmp_path):
    source, out = tmp_path / "CVC-ClinicDB", tmp_path / "out"
    clinicdb(source, layout)
    (source / "readme.txt").write_text("hm")
    summary = prepare_clinicdb(source, out)
    assert (summary.written, summary.left_out) == (40, 0)
    assert "readme.txt: is not part of the dataset; left out" in summary.notes
    assert {path.suffix for path in (out / "images").iterdir()} == {".png" if layout == "kaggle" else ".tif"}
    np.testing.assert_array_equal(read(out / "masks" / "7.png"), box(slice(5, 9), slice(5, 12)))
    assert len(find_pairs(out)) == 40

    categories = read_split(out / "split.csv")
    assert categories.keys() == SEQUENCES.keys()
    test = sorted(int(frame) for frame, category in categories.items() if category == "test")
    if layout == "kaggle":
        of_sequence = {sequence: set() for sequence in SEQUENCES.values()}
        for frame, category in categories.items():
            of_sequence[SEQUENCES[frame]].add(category)
        assert all(len(parts) == 1 for parts in of_sequence.values())
        assert "TIF: is another copy of PNG; not used" in summary.notes
        assert test == list(range(34, 41))  # the sequences have 12, 8, 13 and 7 frames; a tenth are 4
    else:
        assert test == list(range(test[0], test[0] + 4))
        assert any("no metadata.csv" in note and "10 blocks of consecutive frames" in note for note in summary.notes)

    before = stamps(out)
    assert prepare_clinicdb(source, out).kept == 40 and stamps(out) == before
    (out / "split.csv").write_text("image_id,category\n1,test\n2,train\n")
    assert any("kept as it is" in note for note in prepare_clinicdb(source, out).notes)
    assert len(read_split(out / "split.csv")) == 2


def test_a_tenth_of_the_frames_of_sequences_as_long_as_clinicdbs_are_test_frames():
    # metadata.csv has 29 sequences of 6 to 26 frames
    sequences = [str(i) for i in range(29) for _ in range(6 + i * 20 // 28)]
    test = _draw(sequences)
    assert 0.08 < sum(sequence in test for sequence in sequences) / len(sequences) < 0.12


@pytest.mark.parametrize(
    "spoil, line",
    [
        (lambda root: (root / "Ground Truth" / "3.tif").unlink(), "Original/3.tif: has no mask; left out"),
        (
            lambda root: (root / "Original" / "3.tif").unlink(),
            "Ground Truth/3.tif: is a mask without a frame; left out",
        ),
        (
            lambda root: save(root / "Ground Truth" / "3.tif", np.zeros((20, 31), np.uint8)),
            "Ground Truth/3.tif: is 31 x 20, its image 30 x 20; the image is left out",
        ),
        (
            lambda root: mask(root / "Ground Truth" / "3.tif", 0),
            "Ground Truth/3.tif: is empty; kept, as an image without foreground",
        ),
    ],
)
def test_problems_are_noted(spoil, line, tmp_path):
    clinicdb(tmp_path / "source", "challenge")
    spoil(tmp_path / "source")
    summary = prepare_clinicdb(tmp_path / "source", tmp_path / "out")
    kept = "kept" in line
    assert line in summary.notes and summary.written == 39 + kept
    assert ("3" in read_split(tmp_path / "out" / "split.csv")) == kept
