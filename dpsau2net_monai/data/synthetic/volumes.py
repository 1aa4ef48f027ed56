"""Volumes that look like magnetic resonance images, with several kinds of structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform
from scipy.spatial import KDTree
from skimage.filters import gaussian

from .fields import illumination, texture

__all__ = ["STRUCTURES", "volume"]

ORIENTATIONS = ("RAS", "RAS", "LPS", "LAS", "PIR")
THICK_SLICES = 0.4  # share of the volumes
ATTEMPTS = 20  # to place a structure where no other is


class Structure(NamedTuple):
    """One kind of structure: how it looks, and its shape."""

    name: str
    number: tuple[int, int]  # least and largest number in a volume
    intensity: float  # that of the tissue around it is 1
    # takes the voxels' places (voxels, 3) relative to the body's centre, in units of its radius; returns booleans
    inside: Callable[[np.ndarray, np.random.Generator], np.ndarray]


def volume(
    size: Sequence[int], classes: int, rng: np.random.Generator
) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
    """Return an image, int16, and its mask of codes, uint8, with the first ``classes`` kinds of ``STRUCTURES``."""
    shape, spacing = _grid(size, rng)
    codes, tissue = _anatomy(shape, spacing, classes, rng)
    image = _scanner(tissue, spacing, rng)
    affine = np.diag([*spacing, 1])
    affine[:3, 3] = -np.array(shape) * spacing / 2 + rng.uniform(-20, 20, 3)
    to_stored = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(rng.choice(ORIENTATIONS)))
    volumes = [nibabel.Nifti1Image(array, affine).as_reoriented(to_stored) for array in (image, codes)]
    return volumes[0], volumes[1]


def _grid(size: Sequence[int], rng: np.random.Generator) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the number of voxels along each axis and their spacing in mm."""
    spacing = np.full(3, rng.uniform(0.9, 1.1))
    shape = np.array(size) * rng.uniform(0.85, 1.25, 3)
    if rng.random() < THICK_SLICES:
        thickness = rng.uniform(1.3, 1.8)
        spacing[2] *= thickness
        shape[2] *= 0.9
    return tuple(int(one) for one in np.rint(shape)), np.round(spacing, 2)


def _anatomy(
    shape: tuple[int, ...], spacing: np.ndarray, classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes and the signal of the tissue, 0 in air."""
    axes = [(np.arange(number) + 0.5) * step - number * step / 2 for number, step in zip(shape, spacing)]
    extent = np.array(shape) * spacing
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) / (0.44 * extent)
    ripple = 0.06 * texture(shape, extent.min() / 8 / spacing, rng)
    radius = np.linalg.norm(places, axis=-1) + ripple
    body = radius < 1
    tissue = 1 + 0.07 * texture(shape, 3 / spacing, rng) + 0.04 * texture(shape, 1 / spacing, rng)
    tissue[radius > 0.9] *= 1.35  # fat below the skin
    codes = np.zeros(shape, np.uint8)
    for code, structure in enumerate(STRUCTURES[:classes], start=1):
        intensity = structure.intensity * rng.uniform(0.93, 1.07)
        for _ in range(rng.integers(structure.number[0], structure.number[1] + 1)):
            for _ in range(ATTEMPTS):
                inside = structure.inside(places, rng) & (radius < 0.88)
                if inside.any() and not codes[inside].any():
                    codes[inside] = code
                    tissue[inside] = intensity + 0.5 * (tissue[inside] - 1)
                    break
    return codes, tissue * body


def _scanner(tissue: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the blur, the bias field of the coil and Rician noise, and scale to arbitrary units."""
    signal = gaussian(tissue, 0.5 / spacing) * illumination(tissue.shape, 0.35, rng)
    noise = rng.uniform(0.03, 0.07) * rng.standard_normal((2, *tissue.shape))
    return np.rint(np.hypot(signal + noise[0], noise[1]) * rng.uniform(200, 1200)).astype(np.int16)


def _organ(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A large, smooth ellipsoid on the left side."""
    centre = np.array([-0.38, 0, 0]) + rng.uniform(-0.12, 0.12, 3)
    return np.linalg.norm((places - centre) / rng.uniform(0.28, 0.42, 3), axis=-1) < 1


def _vessel(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A curved tube from bottom to top."""
    height = np.linspace(-1, 1, 60)
    phases = rng.uniform(0, 2 * np.pi, 2)
    sides = [start + 0.14 * np.sin(2.5 * height + phase) for start, phase in zip((0.3, rng.uniform(-0.2, 0.2)), phases)]
    distances, _ = KDTree(np.stack([*sides, height], axis=-1)).query(places)
    return distances < rng.uniform(0.14, 0.18)


def _lesion(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small sphere, not at the skin."""
    direction = rng.standard_normal(3)
    centre = direction / np.linalg.norm(direction) * rng.uniform(0.2, 0.55)
    return np.linalg.norm(places - centre, axis=-1) < rng.uniform(0.19, 0.27)


STRUCTURES = (
    Structure("organ", (1, 1), 0.65, _organ),
    Structure("vessel", (1, 1), 1.75, _vessel),
    Structure("lesion", (1, 3), 1.4, _lesion),
)
