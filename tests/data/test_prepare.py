from __future__ import annotations

import csv
import hashlib
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai import cli
from dpsau2net_monai.data import find_pairs, prepare_clinicdb, prepare_dsb2018, prepare_tree, read_split
from dpsau2net_monai.errors import InputError

SIZE = (20, 30)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image(path: Path, channels: int = 3) -> None:
    save(path, np.random.default_rng(len(path.name)).integers(0, 256, (*SIZE, channels), np.uint8))


def box(rows: slice, cols: slice, value: int = 255, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[rows, cols] = value
    return mask


def mask(path: Path, value: int = 255) -> None:
    save(path, box(slice(5, 9), slice(5, 12), value))


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def kaggle(tmp_path):
    """``stage1_train`` of three usable images, with what can be wrong in it."""
    source = tmp_path / "stage1_train"
    for name in ("good", "odd", "third", "unmasked", "broken"):
        image(source / name / "images" / f"{name}.png", 4)
    good, odd = source / "good" / "masks", source / "odd" / "masks"
    save(good / "a.png", box(slice(0, 6), slice(0, 6)))
    save(good / "b.png", box(slice(4, 10), slice(4, 10)))  # four pixels of it are a's
    save(good / "c.png", box(slice(1, 3), slice(1, 3)))  # wholly on a
    save(odd / "a.png", box(slice(0, 0), slice(0, 0)))
    save(odd / "b.png", box(slice(0, 3), slice(0, 3), size=(20, 31)))
    save(odd / "c.png", box(slice(15, 20), slice(25, 30)))
    (odd / "d.png").write_bytes((odd / "c.png").read_bytes()[:-20])
    save(source / "third" / "masks" / "a.png", box(slice(0, 3), slice(0, 3)))
    save(source / "broken" / "masks" / "a.png", box(slice(0, 3), slice(0, 3)))
    (source / "broken" / "images" / "broken.png").write_bytes(b"text")
    save(source / "imageless" / "masks" / "a.png", box(slice(0, 3), slice(0, 3)))
    (source / "good" / "masks" / "notes.txt").write_text("hm")
    (source / ".DS_Store").write_bytes(b"")
    return source


@pytest.mark.parametrize("packed", [False, True])
def test_dsb2018(kaggle, packed, tmp_path):
    source, out = kaggle, tmp_path / "out"
    if packed:
        source = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "stage1_train"))
    report = prepare_dsb2018(source, out)
    assert (report.written, report.kept, report.left_out) == (3, 0, 2)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*")} == {
        f"{folder}/{name}.png" for folder in ("images", "instances", "masks") for name in ("good", "odd", "third")
    }
    assert len(find_pairs(out)) == 3
    assert (out / "images" / "good.png").read_bytes() == (kaggle / "good" / "images" / "good.png").read_bytes()
    expected = box(slice(4, 10), slice(4, 10), 2)
    expected[:6, :6] = 1
    assert Image.open(out / "instances" / "good.png").mode.startswith("I;16")
    np.testing.assert_array_equal(read(out / "instances" / "good.png"), expected)
    np.testing.assert_array_equal(read(out / "masks" / "good.png"), np.uint8(255) * (expected > 0))
    np.testing.assert_array_equal(read(out / "instances" / "odd.png"), box(slice(15, 20), slice(25, 30), 1))

    prefix = "stage1_train/" if packed else ""
    for line in (
        f"{prefix}.DS_Store: is a stray file; left out",
        f"{prefix}good/masks/notes.txt: is a stray file; left out",
        f"{prefix}imageless: has masks, but no image; left out",
        f"{prefix}unmasked: has no masks; left out",
        f"{prefix}good/masks/c.png: lies wholly on other nuclei; left out",
        f"{prefix}good/images/good.png: has 8 pixels in several masks; the first mask by name has them",
        f"{prefix}odd/masks/a.png: is empty; left out",
        f"{prefix}odd/masks/b.png: is 31 x 20, its image 30 x 20; left out",
    ):
        assert line in report.notes
    unreadable = [note for note in report.notes if "cannot be read" in note]
    assert [note.split(":")[0] for note in unreadable] == [
        f"{prefix}{name}" for name in ("broken/images/broken.png", "odd/masks/d.png")
    ]
    assert len(report.notes) == 10


def test_a_second_run_does_what_is_missing(kaggle, tmp_path):
    out = tmp_path / "out"
    prepare_dsb2018(kaggle, out)
    before = stamps(out)
    assert prepare_dsb2018(kaggle, out).kept == 3
    assert stamps(out) == before

    for folder in ("images", "instances", "masks"):  # one image lacks each
        (out / folder / {"images": "good", "instances": "odd", "masks": "third"}[folder]).with_suffix(".png").unlink()
    report = prepare_dsb2018(kaggle, out)
    assert (report.written, report.kept) == (3, 0) and stamps(out).keys() == before.keys()
    (out / "masks" / "odd.png").unlink()
    before = stamps(out)
    assert (prepare_dsb2018(kaggle, out).written, prepare_dsb2018(kaggle, out).kept) == (1, 3)
    after = stamps(out)
    assert {name for name in after if after[name] != before.get(name)} == {
        f"{folder}/odd.png" for folder in ("images", "instances", "masks")
    }


@pytest.fixture
def server(serving, tmp_path):
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    (tmp_path / "served").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "served"))
    with serving(handler) as url:
        yield url


