from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sample_images import image, mask

from dpsau2net_monai.cli import main
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.importers import IMPORTERS, prepare_clinicdb, prepare_dsb2018, prepare_tree


@pytest.mark.parametrize("name", [importer.name for importer in IMPORTERS])
def test_a_source_that_does_not_exist_gives_one_line(name, tmp_path, capsys):
    assert main(["prepare", name, str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'in'}: no such file or folder\n"
    assert list(tmp_path.iterdir()) == []


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
        (prepare_clinicdb, ["Original/1.tif", "Ground Truth/1.tif", "metadata.csv"], "is not a table with the columns"),
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
    with pytest.raises(InputError, match="is written to .*name another folder"):
        prepare_tree(Path(shutil.copytree(tmp_path, tmp_path / "images")), tmp_path)
