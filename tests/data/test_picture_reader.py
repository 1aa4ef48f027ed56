from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
from monai.transforms import LoadImage
from PIL import Image

from dpsau2net_monai.data import PictureReader
from dpsau2net_monai.data.picture_reader import read_picture, read_picture_header
from dpsau2net_monai.errors import InputError

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (5, 7), np.uint8)
RGB8 = RNG.integers(0, 256, (5, 7, 3), np.uint8)
GREY16 = RNG.integers(0, 65536, (5, 7), np.uint16)
RGB16 = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
BOOL = GREY8 > 127


def with_alpha(array: np.ndarray) -> np.ndarray:
    colours = array[..., None] if array.ndim == 2 else array
    return np.concatenate([colours, np.full_like(colours[..., :1], 77)], axis=-1)


def pillow(array, **options):
    return lambda path: Image.fromarray(array).save(path, **options)


def png16(array):
    return lambda path: path.write_bytes(imagecodecs.png_encode(array))


def tiff(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def palette(path):
    Image.fromarray(RGB8).quantize(35).save(path)


@pytest.mark.parametrize(
    "name, write, expected, atol",
    [
        ("grey.png", pillow(GREY8), GREY8 / 255, 0),
        ("rgb.png", pillow(RGB8), RGB8 / 255, 0),
        ("rgba.png", pillow(with_alpha(RGB8)), RGB8 / 255, 0),
        ("grey_alpha.png", pillow(with_alpha(GREY8)), GREY8 / 255, 0),
        ("bool.png", pillow(BOOL), BOOL, 0),
        ("palette.png", palette, RGB8 / 255, 0.2),
        ("grey16.png", png16(GREY16), GREY16 / 65535, 0),
        ("rgb16.png", png16(RGB16), RGB16 / 65535, 0),
        ("rgba16.png", png16(with_alpha(RGB16)), RGB16 / 65535, 0),
        ("grey_alpha16.png", png16(with_alpha(GREY16)), GREY16 / 65535, 0),
        ("grey16.tif", tiff(GREY16), GREY16 / 65535, 0),
        ("white_is_0.tif", tiff(255 - GREY8, photometric="miniswhite"), GREY8 / 255, 0),
        ("white_is_0_16.tif", tiff(65535 - GREY16, photometric="miniswhite"), GREY16 / 65535, 0),
        ("rgb16.tif", tiff(RGB16, photometric="rgb"), RGB16 / 65535, 0),
        ("rgb16_lzw.tiff", tiff(RGB16, photometric="rgb", compression="lzw"), RGB16 / 65535, 0),
        ("planar16.tif", tiff(np.moveaxis(RGB16, -1, 0), photometric="rgb", planarconfig="separate"), RGB16 / 65535, 0),
        ("float.tif", tiff(GREY16.astype(np.float32)), GREY16, 0),
        ("grey.bmp", pillow(GREY8), GREY8 / 255, 0),
        ("grey.jpg", pillow(np.full((5, 7), 90, np.uint8), quality=95), np.full((5, 7), 90 / 255), 0.01),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_picture_keeps_its_depth(name, write, expected, atol, tmp_path):
    write(tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, expected, rtol=1e-6, atol=atol)


@pytest.mark.parametrize(
    "name, write, stored, stored_max",
    [
        ("grey.png", pillow(GREY8), GREY8, 255),
        ("rgb.png", pillow(RGB8), RGB8, 255),
        ("grey16.png", png16(GREY16), GREY16, 65535),
        ("rgb16.png", png16(RGB16), RGB16, 65535),
        ("rgb16.tif", tiff(RGB16, photometric="rgb"), RGB16, 65535),
        ("bool.png", pillow(BOOL), BOOL, 1),
        ("float.tif", tiff(GREY16.astype(np.float32)), GREY16, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_stored_max_restores_the_values_of_the_file(name, write, stored, stored_max, tmp_path):
    write(tmp_path / name)
    load = LoadImage(image_only=True, ensure_channel_first=True)
    load.register(PictureReader())
    image = load(tmp_path / name)
    assert image.meta["stored_max"] == stored_max
    values = np.rint(image.numpy().T * stored_max)  # (x, y) to (row, column)
    np.testing.assert_array_equal(values.reshape(stored.shape), stored)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # a viewer turns it by 90 degrees clockwise
    Image.fromarray(np.repeat(np.repeat([[0, 255]], 16, 0), 8, 1).astype(np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.shape == (16, 16) and picture[:7].max() < 0.1 and picture[9:].min() > 0.9


@pytest.mark.parametrize("turn", range(1, 9))
def test_each_exif_orientation_is_applied_to_pixels_and_header(turn, tmp_path):
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(RGB8).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    Image.fromarray(RGB8).save(tmp_path / "b.tif", exif=exif)
    tifffile.imwrite(tmp_path / "c.tif", RGB8 * np.uint16(257), photometric="rgb", extratags=[(274, 3, 1, turn)])
    Image.fromarray(RGB8[..., 0]).save(tmp_path / "d.tif", exif=exif)  # Pillow maps it to memory
    straight = Image.fromarray(RGB8)
    method = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(turn)  # Pillow's own numbers
    expected = np.asarray(straight if method is None else straight.transpose(Image.Transpose(method))) / 255
    for name, atol in (("a.jpg", 0.05), ("b.tif", 1e-6), ("c.tif", 1e-6)):
        np.testing.assert_allclose(read_picture(tmp_path / name), expected, atol=atol, err_msg=name)
        np.testing.assert_allclose(read_picture(tmp_path / "d.tif"), expected[..., 0], atol=1e-6)
        header = read_picture_header(tmp_path / name)
        assert header.size == expected.shape[1::-1] and header.stored == (7, 5) and header.turn == turn
        assert header.depth == ("16" if name == "c.tif" else "8")


@pytest.mark.parametrize("spoil", ["cut", "text", "empty", "frames"])
def test_a_file_that_is_not_a_picture_is_refused_by_name(spoil, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB8).resize((70, 50)).save(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif spoil == "frames":
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.stack([GREY8] * 3), photometric="minisblack")
    else:
        path.write_bytes(b"" if spoil == "empty" else b"some text")
    with pytest.raises(InputError, match=path.name):
        read_picture(path)
