"""Find and read DICOM series: volumes whose slices are the files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.config import PathLike
from monai.data import PydicomReader
from monai.utils import MetaKeys, ensure_tuple, optional_import

from ..errors import InputError

__all__ = ["SeriesReader", "as_nifti", "find_series", "read_series"]

pydicom, has_pydicom = optional_import("pydicom")

SEGMENTATION = b"\x02\x00\x02\x00UI\x1c\x001.2.840.10008.5.1.4.1.1.66.4"  # MediaStorageSOPClassUID of a DICOM SEG
TOLERANCE = 0.02  # of a slice's place, as a share of the distance of two slices
NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
EQUAL = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")  # in all slices


def _dicom_files(folder: Path) -> list[Path]:
    """
    Return the files of a folder that begin as DICOM does. The index of a medium, DICOMDIR, and a DICOM SEG, a mask, are
    no slices.
    """

    def is_slice(path: Path) -> bool:
        with open(path, "rb") as file:
            start = file.read(1024)  # with the class of the content, which is among the first elements
        return start[128:132] == b"DICM" and SEGMENTATION not in start

    try:
        files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name.upper() != "DICOMDIR")
        return [path for path in files if is_slice(path)]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error


def find_series(folder: PathLike) -> list[Path]:
    """
    Find the DICOM series in a folder.

    Args:
        folder: a folder with the files of one series, or a folder of such folders.

    Returns:
        The folders that have DICOM files, sorted by name.

    Raises:
        InputError: a folder cannot be read.
    """
    folder = Path(folder)
    return [one for one in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())) if _dicom_files(one)]


def read_series(folder: PathLike, pixels: bool = True) -> list[Any]:
    """
    Read the slices of a DICOM series.

    Args:
        folder: folder with the files of one series.
        pixels: whether to read the pixels too.

    Returns:
        The slices as ``pydicom.Dataset``, sorted by their place along the normal of the slices.

    Raises:
        InputError: pydicom is not installed, or the files are not one series of parallel slices at equal distances.
    """
    folder = Path(folder)
    if not has_pydicom:
        raise InputError(f"{folder}: is DICOM, which pydicom reads; pip install 'dpsau2net-monai[dicom]'")
    slices = []
    for file in _dicom_files(folder):
        try:
            slices.append(pydicom.dcmread(file, stop_before_pixels=not pixels))
        except Exception as error:  # pydicom has many types of errors
            raise InputError(f"{file}: cannot be read as DICOM ({error}); restore it or remove it") from error
    series = {str(one.get("SeriesInstanceUID")) for one in slices}
    if len(series) > 1:
        raise InputError(f"{folder}: has {len(series)} DICOM series; put each in a folder of its own")
    if len(slices) < 2:
        raise InputError(f"{folder}: has {len(slices)} DICOM slices; a volume needs two, in a file each")
    return _in_order(slices, folder)


def _in_order(slices: Sequence[Any], folder: Path) -> list[Any]:
    for name in NEEDED:
        without = [one for one in slices if not one.get(name)]
        if without:
            raise InputError(f"{without[0].filename}: has no {name}; a slice without a place cannot be used")
    first = slices[0]
    for name in EQUAL:
        other = next((one for one in slices if not np.allclose(one[name].value, first[name].value, atol=1e-4)), None)
        if other is not None:
            raise InputError(f"{other.filename}: its {name} is not that of {first.filename}; put it in another folder")
    orientation = np.array(first.ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])

    def place(one: Any) -> float:
        return float(normal @ np.array(one.ImagePositionPatient, float))

    ordered = sorted(slices, key=place)
    places = np.array([one.ImagePositionPatient for one in ordered], float)
    gap = (place(ordered[-1]) - place(ordered[0])) / (len(ordered) - 1)
    gaps = np.diff([place(one) for one in ordered])
    if gaps.min() <= TOLERANCE * gap:
        raise InputError(f"{folder}: has several slices at one place, such as phases; put each in a folder of its own")
    expected = np.linspace(places[0], places[-1], len(places))
    if np.abs(places - expected).max() > TOLERANCE * gap:
        distances = f"between {gaps.min():.4g} and {gaps.max():.4g} mm"
        raise InputError(f"{folder}: the distances of the slices are {distances}; add the missing slices")
    return ordered


class SeriesReader(PydicomReader):
    """
    ``monai.data.PydicomReader`` for a folder with one series. The original sorts the slices by ``InstanceNumber``, not
    by their places, and takes slices of several series and at any distances.
    """

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Any]:
        (folder,) = ensure_tuple(data)
        slices = read_series(folder)
        for number, one in enumerate(slices):
            one.InstanceNumber = number + 1
        self.folder = folder
        self.has_series = True
        self.filenames = [[one.filename for one in slices]]  # type: ignore[list-item]
        return slices

    def get_data(self, data: list[Any]) -> tuple[np.ndarray, dict]:
        try:
            return super().get_data(data)
        except Exception as error:  # the decoders have many types of errors
            reason = str(error).partition("\n")[0]
            raise InputError(f"{self.folder}: cannot be decoded ({reason}); save it without compression") from error


def as_nifti(folder: PathLike) -> nibabel.Nifti1Image:
    """
    Return a DICOM series as a NIfTI image: axes (x, y, slice), an affine to RAS, and the intensities after
    ``RescaleSlope`` and ``RescaleIntercept``.

    Raises:
        InputError: see :func:`read_series`.
    """
    reader = SeriesReader()
    array, meta = reader.get_data(reader.read(folder))
    image = nibabel.Nifti1Image(array, meta[MetaKeys.AFFINE])
    image.set_sform(image.affine, "scanner")
    image.set_qform(image.affine, "scanner")
    return image
