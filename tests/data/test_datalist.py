from __future__ import annotations

import json
import random
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigParser
from PIL import Image

from dpsau2net_monai.bundle import Datalist
from dpsau2net_monai.cli import main
from dpsau2net_monai.data import find_images, find_pairs, make_datalist, name_of, read_split, split
from dpsau2net_monai.errors import InputError

TRAIN = Path(__file__).parents[2] / "bundle" / "configs" / "train.yaml"


def picture(path: Path, size: tuple[int, int] = (40, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path):
    for i in range(20):
        picture(tmp_path / "images" / f"cell {i}.png")
        picture(tmp_path / "masks" / f"cell {i}.bmp")
    return tmp_path


def test_image_and_mask_may_have_different_extensions(tmp_path):
    picture(tmp_path / "images" / "a.JPG")
    picture(tmp_path / "masks" / "a.tif")
    for folder in ("images", "masks"):
        volume = nibabel.Nifti1Image(np.zeros((40, 32), np.uint8), np.eye(4))
        nibabel.save(volume, tmp_path / folder / f"b.v1.nii{'.gz' if folder == 'images' else ''}")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    pairs = find_pairs(tmp_path)
    assert [(Path(p["image"]).name, Path(p["label"]).name) for p in pairs] == [
        ("a.JPG", "a.tif"),
        ("b.v1.nii.gz", "b.v1.nii"),
    ]


def test_the_split_depends_only_on_names_and_seed():
    names = [f"image{i}" for i in range(50)]
    shuffled = random.Random(1).sample(names, 50)
    assert split(names) == split(shuffled)
    assert split(names) != split(names, seed=43)
    assert list(split(names, train_share=0.9).values()).count("train") == 45
    # fixed names: a new version must not turn a user's test images into training images
    assert [name for name, part in split(names).items() if part == "test"] == [
        "image15", "image21", "image34", "image43", "image47",
    ]  # fmt: skip


def test_split_command_and_training_agree(tree, capsys):
    assert main(["split", "--dataset", str(tree), "--size", "0.8", "--seed", "3"]) == 0
    csvfile = tree / "split.csv"
    assert csvfile.read_text().splitlines()[0] == "image_id,category"
    assert "16 images train, 4 test" in capsys.readouterr().out
    by_csv, in_memory = make_datalist(tree, csvfile, seed=3), make_datalist(tree, train_share=0.8, seed=3)
    assert by_csv == in_memory
    assert {part: len(pairs) for part, pairs in by_csv.items()} == {"training": 12, "validation": 4, "test": 4}
    images = [pair["image"] for pairs in by_csv.values() for pair in pairs]
    assert len(set(images)) == 20
    tests = {name for name, category in read_split(csvfile).items() if category == "test"}
    assert tests == {name_of(pair["image"]) for pair in by_csv["test"]}


def test_a_split_with_validation_images(tree, capsys):
    csvfile = tree / "three.csv"
    main(["split", "--dataset", str(tree), "--size", "0.6", "--validation", "0.2", "--output", str(csvfile)])
    assert "12 images train, 4 validate, 4 test" in capsys.readouterr().out
    parts = make_datalist(tree, csvfile)
    assert {part: len(pairs) for part, pairs in parts.items()} == {"training": 12, "validation": 4, "test": 4}
    assert parts["test"] == make_datalist(tree, train_share=0.8)["test"]
    assert parts == make_datalist(tree, csvfile, fold=1)
    with pytest.raises(InputError, match="with size 0.9 and validation 0.1, one part gets no image"):
        split(["a", "b"] * 20, 0.9, validation_share=0.1)


@pytest.mark.parametrize("separator, encoding", [(",", "utf-8-sig"), (";", "utf-8-sig"), ("\t", "utf-16")])
def test_a_split_from_excel(separator, encoding, tmp_path):
    names = [f"Zürich {i}.tif" for i in range(10)]  # of Zürich 0.tif.png
    for name in names:
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "masks" / f"{name}.png")
    rows = [("image_id", "category"), *split(names, 0.8).items(), ("", "")]
    csvfile = tmp_path / "split.csv"
    csvfile.write_text("".join(f"{separator.join(row)}\r\n" for row in rows), encoding, newline="")
    assert make_datalist(tmp_path, csvfile) == make_datalist(tmp_path, train_share=0.8)


