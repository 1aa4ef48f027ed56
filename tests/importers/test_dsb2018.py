from __future__ import annotations

import hashlib
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import box, image, read, save, stamps

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import find_pairs
from dpsau2net_monai.importers import dsb2018, prepare_dsb2018


@pytest.fixture
def kaggle(tmp_path):
    """``stage1_train`` with three usable images, and one example of each problem."""
    source = tmp_path / "stage1_train"
    for name in ("good", "odd", "third", "unmasked", "broken"):
        image(source / name / "images" / f"{name}.png", 4)
    good, odd = source / "good" / "masks", source / "odd" / "masks"
    save(good / "a.png", box(slice(0, 6), slice(0, 6)))
    save(good / "b.png", box(slice(4, 10), slice(4, 10)))  # four pixels also belong to a
    save(good / "c.png", box(slice(1, 3), slice(1, 3)))  # all pixels also belong to a
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
    summary = prepare_dsb2018(source, out)
    assert (summary.written, summary.kept, summary.left_out) == (3, 0, 2)
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
        f"{prefix}.DS_Store: is not part of the dataset; left out",
        f"{prefix}good/masks/notes.txt: is not part of the dataset; left out",
        f"{prefix}imageless: has masks, but no image; left out",
        f"{prefix}unmasked: has no masks; left out",
        f"{prefix}good/masks/c.png: has only pixels of other nuclei; left out",
        f"{prefix}good/images/good.png: 8 pixels belong to several masks; each goes to the first mask by name",
        f"{prefix}odd/masks/a.png: is empty; left out",
        f"{prefix}odd/masks/b.png: is 31 x 20, its image 30 x 20; left out",
    ):
        assert line in summary.notes
    unreadable = [note for note in summary.notes if "cannot be read" in note]
    assert [note.split(":")[0] for note in unreadable] == [
        f"{prefix}{name}" for name in ("broken/images/broken.png", "odd/masks/d.png")
    ]
    assert len(summary.notes) == 10


def test_a_second_run_writes_only_what_is_missing(kaggle, tmp_path):
    out = tmp_path / "out"
    prepare_dsb2018(kaggle, out)
    before = stamps(out)
    assert prepare_dsb2018(kaggle, out).kept == 3
    assert stamps(out) == before

    for folder in ("images", "instances", "masks"):  # each image lacks one of its files
        (out / folder / {"images": "good", "instances": "odd", "masks": "third"}[folder]).with_suffix(".png").unlink()
    summary = prepare_dsb2018(kaggle, out)
    assert (summary.written, summary.kept) == (3, 0) and stamps(out).keys() == before.keys()
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
    monkeypatch.setattr(dsb2018, "URL", f"{server}/{served.name}")
    archive, out = tmp_path / "stage1_train.zip", tmp_path / "out"
    command = ["prepare", "dsb2018", str(archive), str(out)]
    sha256 = hashlib.sha256(served.read_bytes()).hexdigest()

    assert main([*command, "--sha256", sha256]) == 1
    assert main([*command, "--download", "--sha256", "0" * 64]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert not archive.exists() and not out.exists()
    assert main([*command, "--download"]) == 0
    printed = capsys.readouterr().out
    assert f"SHA-256 {sha256} (not compared, as none was given)" in printed
    assert f"3 images written, 0 already there, 2 left out: {out}" in printed
    assert main([*command, "--download", "--sha256", sha256]) == 0
    assert f"SHA-256 {sha256} (as given)" in capsys.readouterr().out
