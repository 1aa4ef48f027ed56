"""Pictures of nuclei in microscopy, and of several kinds of cells in stained tissue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from skimage.color import hed2rgb
from skimage.draw import polygon
from skimage.filters import gaussian
from skimage.util import img_as_ubyte, random_noise

from .fields import illumination, log_uniform, texture

__all__ = ["CELLS", "cells_picture", "nuclei_picture"]

Shape = tuple[int, ...]


class Scene(NamedTuple):
    """The nuclei of one image, before staining and light are simulated."""

    codes: np.ndarray  # class of each pixel, from 1; 0 outside the nuclei
    instances: np.ndarray  # number of each pixel's nucleus, from 1; 0 outside
    thickness: np.ndarray  # of the stained material along the line of sight; about 1 inside a nucleus
    rim: np.ndarray  # 0 at the centre of a nucleus, 1 at its outline, 0 outside
    radius: float  # mean radius of the nuclei in pixels


class Kind(NamedTuple):
    """One kind of image with nuclei of a single class: how often it occurs, and how its nuclei look."""

    share: float  # of all images
    nuclei: tuple[int, int]  # least and largest number of nuclei
    radius: tuple[float, float]  # least and largest mean radius, as a share of the image's side
    stretch: float  # standard deviation of the logarithm of the axes' ratio
    render: Callable[[Scene, np.random.Generator], np.ndarray]


class Cell(NamedTuple):
    """One kind of cell in an image with several: how many there are, and how their nuclei look."""

    name: str
    number: tuple[int, int]  # least and largest number
    radius: tuple[float, float]  # least and largest mean radius, as a share of the image's side
    stretch: float  # standard deviation of the logarithm of the axes' ratio, which is 1 at most
    hematoxylin: float  # strength of the blue stain, 1 as in an image with nuclei of a single class
    brown: float  # strength of the brown stain, as hed2rgb takes it


def nuclei_picture(size: Shape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image of nuclei, grey or RGB, its mask of 0 and 255, both uint8, and its numbered nuclei, uint16."""
    kind = KINDS[rng.choice(len(KINDS), p=[kind.share for kind in KINDS])]
    scene = _scene(kind, _varied(size, rng), rng)
    image = kind.render(scene, rng)
    return img_as_ubyte(np.clip(image, 0, 1)), img_as_ubyte(scene.codes > 0), scene.instances


