"""
Broken and unusual files. Each gives the right result, or one line that names the file: no traceback, no hang.

The table below lists the images. Each is read by ``LoadInputImaged``, as in training and segmentation, and by the
check. Then all of them form one dataset, in which the broken images must not affect the good ones.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import Labels, check_dataset, find_images, find_pairs, make_datalist, mask_path
from dpsau2net_monai.data.inspection import inspect_pair
from dpsau2net_monai.data.reading import name_of
from dpsau2net_monai.errors import InputError, one_line
from dpsau2net_monai.transforms import LoadInputImaged, LoadMaskd, SaveMaskd

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 40), np.uint8)  # 30 rows, 40 columns
RGB = RNG.integers(0, 256, (30, 40, 3), np.uint8)
GREY16 = RNG.integers(0, 65536, (30, 40), np.uint16)
RGB16 = RNG.integers(0, 65536, (30, 40, 3), np.uint16)
WITH_NAN = np.where(GREY > 200, np.nan, GREY).astype(np.float32)
INSIDE = np.zeros((30, 40), bool)
INSIDE[5:20, 7:30] = True
MASK = INSIDE * np.uint8(255)
SECONDS = 5  # limit for one file, so that a hang fails the test

Write = Callable[[Path], object]


class TooLong(BaseException):
    """An error that no ``except Exception`` catches."""


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    def stop(*_):
        raise TooLong(f"not done after {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# --- functions that write the files -----------------------------------------------------------------------------------
def pillow(array: np.ndarray, mode: str | None = None, **options) -> Write:
    def write(path: Path) -> None:
        picture = Image.fromarray(array)
        (picture.convert(mode) if mode else picture).save(path, **options)

    return write


def tiff(array: np.ndarray, **options) -> Write:
    return lambda path: tifffile.imwrite(path, array, **options)


def png16(array: np.ndarray) -> Write:
    return lambda path: path.write_bytes(imagecodecs.png_encode(array))


def volume(array: np.ndarray) -> Write:
    """Write ``array``, a picture (row, column[, slice, channel]), with the axes of a NIfTI: (x, y ...)."""
    return lambda path: nibabel.save(nibabel.Nifti1Image(array.swapaxes(0, 1), np.eye(4)), path)


def holding(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def changed(write: Write, change: Callable[[bytes], bytes]) -> Write:
    def write_changed(path: Path) -> None:
        write(path)
        path.write_bytes(change(path.read_bytes()))

    return write_changed


def cut(seed: int) -> Callable[[bytes], bytes]:
    return lambda content: content[: random.Random(seed).randrange(1, len(content) - 12)]


def wrong_magic(content: bytes) -> bytes:
    content = b"\x00\x11\x22\x33" + content[4:]
    return content.replace(b"n+1\0", b"xxxx")  # a NIfTI has it at the end of its header


def turned(array: np.ndarray, orientation: int, **options) -> Write:
    exif = Image.Exif()
    exif[274] = orientation
    return pillow(array, exif=exif, **options)


def png_of(width: int, height: int, pixels: bytes, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + text + chunk(b"IEND", b"")


def looping_tiff(path: Path) -> None:
    """A TIFF whose directory of tags points to itself as the next directory."""
    tifffile.imwrite(path, GREY)
    content = path.read_bytes()
    (start,) = struct.unpack("<I", content[4:8])
    end = start + 2 + 12 * struct.unpack("<H", content[start : start + 2])[0]
    path.write_bytes(content[:end] + content[4:8] + content[end + 4 :])


def palette_with_transparency(path: Path) -> None:
    picture = Image.fromarray(np.where(INSIDE, 1, 0).astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(path, transparency=b"\x10\x80")


def huge_volume(content: bytes) -> bytes:
    return content[:40] + struct.pack("<8h", 3, 32000, 32000, 32000, 1, 1, 1, 1) + content[56:]


def zip_of(name: str) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"content")

    return write


def link_to(target: str) -> Write:
    return lambda path: path.symlink_to(target)


def link_to_good(path: Path) -> None:
    target = path.with_name(".elsewhere.png")
    pillow(GREY)(target)
    path.symlink_to(target.name)


# --- the table of images ----------------------------------------------------------------------------------------------
class Case(NamedTuple):
    """An image: its file name, the function that writes it, and the expected array or error."""

    name: str
    write: Write
    result: np.ndarray | str | None  # None: another test checks it


FORMATS: dict[str, Write] = {
    ".png": pillow(GREY),
    ".jpg": pillow(GREY),
    ".tif": tiff(RGB16, photometric="rgb"),
    ".bmp": pillow(RGB),
    ".nii": volume(GREY),
    ".nii.gz": volume(GREY),
}
UNREADABLE = "cannot be read as"
CASES = [
    *[Case(f"cut{n}{end}", changed(write, cut(n)), UNREADABLE) for end, write in FORMATS.items() for n in range(3)],
    *[Case(f"cut16_{n}.png", changed(png16(RGB16), cut(n)), UNREADABLE) for n in range(3)],
    *[Case(f"cut_lzw{n}.tif", changed(tiff(GREY, compression="lzw"), cut(n)), UNREADABLE) for n in range(3)],
    *[Case(f"magic{suffix}", changed(write, wrong_magic), UNREADABLE) for suffix, write in FORMATS.items()],
    *[Case(f"nothing{suffix}", holding(b""), UNREADABLE) for suffix in FORMATS],
    *[Case(f"text{suffix}", holding(b"It was a dark and stormy night.\n" * 40), UNREADABLE) for suffix in FORMATS],
    # sizes
    Case("one_pixel.png", pillow(GREY[:1, :1]), GREY[:1, :1] / 255),
    Case("one_row.png", pillow(np.resize(GREY, (1, 20000))), np.resize(GREY, (1, 20000)) / 255),
    Case("one_column.tif", tiff(np.resize(GREY16, (20000, 1))), np.resize(GREY16, (20000, 1)) / 65535),
    Case("no_pixels.png", holding(png_of(0, 0, b"")), UNREADABLE),
    Case("bomb.png", holding(png_of(60000, 60000, b"\0" * 999)), UNREADABLE),
    Case("text_bomb.png", holding(png_of(40, 30, b"\0" * 1230, b"a\0\0" + zlib.compress(b"x" * 10**8))), UNREADABLE),
    Case("claims_terabytes.nii", changed(volume(GREY), huge_volume), UNREADABLE),
    Case("claims_terabytes.nii.gz", lambda path: (
        volume(GREY)(path), path.write_bytes(gzip.compress(huge_volume(gzip.decompress(path.read_bytes()))))
    ), UNREADABLE),
    # depths and values
    Case("grey16.png", png16(GREY16), GREY16 / 65535),
    Case("rgb16.png", png16(RGB16), RGB16 / 65535),
    Case("grey16.tif", tiff(GREY16), GREY16 / 65535),
    Case("big_endian.tif", tiff(GREY16, byteorder=">"), GREY16 / 65535),
    Case("float.tif", tiff(GREY.astype(np.float32)), GREY),
    Case("big_endian_float.tif", tiff(GREY.astype(np.float32), byteorder=">", compression="lzw"), GREY),
    Case("big_endian_signed.tif", tiff(GREY.astype(np.int16), byteorder=">", compression="zlib"), GREY / 65535),
    Case("nan.tif", tiff(WITH_NAN), "are NaN or infinite"),
    Case("infinite.tif", tiff(np.where(GREY > 200, np.inf, GREY).astype(np.float32)), "are NaN or infinite"),
    Case("nan.nii.gz", volume(WITH_NAN), "are NaN or infinite"),
    Case("double.tif", tiff(GREY.astype(np.float64)), UNREADABLE),
    Case("negative.tif", tiff(GREY.astype(np.int16) - 100), "holds integers from -"),
    Case("unsigned32.tif", tiff(GREY.astype(np.uint32) << 24), "holds integers from -"),
    Case("bits.png", pillow(INSIDE), INSIDE),
    Case("picture.png.nii.gz", volume(GREY), GREY),
    # colours
    Case("cmyk.jpg", pillow(RGB, "CMYK", quality=100), None),
    Case("lab.tif", pillow(RGB, "LAB"), None),
    Case("rgba.png", pillow(np.dstack([RGB, GREY])), RGB / 255),
    Case("palette.png", palette_with_transparency, np.stack([INSIDE, INSIDE * 0, INSIDE * 0], -1)),
    Case("five_channels.tif", tiff(np.dstack([RGB, GREY, GREY]), photometric="minisblack", planarconfig="contig"),
         UNREADABLE),
    Case("two_channels.nii", volume(np.stack([GREY, GREY], -1)[:, :, None]), "has 2 channels, but the network takes 3"),
    # several pictures in a file
    Case("animated.png", pillow(GREY, format="GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
         "holds 2 pictures"),
    Case("animated_png.png", pillow(GREY, save_all=True, append_images=[Image.fromarray(255 - GREY)]),
         "holds 2 pictures"),
    Case("pages.tif", tiff(np.stack([GREY] * 3), photometric="minisblack"), "holds 3 pictures"),
    Case("still.png", pillow(GREY, format="GIF"), GREY / 255),
    Case("webp.png", pillow(GREY, format="WEBP", lossless=True), GREY / 255),
    Case("loop.tif", looping_tiff, GREY / 255),
    # orientation
    Case("turned.jpg", turned(GREY, 6), "its EXIF tag turns it to 30 x 40, but"),
    Case("upside_down.tif", turned(GREY, 3), GREY[::-1, ::-1] / 255),
    Case("no_such_turn.jpg", turned(np.full((30, 40), 90, np.uint8), 99), np.full((30, 40), 90 / 255)),
    # names
    Case("with blanks in it.png", pillow(GREY), GREY / 255),
    Case("Größe 核 🔬.png", pillow(GREY), GREY / 255),
    Case("two\nlines\u2028or more.png", pillow(GREY), GREY / 255),
    Case("two\nlines broken.png", holding(b"broken"), UNREADABLE),
    Case("\udcff\udcfe not UTF-8.png", pillow(GREY), GREY / 255),
    Case("\udcff\udcfe not UTF-8, broken.png", holding(b"broken"), UNREADABLE),
    Case("-rf; $(ls) 'quoted' \"too\".png", pillow(GREY), GREY / 255),
    Case("~.png", pillow(GREY), GREY / 255),
    Case("l" * 251 + ".png", pillow(GREY), GREY / 255),
    Case("核" * 83 + ".png", pillow(GREY), GREY / 255),
    Case("UPPER.PNG", pillow(GREY), GREY / 255),
    # paths that are not files of images
    Case("folder.png", Path.mkdir, "is a folder, not a file"),
    Case("folder.nii.gz", Path.mkdir, "is a folder"),
    Case("pipe.png", os.mkfifo, "is a device or a pipe"),
    Case("pipe.nii", os.mkfifo, "is a device or a pipe"),
    Case("endless.png", link_to("/dev/zero"), "is a device or a pipe"),
    Case("linked.png", link_to_good, GREY / 255),
    Case("loop.png", link_to("loop.png"), "is a broken symbolic link"),
    Case("dangling.jpg", link_to("not there.jpg"), "is a broken symbolic link"),
    Case("zip.png", zip_of("../../evil.png"), UNREADABLE),
]  # fmt: skip


def make(case: Case, root: Path) -> dict[str, str]:
    """Write the image of a case and a good mask of the right size."""
    image, mask = root / "images" / case.name, root / "masks" / f"{name_of(case.name)}.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    case.write(image)
    shape = case.result.shape[:2] if isinstance(case.result, np.ndarray) else (30, 40)
    inside = np.zeros(shape, np.uint8)
    inside[: shape[0] // 2 + 1, : shape[1] // 2 + 1] = 255
    Image.fromarray(inside).save(mask)
    return {"image": str(image), "label": str(mask)}


def load(path: str) -> np.ndarray | str:
    """Load an image as segmentation does. Return it as (row, column, channel), or return the error's line."""
    try:
        with time_limit():
            return LoadInputImaged("image", 3)({"image": path})["image"].numpy().T
    except InputError as error:
        return str(error)