def test_each_training_image_validates_in_one_fold(tree):
    folds = [make_datalist(tree, fold=fold) for fold in range(5)]
    validation = [pair["image"] for parts in folds for pair in parts["validation"]]
    assert sorted(validation) == sorted(pair["image"] for pair in folds[0]["training"] + folds[0]["validation"])


def test_decathlon_datalist(tree):
    items = [{"image": f"images/cell {i}.png", "label": f"masks/cell {i}.bmp"} for i in range(20)]
    path = tree / "datalist.json"
    path.write_text(json.dumps({"training": items[:15], "validation": items[15:17], "test": items[17:]}))
    parts = make_datalist(path)
    assert {part: len(pairs) for part, pairs in parts.items()} == {"training": 15, "validation": 2, "test": 3}
    assert Path(parts["test"][0]["label"]) == tree / "masks" / "cell 17.bmp"

    # like a datalist of the Decathlon: test images without labels, no validation images
    path.write_text(json.dumps({"training": items, "test": [item["image"] for item in items[:2]]}))
    parts = make_datalist(path)
    assert {part: len(pairs) for part, pairs in parts.items()} == {"training": 14, "validation": 4, "test": 2}


def test_a_csv_overrides_the_sections_of_a_datalist(tree):
    items = [{"image": f"images/cell {i}.png", "label": f"masks/cell {i}.bmp"} for i in range(20)]
    csvfile = tree / "my.csv"
    csvfile.write_text(
        "\n".join(["image_id,category", *[f"cell {i},{'train' if i > 9 else 'test'}" for i in range(15)]])
    )
    for path in (tree / "list.json", tree / "dataset.json"):
        path.write_text(json.dumps({"training": items[:15], "validation": items[15:17], "test": items[17:]}))
    expected = make_datalist(tree, csvfile)
    assert len(expected["test"]) == 10 and len(expected["training"] + expected["validation"]) == 5
    assert make_datalist(tree / "list.json", csvfile) == expected
    (tree / "images").rename(tree / "pictures")  # so that dataset.json counts
    text = (tree / "dataset.json").read_text().replace("images/", "pictures/")
    (tree / "dataset.json").write_text(text)
    by_csv = make_datalist(tree, csvfile)
    assert [pair["label"] for pair in by_csv["test"]] == [pair["label"] for pair in expected["test"]]

    picture(tree / "other" / "cell 3.png")
    items[0]["image"] = "other/cell 3.png"
    (tree / "list.json").write_text(json.dumps({"training": items}))
    with pytest.raises(InputError, match="have one name, so a CSV cannot tell them apart; rename one, or leave out"):
        make_datalist(tree / "list.json", csvfile)


def test_true_instances_lie_beside_the_images(tree):
    items = [
        {"image": str(tree / f"images/cell {i}.png"), "label": str(tree / f"masks/cell {i}.bmp")} for i in range(20)
    ]
    (tree / "run").mkdir()
    (tree / "run" / "datalist.json").write_text(json.dumps({"training": items}))
    for dataset in (tree, tree / "run" / "datalist.json"):
        parser = ConfigParser()
        parser.read_config(TRAIN)
        parser.update({"dataset_dir": str(dataset), "bundle_root": str(TRAIN.parents[1])})
        assert parser.get_parsed_content("instances_dir") == str(tree / "instances")


def _remove_mask(tree):
    (tree / "masks" / "cell 7.bmp").unlink()
    return {}


def _shrink_mask(tree):
    picture(tree / "masks" / "cell 7.bmp", (40, 31))
    return {}


