"""Settings that follow from the training images: spacing, range of intensities, window and strides of the network."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import nibabel
import numpy as np
from monai.utils import ensure_tuple
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import SpatialImage
from scipy.optimize import brentq
from tqdm import tqdm

from ..errors import InputError
from .labels import Labels
from .reading import is_volume, reading, require_finite, size_text
from .task import Task

__all__ = ["plan", "plan_strides"]

PERCENTILES = (0.5, 99.5)  # of the foreground's intensities in CT, as in nnU-Net
SAMPLES = 10_000  # voxels of the foreground of each image
# Training DPSAU2NetLite keeps 0.7 to 1.8 kB for each voxel, depending on its strides: 3 GB for two such windows. The
# full network keeps 12 kB.
LARGEST_WINDOW = 96**3  # voxels
LARGEST_SLICE = 256  # pixels along each side of a window in a slice
# Voxels of the network's deepest map along an axis. The inner Us of DPSAU2NetLite halve it once more, and a 3D
# convolution in bfloat16 needs three (see BFloat16Inferer).
SMALLEST_MAP = 5
FOREIGN_STEP = 32  # the sides of a window are its multiples where the network takes no strides
ANISOTROPIC = 3  # times the other spacings

Pairs = Sequence[Mapping[str, Any]]


def _geometry(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the spacing and the size of a volume along the axes that are closest to left-right, back-front, up."""
    if not is_volume(path):
        raise InputError(f"{path}: is a picture; set modality to picture, as the others are for volumes")
    with reading(path):
        volume = cast(SpatialImage, nibabel.load(path))
        spacing, size = voxel_sizes(volume.affine), np.array([*volume.shape[:3], 1])[:3]
        if not (np.isfinite(spacing) & (spacing > 0)).all():
            raise InputError(f"{path}: has voxels of {size_text(spacing)} mm; correct its affine")
        # for each axis of the array, the axis of the world
        order = np.argsort(nibabel.orientations.io_orientation(volume.affine)[:, 0])
        return spacing[order], size[order]


def _median_spacing(spacings: np.ndarray) -> list[float]:
    """
    Return the median of each axis. Of slices much thicker than their pixels, it is the 10th percentile, as in nnU-Net:
    the thickest volumes of a dataset should not decide on the others.
    """
    spacing = np.median(spacings, axis=0)
    thick = spacing.argmax()
    others = np.delete(spacing, thick).max()
    if spacing[thick] > ANISOTROPIC * others:
        spacing[thick] = max(np.percentile(spacings[:, thick], 10), others)
    return [round(float(one), 4) for one in spacing]


def plan_strides(spacing: Sequence[float], roi_size: Sequence[int], number: int) -> list[list[int]]:
    """
    Choose which axes each step of a network reduces, as nnU-Net does (Isensee et al., Nature Methods 2021): only those
    whose spacing is less than twice the smallest, and whose map stays large enough.

    Args:
        spacing: of the voxels, in mm.
        roi_size: size of the network's window in voxels.
        number: of steps.

    Returns:
        A list of factors, 1 or 2 for each axis, for each step.
    """
    step, size = np.array(spacing, float), np.array(roi_size)
    strides = []
    for _ in range(number):
        large = size >= 2 * SMALLEST_MAP
        fine = step < 2 * step[large].min() if large.any() else large
        factors = np.where(large & fine, 2, 1)
        strides.append(factors.tolist())
        step, size = step * factors, size // factors
    return strides


def _window(size: np.ndarray, spacing: np.ndarray, number: int, strides: list[list[int]] | None) -> list[int]:
    """
    Return the window for images of ``size``: the whole image, or the part of it within the largest cube in mm that
    memory allows. The product of the strides divides each side.
    """
    sides = size
    if size.prod() > LARGEST_WINDOW:
        edge = brentq(lambda mm: np.minimum(size, mm / spacing).prod() - LARGEST_WINDOW, 0, (size * spacing).max())
        sides = np.minimum(size, edge / spacing)
    if number:
        steps = np.prod(strides or plan_strides(spacing.tolist(), sides.astype(int).tolist(), number), axis=0)
    else:
        steps = np.full(3, FOREIGN_STEP)
    rounded = np.where(sides < size, np.floor(sides / steps), np.ceil(sides / steps))
    return [int(one) for one in steps * np.maximum(rounded, 1)]


def _slice_window(size: np.ndarray, spacing: np.ndarray) -> list[int]:
    """Return the window for a 2D network: in a single slice along the axis of the largest spacing."""
    window = [min(LARGEST_SLICE, FOREIGN_STEP * math.ceil(one / FOREIGN_STEP)) for one in size]
    window[int(spacing.argmax())] = 1
    return window


