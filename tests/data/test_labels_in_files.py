"""Masks in files of every kind are decoded alike by training and by the check."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sample_files import save, save_all

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import Labels, check_dataset, make_datalist, require_classes
from dpsau2net_monai.data.inspection import read_codes
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadMaskd

CODES = np.arange(6 * 5).reshape(6, 5) % 3  # (row, column)
VALUES = {"background": 0, "liver": 50, "tumour": 100}
COLOURS = {"#ff0000": "liver", "#00ff00": "tumour"}
RGB = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[CODES]
GREY = (CODES * 50).astype(np.uint8)
VOLUME = np.repeat(CODES.T[..., None], 4, -1)  # of equal slices
ONE_HOT = np.eye(3, dtype=np.uint8)[VOLUME]


def palette(path):
    picture = Image.fromarray(CODES.astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(path)


@pytest.mark.parametrize(
    "name, stored, labels, expected",
    [
        ("8_bits.png", GREY, VALUES, CODES),
        ("16_bits.png", (CODES * 50).astype(np.uint16), VALUES, CODES),
        ("16_bits_large.png", (CODES * 32000).astype(np.uint16), {"a": 32000, "b": 64000}, CODES),
        ("16_bits.tif", (CODES * 50).astype(np.uint16), VALUES, CODES),
        ("grey_as_rgb.png", np.dstack([GREY] * 3), VALUES, CODES),
        ("regions.png", CODES.astype(np.uint8), {"whole": [1, 2], "core": [2]}, CODES),
        ("colours.png", RGB, COLOURS, CODES),
        ("with_alpha.png", np.dstack([RGB, GREY + 99]), COLOURS, CODES),
        ("palette.png", palette, COLOURS, CODES),
        (
            "palette_of_values.png",
            palette,
            VALUES,
            "is in colours, or has a palette of colours, but the labels are values",
        ),
        ("rgb_of_values.png", RGB, {"a": 1, "b": 2, "c": 3}, "is in colours"),
        ("other.png", GREY + (GREY == 50), VALUES, "10 pixels have the value 51; the labels have 0, 50, 100"),
        ("other_colour.png", RGB // 2, COLOURS, "10 pixels have the value #007f00, and 1 other values"),
        ("volume.nii.gz", (VOLUME * 50).astype(np.int16), VALUES, VOLUME),
        ("negative.nii", VOLUME.astype(np.int16) - 1, {"background": -1, "a": 0, "b": 1}, VOLUME),
        ("float.nii", (VOLUME * 1.0000001).astype(np.float64), {"a": 1, "b": 2}, VOLUME),
        ("half.nii", (VOLUME * 0.5).astype(np.float32), {"a": 1, "b": 2}, "40 pixels have the value 0.5"),
        ("one_hot.nii", ONE_HOT, {"a": 1, "b": 2}, VOLUME),
        ("one_hot_without_background.nii", ONE_HOT[..., 1:], {"a": 1, "b": 2}, VOLUME),
        ("one_hot_overlaps.nii", np.ones_like(ONE_HOT), {"a": 1, "b": 2}, "120 pixels are in several classes"),
        ("one_hot_of_others.nii", ONE_HOT[..., :1].repeat(5, -1), {"a": 1, "b": 2}, "is a mask of 5 channels, but the"),
        ("one_hot_of_files.nii", ONE_HOT[..., 1:], ["a", "b"], VOLUME),
        ("one_hot_of_regions.nii", ONE_HOT, {"whole": [1, 2], "core": [2]}, "3 channels, but the labels are regions"),
        ("one_hot_of_one_class.nii", ONE_HOT[..., :2], "a", "is a mask of 2 channels, but of one class; save one"),
        ("one_hot_of_one_file.nii", ONE_HOT[..., :2], ["a"], "is a mask of 2 channels, but of one class; save one"),
    ],
)
def test_a_mask_is_decoded_or_refused(name, stored, labels, expected, tmp_path):
    path = tmp_path / name
    stored(path) if callable(stored) else save(path, stored)
    labels = Labels(labels)
    load = LoadMaskd("label", labels, 3 if name.endswith((".nii", ".nii.gz")) else 2)
    if isinstance(expected, str):
        for read in (lambda: load({"label": str(path)}), lambda: read_codes(str(path), labels)):
            with pytest.raises(InputError, match=expected) as error:
                read()
            assert str(error.value).startswith(f"{path}: ")
        return
    np.testing.assert_array_equal(read_codes(str(path), labels)[0], expected)
    loaded = load({"label": str(path)})["label"][0].numpy()
    np.testing.assert_array_equal(loaded, expected if expected is VOLUME else expected.T)
    if labels.form in ("values", "regions", "colours") and not name.startswith("one_hot"):
        written = labels.encode(loaded.astype(int))
        want = stored if name in ("8_bits.png", "colours.png", "volume.nii.gz", "negative.nii") else None
        if want is not None:
            np.testing.assert_array_equal(written, want if expected is VOLUME else want.swapaxes(0, 1))


def test_masks_of_several_classes_overlap(tmp_path):
    cell, nucleus = CODES > 0, CODES > 1
    paths = [str(save(tmp_path / f"{i}.png", mask.astype(np.uint8) * 255)) for i, mask in enumerate((cell, nucleus))]
    labels = Labels(["cell", "nucleus"])
    np.testing.assert_array_equal(read_codes(paths, labels)[0], cell + 2 * nucleus)
    channels = labels.channels(LoadMaskd("label", labels)({"label": paths})["label"])
    np.testing.assert_array_equal(channels.numpy(), [cell.T, nucleus.T])


@pytest.fixture
def dataset(tmp_path):
    """Eight volumes with the classes 1 and 2."""
    names = [f"{i}.nii.gz" for i in range(8)]
    save_all(tmp_path, *[f"{folder}/{name}" for name in names for folder in ("images", "masks")])
    return tmp_path


def test_the_check_has_a_row_for_each_class(dataset, capsys):
    mask = dataset / "masks" / "3.nii.gz"
    save(mask, np.ones((6, 5, 4), np.uint8))
    labels = "{background: 0, liver: 1, vein in the liver: 2}"
    assert main(["check", str(dataset), "--labels", labels]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  liver              median 33.3%, from 33.3% to 100.0%, in 8 of 8 images" in lines
    assert "  vein in the liver  median 33.3%, from 33.3% to 33.3%, in 7 of 8 images" in lines
    assert check_dataset(dataset, labels=Labels({"liver": 1, "vein": 2})).to_dict()["classes"]["vein"]["images"] == 7
    assert "classes" not in check_dataset(dataset).to_dict()

    save(mask, np.full((6, 5, 4), 7, np.uint8))
    assert main(["check", str(dataset), "--labels", labels]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    assert line == f"error: {mask}: 120 pixels have the value 7; the labels have 0, 1, 2: correct one"
    # the bad mask is left out
    parts = make_datalist(dataset, skip_bad=True, labels=Labels({"liver": 1, "vein": 2}))
    assert sum(map(len, parts.values())) == 7

    for wrong, says in [("{", "is not YAML"), ("5", "labels is 5; give a name")]:
        assert main(["check", str(dataset), "--labels", wrong]) == 1
        assert says in capsys.readouterr().err


def test_a_class_that_no_training_image_has_stops_training(dataset):
    labels = Labels({"liver": 1, "tumour": 2, "vein": 3})
    (problem,) = check_dataset(dataset, labels=labels).problems
    says = "none of the 7 training images has the class 'vein'; add one, or remove the class from the labels"
    assert problem.message == f"{dataset}: {says}" and not problem.error
    pairs = make_datalist(dataset)["training"]
    with pytest.raises(InputError, match="none of the 5 training images has the class 'vein'"):
        require_classes(pairs, labels)
    require_classes(pairs, Labels({"liver": 1, "tumour": 2}))
    require_classes(pairs, Labels())
