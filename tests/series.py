"""Writes DICOM series as a CT scanner does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLOPE, INTERCEPT = 0.5, -1024


def affine_of(orientation: np.ndarray, spacing: tuple[float, float, float], origin: np.ndarray) -> np.ndarray:
    """
    Return the affine of the array (x, y, slice) to DICOM's world, LPS.

    Args:
        orientation: directions of a row and of a column, (2, 3).
        spacing: of the columns, the rows and the slices, in mm.
        origin: place of the first voxel.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.stack([*orientation, np.cross(*orientation)], 1) * spacing
    affine[:3, 3] = origin
    return affine


def write_series(
    folder: Path,
    image: np.ndarray,
    affine: np.ndarray,
    change: Callable[[Dataset, int], None] = lambda one, number: None,
) -> Path:
    """
    Write a series of CT. The files and the instance numbers go down, against the normal of the slices.

    Args:
        folder: folder to make.
        image: intensities (x, y, slice), such as Hounsfield units.
        affine: from the array to LPS.
        change: called with each slice and its number before it is written.
    """
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid() for _ in range(3))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    count = image.shape[2]
    for number in range(count):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Phantom", "1", "", ""
        one.StudyDate, one.StudyTime, one.AccessionNumber, one.StudyID = "20260101", "000000", "", ""
        one.ReferringPhysicianName, one.Modality, one.SeriesNumber = "", "CT", 1
        one.InstanceNumber = count - number
        one.ImageOrientationPatient = [f"{value:.8f}" for value in (affine[:3, :2] / spacing[:2]).T.ravel()]
        one.ImagePositionPatient = [f"{value:.6f}" for value in affine[:3] @ (0, 0, number, 1)]
        one.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]  # of the rows first
        one.SliceThickness = f"{spacing[2]:.6f}"
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = SLOPE, INTERCEPT, "HU"
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        stored = np.rint((image[..., number].T - INTERCEPT) / SLOPE).astype(np.uint16)  # (row, column)
        one.Rows, one.Columns = stored.shape
        one.PixelData = stored.tobytes()
        change(one, number)
        one.save_as(folder / f"{count - number:04d}.dcm", enforce_file_format=True)
    return folder