def assert_one_line_naming(path: str, line: str) -> None:
    assert line.splitlines() == [line], line
    assert line.startswith(one_line(path) + ": "), line
    assert "Traceback" not in line and len(line) < len(path) + 300
    line.encode()


@pytest.mark.parametrize("case", CASES, ids=[ascii(case.name)[1:30] for case in CASES])
def test_an_image_is_read_correctly_or_refused_by_name(case, tmp_path):
    pair = make(case, tmp_path)
    loaded = load(pair["image"])
    with time_limit():
        finding = inspect_pair(pair)
    errors = [problem for problem in finding.problems if problem.error]
    for problem in finding.problems:
        assert_one_line_naming(problem.file, problem.message)

    if isinstance(loaded, str):
        assert_one_line_naming(pair["image"], loaded)
        if "network takes" in loaded:  # the check does not know the network
            assert not errors
        else:
            assert [problem.message for problem in errors] == [loaded]
    elif isinstance(case.result, str):  # it does not match its mask, but it can be segmented
        assert case.name == "turned.jpg" and len(errors) == 1
    else:
        assert not errors
        assert finding.size == loaded.shape[1::-1]

    suffix = case.name[case.name.index(".") :]
    if isinstance(case.result, np.ndarray):
        expected = case.result if case.result.ndim == 3 else np.repeat(case.result[..., None], 3, -1)
        np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=0.01 if suffix == ".jpg" else 1e-6)
    elif isinstance(case.result, str):
        assert case.result in (loaded if isinstance(loaded, str) else errors[0].message)