def _read(path: str) -> np.ndarray:
    """Read a volume as (channels, spatial...)."""
    with reading(path, "a volume"):
        array = cast(SpatialImage, nibabel.load(path)).get_fdata(dtype=np.float32, caching="unchanged")
    return array[None] if array.ndim < 4 else np.moveaxis(array.reshape(*array.shape[:3], -1), -1, 0)


def _ct_intensities(pairs: Pairs, labels: Labels) -> dict[str, float]:
    """
    Return the statistics of the training images' foreground, as nnU-Net takes them. One image is in memory at a time.

    ``monai.data.DatasetSummary`` has its own, but takes what is over 0 for foreground, keeps every value as a Python
    object, and reads all voxels for the spacing alone.
    """
    rng = np.random.default_rng(0)
    samples = []
    for pair in tqdm(pairs, desc="intensities", unit="image", disable=None):
        (image,) = ensure_tuple(pair["image"])
        masks = ensure_tuple(pair["label"])
        codes = labels.decode([_read(mask) for mask in masks], [1] * len(masks), masks[0])
        values = _read(image)[0][codes[0] > 0]
        require_finite(values, image)
        samples.append(rng.choice(values, min(SAMPLES, len(values)), replace=False))
    values = np.concatenate(samples).astype(np.float64)
    if not len(values):
        raise InputError("no training image has foreground, whose intensities CT is normalised with; set modality: mr")
    low, high = np.percentile(values, PERCENTILES)
    found = {"low": low, "high": high, "mean": values.mean(), "std": values.std()}
    return {name: round(float(value), 4) for name, value in found.items()}


def _plan_geometry(task: Task, pairs: Pairs, number: int) -> Task:
    """Fill in spacing and window. 2D images have neither."""
    spacings, sizes = map(np.array, zip(*(_geometry(ensure_tuple(pair["image"])[0]) for pair in pairs)))
    if task.spatial_dims == 2 and (np.sort(sizes)[:, 0] == 1).all():
        return task
    spacing = task.spacing or _median_spacing(spacings)
    size = np.rint(np.median(sizes * spacings / spacing, axis=0))
    window = task.roi_size
    if not window:
        step = np.array(spacing)
        window = _slice_window(size, step) if task.spatial_dims == 2 else _window(size, step, number, task.strides)
    voxels = f"{size_text(spacing)} mm (left-right, back-front, up); window: {size_text(window)}"
    logging.getLogger("dpsau2net_monai").info(f"voxels: {voxels}")
    return replace(task, spacing=spacing, roi_size=window)


def plan(task: Task, training: Callable[[], Pairs], number_of_strides: int) -> Task:
    """
    Fill in what ``task`` leaves open, from the training images. Pictures need nothing.

    Args:
        task: the settings. Those that are None are filled in.
        training: returns a list of ``{"image": path, "label": path}``. It is called only if a setting needs it.
        number_of_strides: how many times the network reduces the resolution. 0: it takes no strides.

    Returns:
        The complete settings. The log says what was chosen. For a 2D network on volumes, the window is a single slice
        along the axis of the largest spacing.

    Raises:
        InputError: a setting contradicts the network, or an image cannot be read.
    """
    log = logging.getLogger("dpsau2net_monai")
    if task.modality == "picture" and task.spatial_dims == 2:
        return task
    if task.modality == "ct" and task.in_channels != 1:
        raise InputError(f"modality is ct, but the images have {task.in_channels} channels, not 1; set modality: mr")
    if task.strides and number_of_strides != len(task.strides):
        raise InputError(f"strides has {len(task.strides)} entries, but the network has {number_of_strides} steps")
    if task.spacing is None or task.roi_size is None:
        task = _plan_geometry(task, training(), number_of_strides)
    if task.modality == "ct" and task.intensity is None:
        found = _ct_intensities(training(), task.labels)
        task = replace(task, intensity=found)
        low, high, mean, std = found.values()
        log.info(f"CT: clipped to {low:g} .. {high:g}; mean {mean:g}, standard deviation {std:g} of the foreground")
    if task.spatial_dims == 3 and task.strides is None and number_of_strides:
        strides = plan_strides(task.spacing or (1, 1, 1), task.roi_size or (), number_of_strides)
        task = replace(task, strides=strides)
        log.info(f"strides of the network: {', '.join(size_text(one) for one in strides)}")
    return task