def cells_picture(size: Shape, classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an RGB image of tissue with the first ``classes`` kinds of cells, and its mask of codes, both uint8."""
    shape, kinds = _varied(size, rng), CELLS[:classes]
    side = np.sqrt(shape[0] * shape[1])
    counts = [rng.integers(kind.number[0], kind.number[1] + 1) for kind in kinds]
    of_nucleus = np.repeat(np.arange(classes), counts)
    mean_radii = side * np.array([rng.uniform(*kind.radius) for kind in kinds])
    radii = mean_radii[of_nucleus] * np.exp(rng.normal(0, 0.1, len(of_nucleus)))
    levels = np.exp(rng.normal(0, 0.15, len(of_nucleus)))
    stretches = [kinds[index].stretch for index in of_nucleus]
    scene = Scene(*_placed(radii, levels, stretches, of_nucleus + 1, shape, rng), float(mean_radii.mean()))
    image = _tissue(scene, rng, [kind.hematoxylin for kind in kinds], [kind.brown for kind in kinds])
    return img_as_ubyte(np.clip(image, 0, 1)), scene.codes


def _varied(size: Shape, rng: np.random.Generator) -> Shape:
    factors = rng.uniform(0.75, 1.25, 2) if rng.random() < 0.5 else np.ones(2)
    return round(size[0] * factors[0]), round(size[1] * factors[1])


def _scene(kind: Kind, shape: Shape, rng: np.random.Generator) -> Scene:
    side = np.sqrt(shape[0] * shape[1])
    mean_radius = side * rng.uniform(*kind.radius)
    # The nuclei cover between about 3 % and 45 %, so that no image is almost empty or almost full.
    area_share = np.pi * (mean_radius / side) ** 2
    low, high = max(kind.nuclei[0], 0.03 / area_share), min(kind.nuclei[1], 0.45 / area_share)
    count = round(log_uniform(low, max(low, high), rng))
    radii = mean_radius * np.exp(rng.normal(0, rng.uniform(0.08, 0.28), count))
    levels = np.exp(rng.normal(0, rng.uniform(0.08, 0.3), count))
    return Scene(*_placed(radii, levels, [kind.stretch] * count, [1] * count, shape, rng), mean_radius)


def _placed(
    radii: np.ndarray,
    levels: np.ndarray,
    stretches: Sequence[float],
    codes_of_nuclei: Sequence[int] | np.ndarray,
    shape: Shape,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw nuclei at random places and return the codes, instances, thickness and rim of a :class:`Scene`."""
    codes, instances = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
    thickness, rim = np.zeros(shape), np.zeros(shape)
    for number, (centre, radius, level, stretch, code) in enumerate(
        zip(_centres(radii, shape, rng), radii, levels, stretches, codes_of_nuclei), 1
    ):
        rows, cols, reach = _nucleus(centre, radius, stretch, shape, rng)
        # Where nuclei overlap, they flatten each other: the thickness is less than their sum.
        here = level * np.sqrt(1 - 0.75 * reach**2)
        thickness[rows, cols] = np.maximum(thickness[rows, cols], here) + 0.3 * np.minimum(thickness[rows, cols], here)
        rim[rows, cols] = np.maximum(rim[rows, cols], reach)
        codes[rows, cols], instances[rows, cols] = code, number
    return codes, instances, thickness, rim


def _centres(radii: np.ndarray, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Place the nuclei, many of them next to an earlier one. They overlap little if there is room."""
    clustering = rng.uniform(0, 0.7)
    centres = np.empty((len(radii), 2))
    for index, radius in enumerate(radii):
        for _ in range(20):
            centre = rng.uniform(0, shape)
            if index and rng.random() < clustering:
                other, angle = rng.integers(index), rng.uniform(0, 2 * np.pi)
                apart = (radius + radii[other]) * rng.uniform(0.8, 1.1)
                centre = centres[other] + apart * np.array([np.sin(angle), np.cos(angle)])
            centre = np.clip(centre, 0, shape)
            distances = np.linalg.norm(centres[:index] - centre, axis=1)
            if np.all(distances > 0.8 * (radii[:index] + radius)):
                break
        centres[index] = centre
    return centres


def _nucleus(
    centre: np.ndarray, radius: float, stretch: float, shape: Shape, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows and columns of a nucleus, and the distance of each pixel from centre (0) to outline (1)."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    ratio = np.exp(min(abs(rng.normal(0, stretch)), 1))
    turned = angles - rng.uniform(0, np.pi)
    outline = radius / np.sqrt(np.cos(turned) ** 2 / ratio + np.sin(turned) ** 2 * ratio)
    for wave in range(2, 7):  # slow waves deform the outline most
        outline *= 1 + rng.normal(0, 0.1 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    rows, cols = polygon(centre[0] + outline * np.sin(angles), centre[1] + outline * np.cos(angles), shape)
    down, right = rows - centre[0], cols - centre[1]
    reach = np.hypot(down, right) / np.interp(np.arctan2(down, right), angles, outline, period=2 * np.pi)
    return rows, cols, np.minimum(reach, 1)


def _fluorescence(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    chromatin = rng.uniform(0.05, 0.2) * _grain(scene, 0.15, rng) + rng.uniform(0.03, 0.12) * _grain(scene, 0.4, rng)
    nuclei = scene.thickness * np.exp(chromatin)
    haze = gaussian(nuclei, 1.5 * scene.radius)  # out-of-focus light
    light = nuclei + rng.uniform(0.05, 0.25) * haze + rng.uniform(0, 0.06) * (1 + 0.2 * _grain(scene, 2, rng))
    exposure = log_uniform(0.08, 0.75, rng)
    image = rng.uniform(0.01, 0.05) + exposure * light * illumination(scene.codes.shape, 0.3, rng)
    return _camera(image, rng)


def _brightfield(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    stain = scene.thickness * np.exp(0.25 * _grain(scene, 0.15, rng)) * (0.75 + 0.4 * scene.rim)
    cell = gaussian(scene.thickness, 0.9 * scene.radius) * np.exp(0.25 * _grain(scene, 0.25, rng))
    density = rng.uniform(0.35, 1.2) * stain + rng.uniform(0.1, 0.3) * cell + 0.025 * _grain(scene, 0.3, rng)
    image = rng.uniform(0.65, 0.92) * np.exp(-density) * illumination(scene.codes.shape, 0.2, rng)
    return _camera(image, rng)


def _tissue(
    scene: Scene, rng: np.random.Generator, hematoxylin_of: Sequence[float] = (1,), brown_of: Sequence[float] = (0,)
) -> np.ndarray:
    """Render stained tissue. The strengths of the stains are those in each class's nuclei."""
    # The fibres follow the level lines of a smooth random field.
    fibres = np.sin(rng.uniform(5, 9) * _grain(scene, 2.5, rng) + 1.2 * _grain(scene, 0.3, rng))
    cells = gaussian(scene.thickness, 0.7 * scene.radius)
    # The tissue has gaps that show the glass, but never under a nucleus.
    gaps = 1 / (1 + np.exp(-8 * (_grain(scene, 1.6, rng) - rng.uniform(1.2, 2.5))))
    solid = np.maximum(1 - gaps, np.minimum(3 * cells, 1))
    pale = rng.uniform(0.2, 0.55)  # how much lighter a nucleus is in its middle than at its rim
    chromatin = np.exp(rng.uniform(0.15, 0.35) * _grain(scene, 0.14, rng)) * (1 - pale * (1 - scene.rim**2))
    eosin = solid * (1 + 0.22 * fibres + 0.25 * _grain(scene, 0.5, rng) + 0.12 * _grain(scene, 0.12, rng)) + 0.05
    hematoxylin = rng.uniform(0.06, 0.12) * scene.thickness * chromatin * np.array([0, *hematoxylin_of])[scene.codes]
    hematoxylin += rng.uniform(0.006, 0.02) * solid * (1 + 0.3 * _grain(scene, 0.6, rng)) + 0.012 * cells
    eosin = rng.uniform(0.02, 0.045) * np.clip(eosin, 0, None) * (1 - 0.4 * (scene.codes > 0))
    brown = rng.uniform(0.25, 0.7) * eosin  # real eosin is less blue than in the colour matrix of hed2rgb
    brown += np.array([0, *brown_of])[scene.codes] * scene.thickness
    image = hed2rgb(np.stack([hematoxylin, eosin, brown], axis=-1))
    return _camera(rng.uniform(0.88, 0.98) * image * illumination(scene.codes.shape, 0.1, rng)[..., None], rng)


def _camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the blur of the optics, then shot noise (photons) and read noise (electronics)."""
    image = gaussian(image, rng.uniform(0.6, 1.5), channel_axis=-1 if image.ndim == 3 else None)
    photons = log_uniform(150, 3000, rng)  # at full scale; random_noise(mode="poisson") has no such parameter
    image = rng.poisson(np.clip(image, 0, None) * photons) / photons
    return random_noise(image, "gaussian", rng=rng, var=rng.uniform(0.002, 0.01) ** 2)


def _grain(scene: Scene, size: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random texture with grains of ``size`` nuclear radii."""
    return texture(scene.codes.shape, max(size * scene.radius, 0.7), rng)


KINDS = (
    Kind(0.60, (5, 60), (0.03, 0.085), 0.25, _fluorescence),
    Kind(0.15, (5, 40), (0.04, 0.085), 0.20, _brightfield),
    Kind(0.25, (15, 60), (0.03, 0.055), 0.35, _tissue),
)

CELLS = (
    Cell("lymphocyte", (8, 30), (0.026, 0.032), 0.08, 1.7, 0),
    Cell("tumour", (4, 10), (0.060, 0.075), 0.20, 0.8, 0),
    Cell("macrophage", (6, 14), (0.036, 0.044), 9, 0.5, 0.07),
)
