from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_files import save

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import check_dataset, make_datalist, read_split, synthesize, write_split
from dpsau2net_monai.data.inspection import inspect_headers, inspect_pair
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadInputImaged, LoadMaskd

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def mask_of(*shape: int) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2] = 255
    return mask


@pytest.fixture
def tree(tmp_path) -> Path:
    """20 pairs without problems. Half of each mask is foreground."""
    for i in range(20):
        save(tmp_path / "images" / f"{i:02d}.png", noise(32, 40))
        save(tmp_path / "masks" / f"{i:02d}.png", mask_of(32, 40))
    return tmp_path


def kinds(check) -> list[tuple[str, str, bool]]:
    return [(Path(problem.file).name, problem.kind, problem.error) for problem in check.problems]


def test_the_table_lists_the_contents_and_writes_nothing(tmp_path, capsys):
    for i in range(10):
        image, suffix = [
            (noise(32, 40), ".png"),
            (noise(32, 40, 3), ".jpg"),
            (noise(64, 48, 4), ".png"),
            (noise(32, 40).astype(np.uint16) * 257, ".tif"),
            (noise(32, 40).astype(np.float32), ".tif"),
        ][i // 2]
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[: (i + 1) * mask.shape[0] // 16] = 1
        save(tmp_path / "images" / f"{i}{suffix}", image)
        save(tmp_path / "masks" / f"{i}.png", mask)
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", str(tmp_path), "--size", "0.8"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pairs         10",
        "split         train (8), test (2)",
        "size          40 x 32 (8), 48 x 64 (2)",
        "channels      1 (6), 3 (4)",
        "bits          8 (6), 16 (2), 32 float (2)",
        "foreground    median 34.4%, from 6.2% to 62.5%",
        "duplicates    0",
        "in two parts  0",
        "0 errors, 0 warnings",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_masks_of_classes_in_grey_and_in_colour(tmp_path, capsys):
    for i in range(10):
        save(tmp_path / "images" / f"{i}.png", noise(32, 40))
        save(tmp_path / "masks" / "cell" / f"{i}.png", mask_of(32, 40))
        save(tmp_path / "masks" / "nucleus" / f"{i}.png", np.stack([mask_of(32, 40)] * 3, -1))
    assert main(["check", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("cell", "nucleus"):
        (line,) = [line for line in lines if line.strip().startswith(name)]
        assert "median 50.0%" in line and "in 10 of 10 images" in line


def test_size_and_foreground_are_those_that_training_gets(tmp_path):
    smoothed = np.where(mask_of(32, 40) > 0, 255, RNG.integers(0, 200, (32, 40))).astype(np.uint8)
    for name, image, mask_name, mask in [
        ("grey.png", noise(32, 40), "grey.png", mask_of(32, 40)),
        ("smooth.png", noise(32, 40, 3), "smooth.png", smoothed),
        ("labels.tif", noise(32, 40).astype(np.uint16), "labels.tif", (mask_of(32, 40) // 255) * np.uint16(7)),
        ("colours.png", noise(32, 40, 4), "colours.png", np.dstack([mask_of(32, 40)] * 3)),
        ("slice.nii.gz", noise(40, 32, 1), "slice.png", mask_of(32, 40)),
        ("vector.nii", noise(40, 32, 1, 3), "vector.nii.gz", mask_of(40, 32)),
        ("palette.png", noise(32, 40), "palette.png", mask_of(32, 40)),
    ]:
        pair = {
            "image": str(save(tmp_path / "images" / name, image)),
            "label": str(save(tmp_path / "masks" / mask_name, mask)),
        }
        finding = inspect_pair(pair)
        loaded = LoadMaskd("label")(LoadInputImaged("image", finding.channels)(pair))
        assert finding.size == tuple(loaded["image"].shape[1:]), name
        assert finding.foreground == pytest.approx(loaded["label"].mean().item()), name
    volume = {
        "image": str(save(tmp_path / "v.nii", noise(9, 8, 7))),
        "label": str(save(tmp_path / "m.nii", noise(9, 8, 7) // 200)),
    }
    finding = inspect_pair(volume)
    loaded = LoadMaskd("label", spatial_dims=3)(LoadInputImaged("image", 1, 3)(volume))
    assert finding.size == tuple(loaded["image"].shape[1:]) == (9, 8, 7)
    assert finding.foreground == pytest.approx(loaded["label"].mean().item())


SHIFTED = np.array([[1, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
FLIPPED = np.diag([-1, 1, 1, 1])
COARSE = np.diag([1, 1, 3, 1])


@pytest.mark.parametrize(
    "image, mask, expected",
    [
        # a photograph with an EXIF tag that turns it, and masks with and without this tag
        (("x.jpg", noise(32, 40), None, 6), ("x.png", mask_of(32, 40)), ("x.jpg", "orientation", True)),
        (("x.jpg", noise(32, 40), None, 6), ("x.png", mask_of(40, 32)), None),
        (("x.jpg", noise(32, 40), None, 6), ("x.jpg", mask_of(32, 40), None, 6), None),
        (("x.jpg", noise(32, 40), None, 6), ("x.png", mask_of(32, 41)), ("x.png", "size", True)),
        # the turn does not change the size here
        (("x.jpg", noise(32, 40), None, 3), ("x.png", mask_of(32, 40)), ("x.jpg", "orientation", False)),
        (("x.jpg", noise(32, 32), None, 8), ("x.png", mask_of(32, 32)), ("x.jpg", "orientation", False)),
        (("x.png", noise(32, 32)), ("x.jpg", mask_of(32, 32), None, 8), ("x.jpg", "orientation", False)),
        # the affine of a NIfTI gives the position of its voxels
        (("x.nii", noise(9, 8, 7)), ("x.nii.gz", noise(9, 8, 7) // 128, SHIFTED), ("x.nii.gz", "orientation", False)),
        (("x.nii", noise(9, 8, 7)), ("x.nii", noise(9, 8, 7) // 128, np.eye(4) + 1e-4), None),
        (("x.nii", noise(9, 8, 7)), ("x.nii", noise(9, 8, 6) // 128, SHIFTED), ("x.nii", "size", True)),
        # the transforms for volumes would turn or resample the mask in another way than its image
        (("x.nii", noise(9, 8, 7)), ("x.nii", noise(9, 8, 7) // 128, FLIPPED), ("x.nii", "orientation", True)),
        (("x.nii", noise(9, 8, 7)), ("x.nii", noise(9, 8, 7) // 128, COARSE), ("x.nii", "orientation", True)),
        (("x.nii", noise(9, 8, 1)), ("x.nii", noise(9, 8, 1) // 128, FLIPPED), ("x.nii", "orientation", False)),
    ],
)
def test_problems_that_headers_show_are_found_without_reading_pixels(image, mask, expected, tmp_path):
    pair = {
        key: str(save(tmp_path / folder / name, array, *rest))
        for key, folder, (name, array, *rest) in (("image", "images", image), ("label", "masks", mask))
    }
    problems = inspect_headers(pair).problems
    assert [(Path(p.file).name, p.kind, p.error) for p in problems] == ([expected] if expected else [])
    # a mask that is a JPEG is not quite binary
    assert problems == [p for p in inspect_pair(pair).problems if p.kind != "mask not binary"]


def test_each_problem_has_a_line_in_the_order_of_the_files(tree, capsys):
    save(tree / "masks" / "03.png", np.zeros((32, 40), np.uint8))
    save(tree / "masks" / "04.png", np.full((32, 40), 255, np.uint8))
    save(tree / "masks" / "05.png", np.arange(32 * 40).reshape(32, 40).astype(np.uint8) % 3)
    save(tree / "masks" / "06.png", mask_of(40, 32))
    (tree / "images" / "07.png").write_bytes((tree / "images" / "07.png").read_bytes()[:-100])
    (tree / "masks" / "08.png").unlink()
    (tree / "images" / "09.png").unlink()
    save(tree / "images" / "10.tif", noise(32, 40))
    (tree / "images" / "11.png").unlink()
    save(tree / "images" / "11.tif", np.full((32, 40), np.nan, np.float32))
    check = check_dataset(tree)
    assert kinds(check) == [
        ("03.png", "mask empty", False),
        ("04.png", "mask full", False),
        ("05.png", "mask not binary", False),
        ("06.png", "size", True),
        ("07.png", "unreadable", True),
        ("08.png", "no mask", True),
        ("09.png", "no image", False),
        ("10.tif", "same name", True),
        ("11.tif", "nan", True),
    ]
    assert main(["check", str(tree)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "5 errors, 4 warnings"
    assert [line.partition(": ")[2] for line in out[8:-1]] == [problem.message for problem in check.problems]


def test_duplicates_and_leaks_between_parts(tree):
    csvfile = tree / "split.csv"
    write_split(csvfile, {f"{i:02d}": "test" if i >= 15 else "train" for i in range(20)})
    first = np.asarray(Image.open(tree / "images" / "01.png"))
    save(tree / "images" / "04.tif", first)  # the same pixels in another format
    (tree / "images" / "04.png").unlink()
    save(tree / "images" / "17.png", first)
    save(tree / "masks" / "17.png", mask_of(32, 40)[::-1])
    check = check_dataset(tree, csvfile)
    assert kinds(check) == [("04.tif", "duplicate", False), ("17.png", "leak", False)]
    duplicate, leak = (problem.message for problem in check.problems)
    assert "has the same content as" in duplicate and "01.png; remove one of them" in duplicate
    assert "01.png but another mask; it is in test and the other in train" in leak
    assert "duplicates    1\nin two parts  1\n" in check.text() and not check.errors

    # the same file in two sections of a datalist
    item = {"image": "images/01.png", "label": "masks/01.png"}
    others = [{"image": f"images/{i:02d}.png", "label": f"masks/{i:02d}.png"} for i in range(5, 10)]
    (tree / "list.json").write_text(json.dumps({"training": [item, *others], "test": [item]}))
    check = check_dataset(tree / "list.json")
    assert check.parts == {"train": 6, "test": 1} and kinds(check) == [("01.png", "leak", False)]


def test_with_json_nothing_else_is_printed(tree, capsys):
    (tree / "masks" / "08.png").unlink()
    assert main(["check", str(tree), "--json"]) == 1
    printed = capsys.readouterr()
    check = json.loads(printed.out)
    assert printed.err == ""
    assert check["pairs"] == 20 and check["parts"] == {"train": 18, "test": 2} and check["sizes"] == {"40 x 32": 19}
    assert check["foreground"] == {"min": 0.5, "median": 0.5, "max": 0.5}
    (problem,) = check["problems"]
    assert problem == {
        "file": str(tree / "images" / "08.png"), "kind": "no mask", "error": True,
        "message": f"{tree / 'images' / '08.png'}: has no mask {tree / 'masks' / '08'}.*; add it or remove the image",
    }  # fmt: skip
    assert main(["check", str(tree / "nowhere"), "--json"]) == 1
    check = json.loads(capsys.readouterr().out)
    assert check["pairs"] == 0 and check["problems"][0]["kind"] == "dataset"


def test_a_dataset_too_small_to_train_on_is_checked_nevertheless(tmp_path):
    synthesize(tmp_path, 5, (32, 32))
    check = check_dataset(tmp_path)
    assert check.parts == {"unsplit": 5} and len(check.sizes) > 0
    assert [problem.kind for problem in check.errors] == ["split"]
    assert "5 folds need at least 5" in check.errors[0].message


def test_only_the_images_of_the_csv_are_checked(tree):
    (tree / "masks" / "08.png").unlink()
    csvfile = tree / "split.csv"
    write_split(csvfile, {f"{i:02d}": "test" if i < 2 else "train" for i in range(8)})
    assert check_dataset(tree, csvfile).parts == {"train": 6, "test": 2}
    (problem,) = check_dataset(tree, csvfile).problems
    assert "split.csv: does not name 12 of 20 images, such as '08', so they are left out" in problem.message
    assert not problem.error
    make_datalist(tree, csvfile)


def test_files_that_are_ignored_are_named(tree):
    Image.fromarray(noise(32, 40)).save(tree / "images" / "20.webp")
    (tree / "masks" / "patient 1").mkdir()
    check = check_dataset(tree)
    assert kinds(check) == [("images", "ignored", False), ("masks", "ignored", False)]
    assert "images: files and folders that are not images and are ignored: 1, such as '20.webp'" in check.text()
    assert "such as 'patient 1'" in check.text()


def test_numbered_instances_are_checked(tree):
    numbered = mask_of(32, 40).astype(np.uint16) // 255
    for i in range(1, 20):
        save(tree / "instances" / f"{i:02d}.png", numbered)
    save(tree / "instances" / "03.tif", numbered)
    save(tree / "instances" / "05.png", numbered[:9])
    save(tree / "instances" / "07.png", 1 - numbered // 2)  # all of it is in instances
    save(tree / "instances" / "20.png", numbered)
    check = check_dataset(tree)
    assert kinds(check) == [
        ("03.tif", "instances", True),
        ("05.png", "instances", True),
        ("07.png", "instances", False),
        ("20.png", "no image", False),
        ("instances", "no instances", False),
    ]
    text = check.text()
    assert "03.tif: has the same name as 03.png; remove or rename one of them" in text
    assert "05.png: is 40 x 9, its image 40 x 32; restore it or remove it" in text
    assert "07.png: 100.0% of it is in instances, but 50.0% of the mask is foreground; if they are of another" in text
    assert "has no instances of 1 of 20 images, such as '00', so their masks are split" in text


def test_several_bad_pairs_give_one_line_with_the_command_that_lists_all(tree):
    (tree / "masks" / "08.png").unlink()
    with pytest.raises(InputError, match=r"08.png: has no mask [^(]*$"):
        make_datalist(tree)
    save(tree / "masks" / "03.png", mask_of(9, 9))
    (tree / "images" / "12.png").write_bytes(b"text")
    with pytest.raises(InputError, match=rf"\(and 2 more: python -m dpsau2net_monai check {tree} lists them\)$"):
        make_datalist(tree)


def test_skip_bad_drops_unusable_pairs_and_logs_each(tree, caplog):
    whole = make_datalist(tree)
    (tree / "masks" / "08.png").unlink()
    save(tree / "masks" / "03.png", mask_of(9, 9))
    # a broken image with a good header
    (tree / "images" / "12.png").write_bytes((tree / "images" / "12.png").read_bytes()[:-100])
    save(tree / "masks" / "05.png", np.zeros((32, 40), np.uint8))  # an empty mask can be trained on
    with caplog.at_level(logging.WARNING, "dpsau2net_monai"):
        parts = make_datalist(tree, skip_bad=True)
    assert len(caplog.messages) == 3
    for name in ("08.png: has no mask", "03.png: the mask is 9 x 9", "12.png: cannot be read as a picture"):
        assert sum(name in message for message in caplog.messages) == 1
    bad = {str(tree / "images" / f"{name}.png") for name in ("08", "03", "12")}
    # all other pairs stay in their part
    assert parts == {part: [pair for pair in pairs if pair["image"] not in bad] for part, pairs in whole.items()}


def test_a_part_without_usable_pairs_is_an_error(tree):
    for path in (tree / "masks").iterdir():
        path.write_bytes(b"text")
    with pytest.raises(InputError, match="the part 'training' has no usable pair; the first problem: .*cannot be read"):
        make_datalist(tree, skip_bad=True)


def test_names_that_are_not_utf8_survive_a_split(tree):
    for folder in ("images", "masks"):
        (tree / folder / "02.png").rename(tree / folder / "\udcff\n2.png")
    assert main(["split", "--dataset", str(tree)]) == 0
    assert "\udcff\n2" in read_split(tree / "split.csv")
    assert make_datalist(tree, tree / "split.csv") == make_datalist(tree)