def test_dsb2018_with_download(kaggle, server, tmp_path, monkeypatch, capsys):
    served = Path(shutil.make_archive(str(tmp_path / "served" / "stage1_train"), "zip", kaggle))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(cli, "DSB2018_URL", f"{server}/{served.name}")
    archive, out = tmp_path / "stage1_train.zip", tmp_path / "out"
    command = ["prepare", "dsb2018", str(archive), str(out)]
    sha256 = hashlib.sha256(served.read_bytes()).hexdigest()

    assert cli.main([*command, "--sha256", sha256]) == 1
    assert cli.main([*command, "--download", "--sha256", "0" * 64]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert not archive.exists() and not out.exists()
    assert cli.main([*command, "--download"]) == 0
    printed = capsys.readouterr().out
    assert f"SHA-256 {sha256} (not compared, as none was given)" in printed
    assert f"3 images written, 0 there already, 2 left out: {out}" in printed
    assert cli.main([*command, "--download", "--sha256", sha256]) == 0
    assert f"SHA-256 {sha256} (as given)" in capsys.readouterr().out


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
    report = prepare_clinicdb(source, out)
    assert (report.written, report.left_out) == (40, 0)
    assert "readme.txt: is a stray file; left out" in report.notes
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
        assert "TIF: is another copy of PNG; not used" in report.notes
        assert test == list(range(34, 41))  # of 12, 8, 13 and 7 frames, where 4 are wanted
    else:
        assert test == list(range(test[0], test[0] + 4))
        assert any("no metadata.csv" in note and "10 blocks of consecutive frames" in note for note in report.notes)

    before = stamps(out)
    assert prepare_clinicdb(source, out).kept == 40 and stamps(out) == before
    (out / "split.csv").write_text("image_id,category\n1,test\n2,train\n")
    assert any("kept as it is" in note for note in prepare_clinicdb(source, out).notes)
    assert len(read_split(out / "split.csv")) == 2


def test_the_sizes_of_clinicdbs_own_sequences_split_in_ten(tmp_path):
    # the 29 sequences that metadata.csv numbers have from 6 to 26 frames
    from dpsau2net_monai.data.clinicdb import _draw

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
            "Ground Truth/3.tif: is empty; kept, as an image of nothing",
        ),
    ],
)
def test_what_is_wrong_in_clinicdb_is_reported(spoil, line, tmp_path):
    clinicdb(tmp_path / "source", "challenge")
    spoil(tmp_path / "source")
    report = prepare_clinicdb(tmp_path / "source", tmp_path / "out")
    kept = "kept" in line
    assert line in report.notes and report.written == 39 + kept
    assert ("3" in read_split(tmp_path / "out" / "split.csv")) == kept


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
    assert cli.main([*command, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "rule: " in shown and "3 pairs, 0 images without a mask, 0 masks" in shown
    for name in NAMES:
        picture, label, _ = TREES[layout](name)
        base = "" if layout != "suffix" else "data/"
        assert f"for example {picture.removeprefix(base)} + {label.removeprefix(base)}\n" in shown
    assert not (tmp_path / "out").exists()

    assert cli.main(command) == 0
    assert "rule: " in capsys.readouterr().out
    assert {Path(pair["image"]).name.split(".")[0] for pair in find_pairs(tmp_path / "out")} == {
        TREES[layout](name)[2] for name in NAMES
    }
    if layout != "volumes":
        for path in (tmp_path / "out" / "masks").iterdir():
            np.testing.assert_array_equal(read(path), box(slice(5, 9), slice(5, 12)))
    before = stamps(tmp_path / "out")
    assert cli.main(command) == 0 and stamps(tmp_path / "out") == before


def test_tree_reports_what_it_cannot_use(tmp_path):
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
    report = prepare_tree(root, tmp_path / "out")
    assert (report.written, report.left_out) == (1, 5)
    assert Image.open(tmp_path / "out" / "images" / "a.png").size == SIZE[::-1]
    assert set(np.unique(read(tmp_path / "out" / "masks" / "a.png"))) == {0, 255}
    for start in (
        "images/lone.png: is an image without a mask; left out",
        "masks/other.png: is a mask without an image; left out",
        "depth: has 2 images without masks; left out",
        "images/c.webp: cannot be paired, as there are masks/c.bmp and masks/c.png; left out",
        "images/boxes.json: is no image; left out",
        "images/b.webp: cannot be read",
        "1 masks have grey levels (a.png the first)",
    ):
        assert sum(note.startswith(start) for note in report.notes) == 1
    assert len(report.notes) == 7


@pytest.mark.parametrize(
    "prepare, files, says",
    [
        (prepare_tree, ["a.png", "b.png", "masks/c.png"], "has 3 images, but no rule pairs them"),
        (prepare_tree, ["left/a.png", "right/a.png"], "no rule pairs them"),
        (prepare_tree, ["notes.txt"], "has 0 images"),
        (prepare_dsb2018, ["images/a.png", "masks/a.png"], "has no ID/images/ID.png"),
        (prepare_clinicdb, ["Original/1.tif"], "has no folders 'Original' and 'Ground Truth'"),
        (prepare_clinicdb, ["a/Original/1.tif", "a/Ground Truth/1.tif", "b/c/Original/1.tif", "b/c/Ground Truth/1.tif"],
         "has several copies"),
        (prepare_clinicdb, ["Original/1.tif", "Ground Truth/1.tif", "metadata.csv"], "is no table of the columns"),
    ],
)  # fmt: skip
def test_a_source_of_another_layout_is_refused(prepare, files, says, tmp_path):
    for name in files:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".txt", ".csv"):
            path.write_text("a,b\n1,2\n")
        else:
            mask(path)
    with pytest.raises(InputError, match=says) as error:
        prepare(tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_output_within_the_source_is_refused(tmp_path):
    image(tmp_path / "x.jpg")
    mask(tmp_path / "x_mask.png")
    with pytest.raises(InputError, match="name a folder beside it"):
        prepare_tree(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
