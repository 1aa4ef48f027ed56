"""Show a volume as pictures: slices in the patient's three planes."""

from __future__ import annotations

from functools import cached_property

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from monai.utils import MetaKeys
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from PIL import Image
from scipy.ndimage import distance_transform_edt

from .contours import stretch_grey

__all__ = ["Volume"]

ORIENTATION = axcodes2ornt("LPI")  # the axes of radiology's pictures: to the patient's left, back and feet
SAGITTAL, CORONAL, AXIAL = range(3)
GAP = 0.02  # between the planes, as a share of the picture's width


class Volume:
    """
    A volume and its masks for display. Pictures follow radiology's convention: the patient's right is on the left, the
    front and the head are at the top. Their pixels are square, also where the voxels are not cubes. The contrast is one
    for the whole volume.

    Args:
        image: (channels, spatial...), in any orientation and spacing, with the metadata of the file. The first channel
            is shown, resampled to the voxels of the file.
        masks: one mask, or the true and the predicted one: (classes, spatial...) of 0 and 1, or of a single class's
            numbered instances, with the voxels of the image's file.
    """

    def __init__(self, image: MetaTensor, *masks: torch.Tensor) -> None:
        affine = torch.as_tensor(image.meta[MetaKeys.ORIGINAL_AFFINE], dtype=torch.float64)
        resampled = SpatialResample(dtype=np.float32)(image[:1], affine, masks[0].shape[1:])
        turn = ornt_transform(nibabel.io_orientation(affine.numpy()), ORIENTATION)

        def turned(tensor: torch.Tensor) -> np.ndarray:
            return np.moveaxis(apply_orientation(np.moveaxis(tensor.cpu().numpy(), 0, -1), turn), -1, 0)

        self.image = stretch_grey(turned(torch.as_tensor(resampled))[0])
        self.masks = [turned(torch.as_tensor(mask)) for mask in masks]
        self.spacing = voxel_sizes(affine.numpy())[np.argsort(turn[:, 0])]

    @property
    def depth(self) -> int:
        """Number of axial slices. The first is the uppermost."""
        return self.image.shape[AXIAL]

    @cached_property
    def centre(self) -> tuple[int, int, int]:
        """
        The voxel through which the three planes go. It lies in the axial slice with the most wrong voxels, in
        the middle of their thickest part. Where there is no error, or only one mask, the foreground takes the place of
        the wrong voxels.
        """
        region = ((self.masks[0] > 0) != (self.masks[-1] > 0)).any(0)
        if not region.any():
            region = self.masks[0].any(0)
        if not region.any():
            x, y, z = (size // 2 for size in region.shape)
            return x, y, z
        axial = int(region.sum((SAGITTAL, CORONAL)).argmax())
        distance = distance_transform_edt(np.pad(region[..., axial], 1), sampling=self.spacing[:AXIAL])
        x, y = np.unravel_index(distance[1:-1, 1:-1].argmax(), region.shape[:AXIAL])
        return int(x), int(y), axial

    def slice(self, axis: int, index: int) -> list[np.ndarray]:
        """Return a slice of the image, uint8 (row, column), and of each mask (classes, row, column)."""
        first, second = (size for i, size in enumerate(self.spacing / self.spacing.min()) if i != axis)
        image, *masks = (np.take(array, index, axis - 3).swapaxes(-2, -1) for array in (self.image, *self.masks))
        rows, columns = image.shape
        shape = max(1, round(rows * second)), max(1, round(columns * first))
        square = Image.fromarray(np.ascontiguousarray(image)).resize(shape[::-1], Image.Resampling.BILINEAR)
        nearest = np.ix_(*((np.arange(new) + 0.5) * old // new for new, old in zip(shape, image.shape)))
        row, column = (index.astype(int) for index in nearest)
        return [np.asarray(square), *(mask[:, row, column] for mask in masks)]

    def planes(self) -> list[np.ndarray]:
        """
        Return one picture of the three slices through :attr:`centre`, and of each mask, as :meth:`slice` does: axial at
        the top left, coronal below it, and sagittal beside the coronal one.
        """
        slices = [self.slice(axis, index) for axis, index in enumerate(self.centre)]
        return [_arranged(*planes) for planes in zip(*slices)]


def _arranged(sagittal: np.ndarray, coronal: np.ndarray, axial: np.ndarray) -> np.ndarray:
    """Put three slices (..., row, column) into one picture, with 0 between them."""
    (height, width), (below, beside) = axial.shape[-2:], sagittal.shape[-2:]
    gap = max(1, round(GAP * (width + beside)))
    picture = np.zeros((*axial.shape[:-2], height + gap + below, width + gap + beside), axial.dtype)
    picture[..., :height, :width] = axial
    picture[..., -below:, :width] = coronal
    picture[..., -below:, -beside:] = sagittal
    return picture