def _break_image(tree):
    (tree / "images" / "cell 7.png").write_bytes(b"text")
    return {}


def _two_of_a_name(tree):
    picture(tree / "images" / "cell 7.jpg")
    return {}


def _empty(tree):
    for path in (tree / "images").iterdir():
        path.unlink()
    return {}


def _csv(*rows):
    def write(tree):
        (tree / "my.csv").write_text("\n".join(rows))
        return {"csvfile": tree / "my.csv"}

    return write


def _cut_csv(tree):
    (tree / "my.csv").write_bytes("image_id,category\n".encode("utf-16")[:-1])  # ends within a character
    return {"csvfile": tree / "my.csv"}


@pytest.mark.parametrize(
    "spoil, says",
    [
        (_remove_mask, r"cell 7.png: has no mask"),
        (_shrink_mask, r"cell 7.bmp: the mask is 40 x 31, its image 40 x 32"),
        (_break_image, r"cell 7.png: cannot be read"),
        (_two_of_a_name, r"cell 7.png: has the same name as cell 7.jpg"),
        (_empty, r"images: has no images"),
        (lambda tree: {"dataset_dir": tree / "nowhere"}, "nowhere: no such dataset folder"),
        (lambda tree: {"dataset_dir": tree / "images"}, "has no folder 'images'"),
        (lambda tree: {"dataset_dir": tree / "no.json"}, "no such datalist"),
        (lambda tree: {"csvfile": tree / "no.csv"}, "no such CSV"),
        (_csv("a,b", "1,2"), "not a table with the columns image_id and category"),
        (_cut_csv, "not a table with the columns image_id and category"),
        (
            _csv("image_id,category", "cell 1,valid"),
            "'cell 1' has the category 'valid'; use one of train, validation, test",
        ),
        (_csv("image_id,category", "cell 99,train"), "'cell 99' is not an image"),
        (
            _csv("image_id,category", "cell 1,train", "cell 1.png,test"),
            "'cell 1' is in both train and test; remove one",
        ),
        (_csv("category,image_id", "train,cell 1", "test"), "'' is not an image"),
        (_csv("image_id,category", "cell 1,train", "cell 2,test"), "my.csv: has 1 training .* 5 folds need at least 5"),
        (lambda tree: {"train_share": 1.5}, "with size 1.5, one part gets no image"),
        (lambda tree: {"train_share": "0,9"}, "size is '0,9'; give a number between 0 and 1"),
        (lambda tree: {"fold": 2.0}, "fold is 2.0; give a whole number from 0 to 4"),
        (lambda tree: {"fold": 5}, "fold is 5; give a whole number from 0 to 4"),
        (lambda tree: {"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295"),
    ],
)
def test_bad_input_gives_one_line(tree, spoil, says):
    arguments = {"dataset_dir": tree, **spoil(tree)}
    with pytest.raises(InputError, match=says) as error:
        make_datalist(**arguments)
    assert "\n" not in str(error.value)


def test_a_csv_without_training_images_is_for_evaluation_only(tree):
    arguments = {"dataset_dir": tree, **_csv("image_id,category", "cell 1,validation", "cell 2,test")(tree)}
    datalist = Datalist(arguments["dataset_dir"], arguments["csvfile"])
    assert len(datalist["validation"]) == len(datalist["test"]) == 1
    with pytest.raises(InputError, match="my.csv: has no training image; add some"):
        datalist["training"]


def test_images_to_segment(tree):
    folder = tree / "images"
    assert len(find_images(folder)) == 20
    one = folder / "cell 3.png"
    assert find_images(str(one)) == find_images([one]) == [{"image": str(one)}]
    for source, says in [
        (tree / "none", "no such file"),
        (tree, "has no images"),
        ([], "empty list"),
        ([one, tree / "masks" / "cell 3.bmp"], "same name"),
    ]:
        with pytest.raises(InputError, match=says):
            find_images(source)
