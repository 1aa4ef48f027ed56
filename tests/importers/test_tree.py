from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from sample_images import SIZE, box, image, mask, read, save, stamps

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import find_pairs
from dpsau2net_monai.importers import prepare_tree

NAMES = ("cell 1", "mask of b", "img_3")
TREES = {
    "suffix": lambda name: (f"data/{name}.jpg", f"data/{name}_mask.png", name),
    "folder": lambda name: (f"imgs/{name}.jpg", f"labels/{name}.png", name),
    "below": lambda name: (f"{name}.jpg", f"GT/{name}.png", name),
    "both": lambda name: (f"Training_Input/{name}.jpg", f"Training_GroundTruth/{name}_segmentation.png", name),
    "parts": lambda name: (f"{name[:3]}/JPEGImages/{name}.jpg", f"{name[:3]}/masks/{name}.png", f"{name[:3]}_{name}"),
    "cases": lambda name: (f"case {name[-1]}/image.jpg", f"case {name[-1]}/mask.png", f"case {name[-1]}_image"),
    "unknown word": lambda name: (f"{name}.bmp", f"{name}-polyp.png", name),
    "prefix": lambda name: (f"img_{name[-1]}.jpg", f"mask_{name[-1]}.gif", f"img_{name[-1]}"),
    "volumes": lambda name: (f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz", name),
}


def volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


@pytest.mark.parametrize("layout", TREES)
def test_tree(layout, tmp_path, capsys):
    for name in NAMES:
        picture, label, _ = TREES[layout](name)
        if layout == "volumes":
            for path in (picture, label):
                volume(tmp_path / "in" / path, np.ones((5, 6, 7), np.uint8))
        else:
            image(tmp_path / "in" / picture)
            mask(tmp_path / "in" / label, 1)
    command = ["prepare", "tree", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main([*command, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "rule: " in shown and "3 pairs, 0 images without a mask, 0 masks" in shown
    for name in NAMES:
        picture, label, _ = TREES[layout](name)
        base = "" if layout != "suffix" else "data/"
        assert f"for example {picture.removeprefix(base)} + {label.removeprefix(base)}\n" in shown
    assert not (tmp_path / "out").exists()

    assert main(command) == 0
    assert "rule: " in capsys.readouterr().out
    assert {Path(pair["image"]).name.split(".")[0] for pair in find_pairs(tmp_path / "out")} == {
        TREES[layout](name)[2] for name in NAMES
    }
    if layout != "volumes":
        for path in (tmp_path / "out" / "masks").iterdir():
            np.testing.assert_array_equal(read(path), box(slice(5, 9), slice(5, 12)))
    before = stamps(tmp_path / "out")
    assert main(command) == 0 and stamps(tmp_path / "out") == before


def test_formats_and_masks_that_become_others_are_noted(tmp_path):
    root = tmp_path / "in"
    deep = np.arange(600, dtype=np.uint16).reshape(SIZE) * 100
    for index, values in enumerate([[0, 255], [0, 1, 2], [0, 128, 255]]):
        save(root / "images" / f"{index}.pgm", deep)
        save(root / "masks" / f"{index}.png", np.resize(np.array(values, np.uint8), SIZE))
    red = np.zeros((*SIZE, 3), np.uint8)
    red[:10, :, 0] = red[10:, :, 1] = 255
    save(root / "images" / "3.png", deep)
    save(root / "masks" / "3.png", red)
    summary = prepare_tree(root, tmp_path / "out")
    assert summary.written == 4
    np.testing.assert_array_equal(read(tmp_path / "out" / "images" / "0.png"), deep)
    (note,) = summary.notes
    assert note.startswith("masks with several values: 3 (the first is 1.png); all of them become one class")


@pytest.mark.parametrize(
    "image_size, mask_size, notes",
    [
        ((5, 6, 7), (5, 6, 7), []),
        ((5, 6, 7), (5, 6, 8), ["labels/a.nii: is 5 x 6 x 8, its image 5 x 6 x 7; the image is left out"]),
        ((*SIZE[::-1], 1), None, []),  # a NIfTI of one slice, with a picture as its mask
        ((*SIZE, 1), None, ["labels/a.png: is 30 x 20, its image 20 x 30; the image is left out"]),
    ],
)
def test_masks_of_volumes_must_have_their_size(image_size, mask_size, notes, tmp_path):
    volume(tmp_path / "in" / "images" / "a.nii", np.ones(image_size, np.uint8))
    if mask_size:
        volume(tmp_path / "in" / "labels" / "a.nii", np.ones(mask_size, np.uint8))
    else:
        mask(tmp_path / "in" / "labels" / "a.png")
    summary = prepare_tree(tmp_path / "in", tmp_path / "out")
    assert summary.notes == notes and summary.written == (not notes)


def test_files_that_cannot_be_used_are_noted(tmp_path):
    root = tmp_path / "in"
    for name in ("a", "b", "c"):
        image(root / "images" / f"{name}.webp")
        blurred = np.asarray(Image.fromarray(box(slice(5, 9), slice(5, 12))).resize(SIZE[::-1], box=(0, 0, 29, 19)))
        save(root / "masks" / f"{name}.png", blurred)
    image(root / "images" / "lone.png")
    mask(root / "masks" / "other.png")
    mask(root / "masks" / "c.bmp")
    for name in ("a", "b"):
        image(root / "depth" / f"{name}.png")
    (root / "images" / "boxes.json").write_text("{}")
    (root / "images" / "b.webp").write_bytes(b"RIFF")
    summary = prepare_tree(root, tmp_path / "out")
    assert (summary.written, summary.left_out) == (1, 5)
    assert Image.open(tmp_path / "out" / "images" / "a.png").size == SIZE[::-1]
    assert set(np.unique(read(tmp_path / "out" / "masks" / "a.png"))) == {0, 255}
    for start in (
        "images/lone.png: is an image without a mask; left out",
        "masks/other.png: is a mask without an image; left out",
        "depth: has 2 images without masks; left out",
        "images/c.webp: cannot be paired, because there are masks/c.bmp and masks/c.png; left out",
        "images/boxes.json: is not an image; left out",
        "images/b.webp: cannot be read",
        "masks with grey levels: 1 (the first is a.png)",
    ):
        assert sum(note.startswith(start) for note in summary.notes) == 1
    assert len(summary.notes) == 7


def test_images_of_the_same_names_are_kept(tmp_path):
    for name in ("a", "b", "c", ".hidden/d"):
        image(tmp_path / "in" / "images" / f"{name}.png")
        mask(tmp_path / "in" / "masks" / f"{name}.png")
    image(tmp_path / "out" / "images" / "a.png", channels=4)
    image(tmp_path / "out" / "images" / "b.bmp")
    image(tmp_path / "out" / "images" / "c.png")  # the same image, whose mask is missing
    before = stamps(tmp_path / "out")
    summary = prepare_tree(tmp_path / "in", tmp_path / "out")
    assert (summary.written, summary.left_out) == (1, 2)
    assert ["is another image than" in note for note in summary.notes].count(True) == 2
    after = stamps(tmp_path / "out")
    assert sorted(after) == ["images/a.png", "images/b.bmp", "images/c.png", "masks/c.png"]
    assert all(after[f"images/{name}"] == before[f"images/{name}"] for name in ("a.png", "b.bmp"))
