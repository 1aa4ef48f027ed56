"""Datasets in the layouts in which they are distributed, and images and masks of several files."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_files import save_all, write_json

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import (
    Labels,
    check_dataset,
    dataset_settings,
    find_images,
    find_pairs,
    make_datalist,
    mask_path,
    name_of,
    read_split,
    without_masks,
)  # fmt: skip
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadInputImaged, LoadMaskd

NAMES = [f"case {i}" for i in range(8)]
CLASSES = {"background": 0, "anterior": 1, "posterior": 2}


def decathlon(root: Path) -> dict:
    """The test images have no labels, and a training image of a later download is not listed."""
    listed = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in NAMES]
    save_all(root, *[f"{folder}/{name}.nii.gz" for name in [*NAMES, "new"] for folder in ("imagesTr", "labelsTr")])
    numbers = {str(value): name for name, value in CLASSES.items()}
    content = {"modality": {"0": "CT"}, "labels": numbers, "numTraining": 8, "training": listed}
    write_json(root / "dataset.json", **content, test=["./imagesTs/x.nii.gz"])
    return {"labels": CLASSES, "in_channels": 1, "modality": "ct", "spatial_dims": 3}


def nnunet(root: Path) -> dict:
    save_all(root, *[f"labelsTr/{name}.nii.gz" for name in NAMES])
    save_all(root, *[f"imagesTr/{name}_000{channel}.nii.gz" for name in NAMES for channel in (0, 1)])
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    names = {"0": "T1", "1": "T2"}
    write_json(root / "dataset.json", channel_names=names, labels=labels, numTraining=8, file_ending=".nii.gz")
    return {"labels": labels, "in_channels": 2, "modality": "mr", "spatial_dims": 3}


def nnunet_1(root: Path) -> dict:
    """The list names files that do not exist: NAME.nii.gz for NAME_0000.nii.gz, NAME_0001.nii.gz."""
    settings = nnunet(root)
    listed = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in NAMES]
    numbers = {str(value): name for name, value in CLASSES.items()}
    write_json(root / "dataset.json", modality={"0": "T1", "1": "T2"}, labels=numbers, training=listed)
    return {**settings, "labels": CLASSES}


def nnunet_2d(root: Path) -> dict:
    """One file has all the channels that are named."""
    save_all(root, *[f"labelsTr/{name}.png" for name in NAMES], shape=(6, 5))
    save_all(root, *[f"imagesTr/{name}_0000.png" for name in NAMES], shape=(6, 5, 3))
    names = {"0": "red", "1": "green", "2": "blue"}
    write_json(root / "dataset.json", channel_names=names, labels=CLASSES, numTraining=8, file_ending=".png")
    return {"labels": CLASSES, "in_channels": 3, "modality": "picture", "spatial_dims": 2}


def numbered_volumes(root: Path) -> dict:
    """Channels in a plain folder, whose dataset.json names nothing but the labels."""
    save_all(root, *[f"masks/{name}.nii.gz" for name in NAMES])
    save_all(root, *[f"images/{name}_000{channel}.nii.gz" for name in NAMES for channel in (0, 1)])
    write_json(root / "dataset.json", labels=CLASSES)
    return {"labels": CLASSES}


def class_folders(root: Path) -> dict:
    save_all(root, *[f"images/{name}.jpg" for name in NAMES], shape=(6, 5))
    save_all(root, *[f"masks/{which}/{name}.png" for name in NAMES for which in ("nucleus", "cell")], shape=(6, 5))
    return {"labels": ["cell", "nucleus"]}


@pytest.mark.parametrize("layout", [decathlon, nnunet, nnunet_1, nnunet_2d, numbered_volumes, class_folders])
def test_a_dataset_is_used_as_it_comes(layout, tmp_path, capsys):
    settings = layout(tmp_path)
    assert dataset_settings(tmp_path) == settings
    assert [name_of(pair["image"]) for pair in find_pairs(tmp_path)] == NAMES
    check = check_dataset(tmp_path)
    assert check.problems == [] and sum(check.parts.values()) == 8
    labels = Labels(settings["labels"])
    assert list(check.classes) == labels.names
    assert all(of_class["images"] == 8 and 0.2 < of_class["median"] < 0.7 for of_class in check.classes.values())

    assert main(["split", "--dataset", str(tmp_path), "--size", "0.7"]) == 0
    assert list(read_split(tmp_path / "split.csv")) == NAMES
    parts = make_datalist(tmp_path, tmp_path / "split.csv")
    assert {name: len(pairs) for name, pairs in parts.items()} == {"training": 4, "validation": 2, "test": 2}
    dims, channels = settings.get("spatial_dims", 2), settings.get("in_channels", 1)
    if layout is numbered_volumes:  # these say neither
        dims, channels = 3, 2
    for pair in parts["training"]:
        loaded = LoadMaskd("label", labels, dims)(LoadInputImaged("image", channels, dims)(pair))
        assert loaded["image"].shape == (channels, *loaded["label"].shape[1:])
        assert len(loaded["label"].shape) == 1 + dims
        assert name_of(loaded["image"].meta["filename_or_obj"]) == name_of(pair["image"])


def test_a_datalist_of_several_files(tmp_path):
    nnunet(tmp_path)
    items = [
        {"image": [f"imagesTr/{name}_000{channel}.nii.gz" for channel in (1, 0)], "label": f"labelsTr/{name}.nii.gz"}
        for name in NAMES
    ]
    path = write_json(tmp_path / "list.json", training=items[:6], test=items[6:])
    (_, pair) = make_datalist(path)["test"]
    assert pair["image"] == [str(tmp_path / "imagesTr" / f"case 7_000{channel}.nii.gz") for channel in (1, 0)]
    check = check_dataset(path, labels=Labels(CLASSES))
    assert check.channels == {"2": 8} and not check.problems
    items[3]["image"].pop()
    path = write_json(tmp_path / "list.json", training=items)
    with pytest.raises(InputError, match=r"case 3_0001.nii.gz: its image has 1 files, but another has 2; add the file"):
        make_datalist(path)


@pytest.mark.parametrize(
    "remove, says",
    [
        (
            "imagesTr/case 3_0001.nii.gz",
            r"case 3_0000.nii.gz: its image 'case 3' has no channel 1 \(T2\); add case 3_00",
        ),
        ("imagesTr/case 3_0000.nii.gz", r"its image 'case 3' has no channel 0 \(T1\); add case 3_0000.nii.gz"),
        ("labelsTr/case 3.nii.gz", r"case 3_0000.nii.gz: has no mask .*labelsTr/case 3\.\*; add it"),
    ],
)
def test_a_file_that_a_patient_lacks_is_named(remove, says, tmp_path):
    nnunet(tmp_path)
    (tmp_path / remove).unlink()
    with pytest.raises(InputError, match=says):
        make_datalist(tmp_path)
    assert len(check_dataset(tmp_path).errors) == 1
    if "images" in remove:
        with pytest.raises(InputError, match=r"its image 'case 3' has no channel"):
            find_images(tmp_path / "imagesTr")


def test_a_class_without_a_file_is_named(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "masks" / "nucleus" / "case 3.png").unlink()
    with pytest.raises(InputError, match=r"case 3.jpg: has no mask .*masks/nucleus/case 3\.\*"):
        make_datalist(tmp_path)
    with pytest.raises(InputError, match="masks/wall: no such folder; it holds the masks of the class 'wall'"):
        make_datalist(tmp_path, labels=Labels(["wall", "cell"]))


def test_masks_of_classes_come_in_the_order_of_the_labels(tmp_path):
    class_folders(tmp_path)
    for labels, order in [
        (None, ["cell", "nucleus"]),
        (["nucleus", "cell"], ["nucleus", "cell"]),
        (["nucleus"], ["nucleus"]),
    ]:
        (pair, *_) = make_datalist(tmp_path, labels=labels and Labels(labels))["training"]
        assert [Path(path).parent.name for path in pair["label"]] == order
    write_json(tmp_path / "dataset.json", labels=["nucleus", "cell"])
    (pair, *_) = find_pairs(tmp_path)[:1]
    assert [Path(path).parent.name for path in pair["label"]] == ["nucleus", "cell"]


def test_images_to_segment_are_grouped_only_where_numbers_are_channels(tmp_path):
    volumes = tmp_path / "volumes"
    save_all(volumes, "b_0000.nii.gz", "b_0001.nii.gz", "a_0001_0000.nii", "a_0001_0001.nii")
    images = find_images(volumes)
    assert [name_of(image["image"]) for image in images] == ["a_0001", "b"]
    assert [len(image["image"]) for image in images] == [2, 2]
    assert images[1:] == find_images([volumes / "b_0000.nii.gz", volumes / "b_0001.nii.gz"])
    assert mask_path(tmp_path, images[1]["image"]) == tmp_path / "b.nii.gz"

    # numbers that are no channels: of a network of one channel, and of pictures from a microscope
    assert len(find_images(volumes, in_channels=1)) == 4
    pictures = tmp_path / "pictures"
    save_all(pictures, "img_0000.png", "img_0001.png", "img_0002.png", shape=(6, 5))
    images = find_images(pictures)
    assert [name_of(image["image"]) for image in images] == ["img_0000", "img_0001", "img_0002"]
    assert mask_path(tmp_path, images[0]["image"]) == tmp_path / "img_0000.png"

    # unless they are in a dataset of nnU-Net
    save_all(tmp_path / "set" / "imagesTs", "x_0000.png", "x_0001.png", shape=(6, 5))
    write_json(tmp_path / "set" / "dataset.json")
    (image,) = find_images(tmp_path / "set" / "imagesTs")
    assert len(image["image"]) == 2 and mask_path(tmp_path, image["image"]) == tmp_path / "x.png"


def test_masks_tell_numbered_images_from_channels(tmp_path):
    names = [f"{i:04d}.nii.gz" for i in range(8)]
    save_all(tmp_path, *[f"{folder}/scan_{name}" for name in names for folder in ("images", "masks")])
    assert len(find_pairs(tmp_path)) == 8


def test_an_image_is_done_when_each_class_has_its_mask(tmp_path):
    images = [{"image": "a.png"}, {"image": ["b_0000.nii.gz", "b_0001.nii.gz"]}]
    labels = Labels(["cell", "nucleus"])
    save_all(tmp_path, "cell/a.png", "cell/b.nii.gz", "nucleus/b.nii.gz", shape=(6, 5))
    assert without_masks(images, tmp_path, labels) == images[:1]
    assert without_masks(images, tmp_path) == images


def _content(**content: object):
    return lambda root: write_json(root / "dataset.json", **content)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda root: (root / "dataset.json").write_text("{"), "dataset.json: is not a datalist in JSON"),
        (lambda root: (root / "dataset.json").write_text("[1]"), "lists nothing under 'training'"),
        (_content(labels=5), "dataset.json: labels is 5; give a name"),
        (_content(labels={"background": 0}), "dataset.json: labels: has no class but the background"),
        (_content(labels={"a": 1, "ignore": 2}), "dataset.json: has the label 'ignore'"),
        (_content(labels=CLASSES, channel_names="MRI"), "dataset.json: its channels are 'MRI'"),
        (_content(labels=CLASSES, file_ending=".mha"), "dataset.json: its file_ending is '.mha'; convert the images"),
        (_content(labels=CLASSES, file_ending=".png"), "imagesTr: has no images; add some"),
        (_content(labels=CLASSES, training=[{"image": "imagesTr/x.nii"}]), "an entry of 'training' has no label"),
        (_content(labels=CLASSES, training=[{"image": [], "label": "x.nii"}]), "an entry of 'training' has no image"),
        (lambda root: (root / "labelsTr").rename(root / "labels"), "has no folder 'labelsTr', and dataset.json lists"),
    ],
)
def test_a_wrong_dataset_json_gives_one_line(spoil, says, tmp_path):
    nnunet(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=says) as error:
        make_datalist(tmp_path)
    assert "\n" not in str(error.value)
    (problem,) = check_dataset(tmp_path).errors
    assert problem.message == str(error.value)


@pytest.mark.parametrize(
    "labels, training, says",
    [
        (CLASSES, 99, "numTraining is 99, but there are 8 training images; all of them are used"),
        (None, 8, "has no labels, so any value over 0 is one class"),
    ],
)
def test_what_dataset_json_lacks_is_a_warning(labels, training, says, tmp_path):
    nnunet(tmp_path)
    write_json(tmp_path / "dataset.json", labels=labels, numTraining=training, file_ending=".nii.gz")
    (problem,) = [one for one in check_dataset(tmp_path).problems if one.file.endswith("dataset.json")]
    assert says in problem.message and not problem.error
    assert sum(map(len, make_datalist(tmp_path).values())) == 8
    assert not [one for one in check_dataset(tmp_path, labels=Labels(CLASSES)).problems if one.kind == "no labels"]
