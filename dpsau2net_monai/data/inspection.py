"""Find problems of images and masks: quickly from their headers, or from all of their pixels on all cores."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple, cast

import nibabel
import numpy as np
from monai.utils import ensure_tuple
from nibabel.affines import voxel_sizes
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import SpatialImage
from tqdm import tqdm

from ..errors import InputError, one_line
from .labels import Labels
from .picture_reader import read_picture_header, read_stored, stored_max
from .reading import is_volume, reading, require_finite, size_text

__all__ = [
    "Finding", "Header", "Pair", "Problem", "inspect_headers", "inspect_pair", "inspect_pairs", "mixed_dimensions",
    "read_codes", "read_header",
]  # fmt: skip

AFFINE_TOLERANCE = 1e-3
CHUNK = 16  # pairs that a process gets at a time, at most

Pair = dict[str, str | list[str]]  # "image" and "label": a path, or a list with a path for each channel or class


@dataclass(frozen=True)
class Problem:
    """A problem of a file."""

    file: str
    kind: str
    message: str  # one line that names the file and says what to do
    error: bool  # True: the file cannot be used for training; False: it can, but the user should look at it

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))


class Header(NamedTuple):
    """The header of a picture or a volume."""

    size: tuple[int, ...]  # (width, height) or (x, y, z) after EXIF rotation; (x, y) of a volume of one slice
    stored: tuple[int, ...]  # the same before EXIF rotation
    depth: str  # bits per channel: "8", "16", "32 float" ...
    turn: int = 1  # EXIF orientation; 1 means none
    affine: np.ndarray | None = None
    dims: tuple[int, ...] = (2,)  # dimensions of the networks that take it: a volume of one slice suits both


@dataclass
class Finding:
    """
    The properties and problems of an image and its mask. It holds no pixels, so that many findings fit in memory.

    A property is None if it is unknown, because a file cannot be read.
    """

    problems: list[Problem] = field(default_factory=list)
    size: tuple[int, ...] | None = None
    channels: int | None = None
    depth: str | None = None
    foreground: float | None = None
    classes: list[float] | None = None  # share of each class, unless any value over 0 is foreground
    dims: tuple[int, ...] = ()  # dimensions of the networks that take the image
    image_digest: bytes | None = None
    mask_digest: bytes | None = None


def read_header(path: str) -> Header:
    """
    Read the header of a picture or a volume.

    Raises:
        InputError: the file is not an image, does not have 2 or 3 dimensions, or has voxels without a size.
    """
    if not is_volume(path):
        picture = read_picture_header(path)
        return Header(picture.size, picture.stored, picture.depth, picture.turn)
    with reading(path), LoggingOutputSuppressor():  # nibabel sets a spacing of 0 to 1, and logs it
        volume = cast(nibabel.Nifti1Image, nibabel.load(path))
        size = volume.shape[:3] if len(volume.shape) < 5 else volume.shape[:-1]  # the last axis holds the channels
        while len(size) > 2 and size[-1] == 1:
            size = size[:-1]
        if not 2 <= len(size) <= 3 or 0 in size:
            raise InputError(f"{path}: has the size {size_text(size)}; give it 2 or 3 dimensions")
        if len(size) == 3:  # in two dimensions, the spacing is of no use
            _require_spacing(volume, path)
        dtype = volume.get_data_dtype()
        depth = f"{dtype.itemsize * 8}{' float' if np.issubdtype(dtype, np.floating) else ''}"
        dims = (3,) if len(size) == 3 else (2,) if len(volume.shape) == 2 else (2, 3)
        return Header(size, size, depth, affine=volume.affine, dims=dims)


def _require_spacing(volume: nibabel.Nifti1Image, path: str) -> None:
    spacings = [voxel_sizes(volume.affine)]
    if volume.header["sform_code"] == 0:  # the affine follows from the header's spacing, in which nibabel replaced 0
        with volume.file_map["image"].get_prepare_fileobj("rb") as file:
            spacings.append(np.abs(volume.header_class.from_fileobj(file, check=False)["pixdim"][1:4]))
    for spacing in spacings:
        if not (np.isfinite(spacing).all() and spacing.all()):
            sizes = size_text([f"{one:g}" for one in spacing])
            raise InputError(f"{path}: its header says that the voxels are {sizes} mm; correct it")


def _read(path: str) -> tuple[np.ndarray, int]:
    """
    Read an image as training does: a picture (height, width[, channels]) or a volume (x, y[, z, channels]). Return the
    number that its values were divided by as well.
    """
    if not is_volume(path):
        stored = read_stored(path)
        return stored.astype(np.float32) / stored_max(stored), stored_max(stored)
    with reading(path):
        return np.asanyarray(cast(SpatialImage, nibabel.load(path)).dataobj).astype(np.float32, copy=False), 1


def _channels_first(array: np.ndarray, path: str) -> np.ndarray:
    return np.moveaxis(array, -1, 0) if array.ndim > (3 if is_volume(path) else 2) else array[None]


def read_codes(paths: str | Sequence[str], labels: Labels) -> np.ndarray:
    """
    Read a mask.

    Args:
        paths: its file, or a file for each class.
        labels: the classes.

    Returns:
        Codes (1, spatial...).

    Raises:
        InputError: a file cannot be read, or has a value of no class.
    """
    arrays = [(*_read(path), path) for path in ensure_tuple(paths)]
    return labels.decode(
        [_channels_first(array, path) for array, _, path in arrays], [most for _, most, _ in arrays], arrays[0][2]
    )


def _compare(pair: Pair, headers: dict[str, Header]) -> list[Problem]:
    """Find what does not match between the files of an image and its mask, as far as they can be read."""
    first, *channels = ensure_tuple(pair["image"])
    if first not in headers:
        return []
    problems = []
    for path in channels:
        if path in headers:
            problems += _compare_channels(first, path, headers)
    for path in ensure_tuple(pair["label"]):
        if path in headers:
            problems += _compare_mask(first, path, headers)
    return problems


def _compare_channels(first: str, path: str, headers: dict[str, Header]) -> list[Problem]:
    if headers[path].size != headers[first].size:
        sizes = f"is {size_text(headers[path].size)}, but {first} is {size_text(headers[first].size)}"
        return [Problem(path, "size", f"{path}: {sizes}; give the channels of an image the same size", True)]
    return _compare_affines(first, path, headers, "that of its image's first channel")


def _compare_mask(image_path: str, mask_path: str, headers: dict[str, Header]) -> list[Problem]:
    image, mask = headers[image_path], headers[mask_path]
    turned, other = (image_path, mask_path) if image.turn != 1 else (mask_path, image_path)
    if image.size != mask.size:
        if image.turn != mask.turn and image.stored == mask.stored:
            size = size_text(headers[turned].size)
            text = f"its EXIF tag turns it to {size}, but {other} is {size_text(image.stored)}; remove the tag"
            return [Problem(turned, "orientation", f"{turned}: {text}", True)]
        text = f"the mask is {size_text(mask.size)}, its image {size_text(image.size)}; give both the same size"
        return [Problem(mask_path, "size", f"{mask_path}: {text}", True)]
    if image.turn != mask.turn and image.stored == mask.stored:  # half a turn, or a square: the size does not change
        text = f"its EXIF tag turns it, but {other} has another tag or none; remove the tag unless both match"
        return [Problem(turned, "orientation", f"{turned}: {text}", False)]
    return _compare_affines(image_path, mask_path, headers, "its image's")


def _compare_affines(first: str, path: str, headers: dict[str, Header], whose: str) -> list[Problem]:
    one, other = headers[first].affine, headers[path].affine
    if one is None or other is None:
        return []
    difference = np.abs(one - other).max()
    if difference <= AFFINE_TOLERANCE:
        return []
    text = f"{path}: its affine differs from {whose} by {difference:.3g}; if they show the same place, make them equal"
    # The transforms for volumes turn and resample each file by its own affine, so the voxels would no longer match.
    same_grid = len(headers[first].size) == 2 or (
        nibabel.aff2axcodes(one) == nibabel.aff2axcodes(other)
        and np.abs(voxel_sizes(one) - voxel_sizes(other)).max() <= AFFINE_TOLERANCE
    )
    return [Problem(path, "orientation", text, not same_grid)]


def _headers(pair: Pair) -> tuple[dict[str, Header], list[Problem]]:
    headers, problems = {}, []
    for path in [*ensure_tuple(pair["image"]), *ensure_tuple(pair["label"])]:
        try:
            headers[path] = read_header(path)
        except InputError as error:
            problems.append(Problem(path, "unreadable", str(error), True))
    return headers, problems


def inspect_headers(pair: Pair) -> Finding:
    """
    Find the problems of an image and its mask that show in the files' headers.

    Args:
        pair: ``{"image": path, "label": path}``. A path may be a list of paths.

    Returns:
        The size and the problems. A header that cannot be read is one, too.
    """
    headers, problems = _headers(pair)
    finding = Finding(problems + _compare(pair, headers))
    first = ensure_tuple(pair["image"])[0]
    if first in headers:
        finding.size, finding.dims = headers[first].size, headers[first].dims
    return finding


def inspect_pair(pair: Pair, labels: Labels | None = None) -> Finding:
    """
    Read an image and its mask completely, and find their properties and problems.

    Args:
        pair: ``{"image": path, "label": path}``. A path may be a list of paths.
        labels: the classes. None: any value over 0 is foreground.

    Returns:
        The finding. A file that cannot be read is one of its problems.
    """
    headers, problems = _headers(pair)
    finding = Finding(problems)
    arrays: dict[str, np.ndarray] = {}
    most = {}
    for path in list(headers):
        try:
            arrays[path], most[path] = _read(path)
        except InputError as error:
            problems.append(Problem(path, "unreadable", str(error), True))
            del headers[path]  # the header of a broken file may be wrong
            continue
        try:
            require_finite(arrays[path], path)
        except InputError as error:
            problems.append(Problem(path, "nan", str(error), True))
            del arrays[path]
    problems += _compare(pair, headers)
    images, masks = ensure_tuple(pair["image"]), ensure_tuple(pair["label"])
    if all(path in arrays for path in images):
        header = headers[images[0]]
        finding.size, finding.depth, finding.dims = header.size, header.depth, header.dims
        finding.channels = sum(len(_channels_first(arrays[path], path)) for path in images)
        finding.image_digest = _digest([arrays[path] for path in images])
    channels = [_channels_first(arrays[path], path) for path in masks if path in arrays]
    if len(channels) == len(masks) and len({one.shape[1:] for one in channels}) == 1:
        _inspect_mask(channels, [most[path] for path in masks], masks[0], labels or Labels(), finding)
    return finding


def _inspect_mask(
    arrays: Sequence[np.ndarray], most: Sequence[int], path: str, labels: Labels, finding: Finding
) -> None:
    """Add the properties and problems of a mask to ``finding``. The first arguments are those of Labels.decode."""
    try:
        codes = labels.decode(arrays, most, path)
    except InputError as error:
        finding.problems.append(Problem(path, "label", str(error), True))
        return
    finding.foreground = float((codes > 0).mean())
    finding.mask_digest = _digest([codes])
    values = None
    if labels.form == "foreground":
        values = arrays[0].max(0)
    else:
        shares = np.bincount(codes.ravel(), minlength=len(labels.table)) / codes.size
        finding.classes = (shares @ labels.table).tolist()
    finding.problems += _mask_problems(path, values, finding.foreground)


def mixed_dimensions(pairs: Sequence[Pair], findings: Sequence[Finding]) -> dict[int, Problem]:
    """Return a problem for each image of other dimensions than most, by index. A network takes only one kind."""
    counts = Counter(finding.dims[0] for finding in findings if len(finding.dims) == 1)
    if len(counts) < 2:
        return {}
    (most, _), (few, _) = counts.most_common()
    problems = {}
    for index, (pair, finding) in enumerate(zip(pairs, findings)):
        if finding.dims == (few,) and finding.size:
            path = ensure_tuple(pair["image"])[0]
            text = f"{path}: is {few}D ({size_text(finding.size)}), but most images are {most}D; remove it"
            problems[index] = Problem(path, "dimensions", text, True)
    return problems


def _digest(arrays: Sequence[np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _mask_problems(path: str, values: np.ndarray | None, share: float) -> list[Problem]:
    """``values`` are those of a mask of which any value over 0 is foreground. None: the values are those of classes."""
    problems = []
    if share == 0:
        text = "the mask is empty; if the image has foreground, correct the mask"
        problems.append(Problem(path, "mask empty", f"{path}: {text}", False))
    elif share == 1:
        text = "the mask is full: all of it is foreground; if the image has background, correct the mask"
        problems.append(Problem(path, "mask full", f"{path}: {text}", False))
    if values is not None and not ((values == values.min()) | (values == values.max())).all():
        meaning = "those over half of the largest" if values.max() == 1 else "all over 0"
        count = len(np.unique(values))
        text = f"the mask has {count} values, not 2; {meaning} are foreground; if wrong, save 0 and 255"
        problems.append(Problem(path, "mask not binary", f"{path}: {text}", False))
    return problems


def _quiet() -> None:
    """
    Ignore Ctrl-C and silence the decoders in a worker process.

    The main process handles Ctrl-C, and prints one line for each broken file.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _inspect_chunk(pairs: Sequence[Pair], labels: Labels | None) -> list[Finding]:
    return [inspect_pair(pair, labels) for pair in pairs]