def test_other_colour_spaces_are_converted_to_rgb(tmp_path):
    for name in ("cmyk.jpg", "lab.tif"):
        (case,) = (case for case in CASES if case.name == name)
        path = make(case, tmp_path)["image"]
        loaded = load(path)
        if name == "cmyk.jpg":
            expected = np.asarray(Image.open(path).convert("RGB")) / 255
            np.testing.assert_allclose(loaded, expected, atol=1e-6)
        assert abs(loaded.mean() - RGB.mean() / 255) < 0.1


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """All images of the table in one dataset, except those with the name of an earlier one."""
    root = tmp_path_factory.mktemp("all")
    names = set()
    for case in CASES:
        if name_of(case.name) not in names:
            names.add(name_of(case.name))
            make(case, root)
    return root


def test_the_check_of_all_images_names_each_bad_image_once(everything, capsys):
    with time_limit(60):
        assert main(["check", str(everything)]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    check = check_dataset(everything)
    lines = printed.out.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [f"error: {p.message}" for p in check.errors]
    assert len(lines) == 8 + len(check.problems) + 1
    bad = {problem.file for problem in check.errors}
    assert len(bad) == len(check.errors)
    for case in CASES:
        path = everything / "images" / case.name
        if os.path.lexists(path) and case.result is not None and "network" not in str(case.result):
            assert (str(path) in bad) == isinstance(case.result, str), case.name


def test_training_refuses_bad_images_in_one_line_or_skips_them(everything, caplog):
    with pytest.raises(InputError, match=r"\(and \d+ more: python -m dpsau2net_monai check .* lists them\)") as error:
        make_datalist(everything)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(InputError, match="more: python -m"):
        find_pairs(everything)
    with time_limit(60):
        parts = make_datalist(everything, skip_bad=True)
    bad = {problem.file for problem in check_dataset(everything).errors}
    assert len(caplog.records) == len(bad)
    assert all(len(record.getMessage().splitlines()) == 1 for record in caplog.records)
    good = [pair for pairs in parts.values() for pair in pairs]
    assert len(good) + len(bad) == len(list((everything / "images").glob("[!.]*")))
    for pair in good:
        if not pair["image"].endswith("two_channels.nii"):
            LoadMaskd("label")(LoadInputImaged("image", 3)(pair))


def test_masks_get_the_unusual_names_of_their_images(tmp_path):
    for case in CASES:
        if isinstance(case.result, np.ndarray) and case.result.shape[:2] == (30, 40):
            image = LoadInputImaged("image", 3)({"image": make(case, tmp_path)["image"]})["image"]
            mask = image[:1].clone()
            mask[:] = 1
            SaveMaskd("pred", tmp_path / "out")({"pred": mask})
            path = mask_path(tmp_path / "out", case.name)
            assert (Image.open(path).size if path.suffix == ".png" else nibabel.load(path).shape) == (40, 30)
    assert not list((tmp_path / "out").glob(".part*"))


def test_a_volume_of_one_axis_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(GREY[0], np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="a.nii: "):  # with outputs, after the memory that it needs
        LoadInputImaged("image", channels=1, spatial_dims=3, outputs=1)({"image": str(tmp_path / "a.nii")})


# --- masks ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, write, kind, says",
    [
        ("a.png", pillow(np.where(INSIDE, GREY // 128 + 1, 0).astype(np.uint8)), "mask not binary", "has 3 values"),
        ("a.jpg", pillow(MASK, quality=60), "mask not binary", "those over half of the largest are foreground"),
        ("a.png", pillow(MASK * 0), "mask empty", "the mask is empty"),
        ("a.png", pillow(MASK * 0 + 255), "mask full", "the mask is full"),
        ("a.png", pillow(MASK[:-1]), "size", "the mask is 40 x 29, its image 40 x 30; give both the same size"),
        ("a.png", pillow(MASK.T), "size", "the mask is 30 x 40, its image 40 x 30"),
        ("a.tif", turned(MASK, 8), "orientation", "its EXIF tag turns it to 30 x 40"),
        ("a.tif", turned(MASK, 3), "orientation", "its EXIF tag turns it, but"),
        ("a.tif", tiff(np.where(INSIDE, np.nan, 0).astype(np.float32)), "nan", "NaN or infinite"),
        ("a.nii.gz", volume(np.stack([MASK] * 5, -1)), "size", "the mask is 40 x 30 x 5, its image 40 x 30"),
        ("a.png", changed(pillow(GREY), cut(0)), "unreadable", "cannot be read as a picture"),
        ("a.png", holding(b"text"), "unreadable", "cannot be read as a picture"),
        ("a.png", Path.mkdir, "unreadable", "is a folder"),
        ("a.png", link_to("a.png"), "unreadable", "is a broken symbolic link"),
        ("a.txt", holding(b"text"), "no mask", "has no mask"),
    ],
)
def test_a_bad_mask_is_named(name, write, kind, says, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    pillow(GREY)(tmp_path / "images" / "a.png")
    write(tmp_path / "masks" / name)
    with time_limit():
        check = check_dataset(tmp_path)
    (problem,) = [problem for problem in check.problems if problem.kind not in ("split", "ignored")]
    assert problem.kind == kind and says in problem.message
    assert_one_line_naming(problem.file, problem.message)
    assert Path(problem.file).parent.name == ("images" if kind == "no mask" else "masks")


# --- volumes ----------------------------------------------------------------------------------------------------------
SCAN = RNG.integers(0, 256, (9, 8, 7), np.uint8)
ORGANS = (np.arange(SCAN.size).reshape(SCAN.shape) % 3).astype(np.uint8)
CLASSES = Labels({"background": 0, "liver": 1, "tumour": 2})


def scan(array: np.ndarray, affine: np.ndarray | None = None) -> Write:
    return lambda path: nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def with_spacing(*sizes: float) -> Callable[[bytes], bytes]:
    """Change a header to these sizes of voxels, from which the affine then follows."""

    def change(content: bytes) -> bytes:
        header = bytearray(content)
        struct.pack_into("<3f", header, 80, *sizes)  # pixdim
        struct.pack_into("<2h", header, 252, 0, 0)  # no qform, no sform
        return bytes(header)

    return change


def flat(content: bytes) -> bytes:
    return content[:312] + bytes(16) + content[328:]  # the affine's row for z


def claims_more_slices(content: bytes) -> bytes:
    return content[:46] + struct.pack("<h", 70) + content[48:]


@pytest.mark.parametrize(
    "image, mask, kind, says",
    [
        (scan(SCAN), scan(ORGANS), None, ""),
        (scan(SCAN[..., :1]), scan(ORGANS[..., :1]), None, ""),  # one slice
        (scan(SCAN), scan(ORGANS * 1.0000001), None, ""),
        (scan(SCAN), scan(np.eye(3, dtype=np.uint8)[ORGANS]), None, ""),  # one-hot
        (scan(SCAN), scan(ORGANS[1:]), "size", "the mask is 8 x 8 x 7, its image 9 x 8 x 7"),
        (scan(SCAN), scan(ORGANS[..., 0]), "size", "the mask is 9 x 8, its image 9 x 8 x 7"),
        (scan(SCAN), scan(ORGANS, np.diag([1, 1, -1, 1])), "orientation", "its affine differs from its image's by 2"),
        (scan(SCAN), scan(ORGANS, np.diag([1, 1, 2, 1])), "orientation", "its affine differs from its image's by 1"),
        (scan(np.stack([SCAN] * 2, -1)), scan(ORGANS), "channels", "has 2 channels, but"),
        (scan(SCAN), scan(ORGANS + 1), "label", "168 pixels have the value 3; the labels have 0, 1, 2"),
        (
            scan(SCAN),
            scan(np.stack([ORGANS] * 4, -1)),
            "label",
            "is a mask of 4 channels, but the labels have 2 classes",
        ),
        (scan(np.where(SCAN > 200, np.nan, 0)), scan(ORGANS), "nan", "values are NaN or infinite"),
        (scan(SCAN), scan(np.where(ORGANS > 1, np.nan, 0)), "nan", "values are NaN or infinite"),
        (changed(scan(SCAN), lambda content: content[:-9]), scan(ORGANS), "unreadable", "cannot be read as"),
        (changed(scan(SCAN), claims_more_slices), scan(ORGANS), "unreadable", "cannot be read as"),
        (
            changed(scan(SCAN), with_spacing(1, 0, 1)),
            scan(ORGANS),
            "unreadable",
            "says that the voxels are 1 x 0 x 1 mm",
        ),
        (changed(scan(SCAN), with_spacing(1, np.nan, 1)), scan(ORGANS), "unreadable", "the voxels are 1 x nan x 1 mm"),
        (changed(scan(SCAN), flat), scan(ORGANS), "unreadable", "says that the voxels are 1 x 1 x 0 mm"),
        (pillow(GREY), pillow(GREY % 3), "dimensions", "is 2D (40 x 30), but most images are 3D; remove it"),
    ],
)
def test_a_volume_is_used_correctly_or_named(image, mask, kind, says, tmp_path):
    """One volume of eight is as the table says. The others are good."""
    good = {name: f"images/{name}.nii" for name in "bcdefgh"}
    suffix = ".png" if kind == "dimensions" else ".nii"
    listed = []
    for name, path in {"a": f"images/a{suffix}", **good}.items():
        paths = {"image": path, "label": path.replace("images", "masks")}
        for key, write in (("image", image), ("label", mask)):
            (tmp_path / paths[key]).parent.mkdir(exist_ok=True)
            (write if name == "a" else scan({"image": SCAN + ord(name), "label": ORGANS}[key]))(tmp_path / paths[key])
        listed.append(paths)
    content = {"training": listed, "modality": {"0": "MRI"}, "labels": CLASSES.definition}
    (tmp_path / "list.json").write_text(json.dumps(content))
    with time_limit(60):
        problems = check_dataset(tmp_path / "list.json").problems
    pair = {key: str(tmp_path / path) for key, path in listed[0].items()}
    if kind is None:
        assert problems == []
        loaded = LoadMaskd("label", CLASSES, 3)(LoadInputImaged("image", 1, 3)(pair))
        assert loaded["image"].shape == loaded["label"].shape
        np.testing.assert_array_equal(loaded["label"][0], ORGANS[..., : loaded["label"].shape[-1]])
        return
    (problem,) = problems
    assert problem.error and problem.kind == kind and says in problem.message
    assert_one_line_naming(problem.file, problem.message)
    assert Path(problem.file).name == f"a{suffix}"
    # what only the data shows stops training when the images are loaded; skip_bad leaves it out
    if kind in ("size", "orientation", "dimensions") or "voxels are" in says:
        with pytest.raises(InputError) as error:
            make_datalist(tmp_path / "list.json")
        assert str(error.value).startswith(problem.message)
    else:
        with pytest.raises(InputError):
            LoadMaskd("label", CLASSES, 3)(LoadInputImaged("image", 1, 3)(pair))
    if kind != "channels":  # the list of images does not know the network
        parts = make_datalist(tmp_path / "list.json", skip_bad=True)
        assert sum(map(len, parts.values())) == 7


# --- datasets ---------------------------------------------------------------------------------------------------------
def _json(content: object) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        path = root / "list\nof data.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def _link_loop(root: Path) -> Path:
    (root / "loop").symlink_to("loop")
    return root / "loop"


def _images_loop(root: Path) -> Path:
    (root / "masks").mkdir()
    (root / "images").symlink_to("images")
    return root


def _archive(root: Path) -> Path:
    zip_of("../../evil.png")(root / "data.zip")
    return root / "data.zip"


def _empty_folders(root: Path) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    return root


GOOD = {"image": "a.png", "label": "a.png"}


@pytest.mark.parametrize(
    "write, says",
    [
        (_link_loop, "no such dataset folder"),
        (_images_loop, "has no folder 'images'"),
        (_archive, "is not a folder"),
        (_empty_folders, "has no images"),
        (lambda root: root / "no\nwhere", "no such dataset folder"),
        (_json("no JSON"), "is not a datalist in JSON"),
        (_json("\ud83d".encode("utf-16", "surrogatepass").decode("latin-1")), "is not a datalist in JSON"),
        (_json([1, 2]), "lists nothing under 'training'"),
        (_json({"training": [{"image": "a.png"}]}), "an entry of 'training' has no"),
        (_json({"training": ["a.png"]}), "an entry of 'training' has no"),
        (_json({"training": 5}), "an entry of 'training' has no"),
        (_json({"training": [GOOD] * 9, "test": []}), "with size 0.9, one part gets no image"),
        (_json({"training": [GOOD] * 9, "test": [GOOD]}), "no such file"),
    ],
)
def test_a_path_that_is_not_a_dataset_gives_one_line(write, says, tmp_path, capsys):
    path = write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with time_limit(), pytest.raises(InputError, match=says) as error:
        make_datalist(path)
    assert_one_line_naming(str(error.value).split(": ")[0], str(error.value))
    assert main(["check", str(path)]) == 1
    printed = capsys.readouterr()
    assert any(line.startswith("error: ") and says in line for line in printed.out.splitlines())
    assert "Traceback" not in printed.out + printed.err
    assert sorted(tmp_path.rglob("*")) == before


# --- permissions ------------------------------------------------------------------------------------------------------
@contextmanager
def not_root() -> Iterator[None]:
    """Give up the rights of root for a while, because root may read every file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission_to_read():
    # tmp_path does not serve here: other users may not enter it, whatever the mode of the file
    with tempfile.TemporaryDirectory() as folder, not_root_at_the_end(Path(folder)) as root:
        pairs = [make(Case(f"{n}.png", pillow(GREY), GREY), root) for n in range(8)]
        volume(GREY)(root / "images" / "8.nii")
        (root / "images" / "3.png").chmod(0)
        (root / "images" / "8.nii").chmod(0)
        (root / "closed").mkdir(mode=0)
        with not_root():
            assert not isinstance(load(pairs[0]["image"]), str)
            for path in (pairs[3]["image"], str(root / "images" / "8.nii")):
                line = load(path)
                assert_one_line_naming(path, line)
                assert "cannot be read as a" in line and "Permission denied" in line
            (error, _) = check_dataset(root).errors
            assert error.file == pairs[3]["image"] and "Permission denied" in error.message
            with pytest.raises(InputError, match=r"closed: cannot be listed \(Permission denied\)"):
                find_images(root / "closed")
            assert "Permission denied" in load(str(root / "closed" / "a.png"))


@contextmanager
def not_root_at_the_end(folder: Path) -> Iterator[Path]:
    """Let other users enter ``folder``, and make its files removable at the end."""
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for path in folder.rglob("*"):
            path.chmod(0o755)