def inspect_pairs(pairs: Sequence[Pair], labels: Labels | None = None) -> list[Finding]:
    """
    Run :func:`inspect_pair` on many pairs, on all cores, with a progress bar.

    Each core holds one image and its mask at a time.

    Args:
        pairs: list of ``{"image": path, "label": path}``. A path may be a list of paths.
        labels: the classes. None: any value over 0 is foreground.

    Returns:
        The findings, in the order of the pairs.

    Raises:
        InputError: a process was killed, for example because memory ran out.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = max(1, min(CHUNK, len(pairs) // (4 * cores)))
    chunks = (pairs[start : start + size] for start in range(0, len(pairs), size))
    findings: list[Finding] = []
    # A forked process does not import everything again. For a small dataset, that would take longer than the check.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with (
        ProcessPoolExecutor(cores, context, _quiet) as pool,
        tqdm(total=len(pairs), desc="check", unit="pair", disable=None) as bar,
    ):
        inspect = partial(_inspect_chunk, labels=labels)
        submitted = deque(pool.submit(inspect, chunk) for chunk in islice(chunks, 4 * cores))
        while submitted:
            try:
                found = submitted.popleft().result()
            except BrokenProcessPool as error:
                near = ensure_tuple(pairs[len(findings)]["image"])[0]
                raise InputError(
                    f"{near}: the process that read this image or a later one was killed; free memory and try again"
                ) from error
            findings += found
            bar.update(len(found))
            submitted.extend(pool.submit(inspect, chunk) for chunk in islice(chunks, 1))
    return findings
