"""Find problems of images and masks: quickly from their headers, or from all of their pixels on all cores."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, cast

import nibabel
import numpy as np
from nibabel.spatialimages import SpatialImage
from tqdm import tqdm

from ..errors import InputError, one_line
from .picture_reader import read_picture, read_picture_header
from .reading import foreground, is_volume, reading, require_finite, size_text

__all__ = ["Finding", "Header", "Problem", "inspect_headers", "inspect_pair", "inspect_pairs", "read_header"]

AFFINE_TOLERANCE = 1e-3
CHUNK = 16  # pairs that a process gets at a time, at most

Pair = dict[str, str]


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

    size: tuple[int, ...]  # (width, height) or (x, y, z) after EXIF rotation
    stored: tuple[int, ...]  # the same before EXIF rotation
    depth: str  # bits per channel: "8", "16", "32 float" ...
    turn: int = 1  # EXIF orientation; 1 means none
    affine: np.ndarray | None = None


@dataclass
class Finding:
    """
    The properties and problems of an image and its mask. It holds no pixels, so that many findings fit in memory.

    A property is None if it is unknown, because a file cannot be read.
    """

    problems: list[Problem]
    size: tuple[int, ...] | None = None
    channels: int | None = None
    depth: str | None = None
    foreground: float | None = None
    image_digest: bytes | None = None
    mask_digest: bytes | None = None


def read_header(path: str) -> Header:
    """
    Read the header of a picture or a volume.

    Raises:
        InputError: the file is not an image, or does not have 2 or 3 dimensions.
    """
    if not is_volume(path):
        picture = read_picture_header(path)
        return Header(picture.size, picture.stored, picture.depth, picture.turn)
    with reading(path):
        volume = cast(SpatialImage, nibabel.load(path))
        size = volume.shape[:3] if len(volume.shape) < 5 else volume.shape[:-1]  # the last axis holds the channels
        while len(size) > 2 and size[-1] == 1:
            size = size[:-1]
        if not 2 <= len(size) <= 3 or 0 in size:
            raise InputError(f"{path}: has the size {size_text(size)}; give it 2 or 3 dimensions")
        dtype = volume.get_data_dtype()
        depth = f"{dtype.itemsize * 8}{' float' if np.issubdtype(dtype, np.floating) else ''}"
        return Header(size, size, depth, affine=volume.affine)


def _read(path: str) -> np.ndarray:
    """Read an image as training does: a picture (height, width[, channels]) or a volume (x, y[, z, channels])."""
    if not is_volume(path):
        return read_picture(path)
    with reading(path):
        return np.asanyarray(cast(SpatialImage, nibabel.load(path)).dataobj).astype(np.float32, copy=False)


def _compare(pair: Pair, headers: dict[str, Header]) -> list[Problem]:
    """Find what does not match between an image and its mask. If one of them cannot be read, return no problem."""
    if len(headers) < 2:
        return []
    image, mask = headers["image"], headers["label"]

    def problem(key: str, kind: str, text: str, error: bool) -> list[Problem]:
        return [Problem(pair[key], kind, f"{pair[key]}: {text}", error)]

    turned, other = ("image", "label") if image.turn != 1 else ("label", "image")
    if image.size != mask.size:
        if image.turn != mask.turn and image.stored == mask.stored:
            size = size_text((image if turned == "image" else mask).size)
            text = f"its EXIF tag turns it to {size}, but {pair[other]} is {size_text(image.stored)}; remove the tag"
            return problem(turned, "orientation", text, True)
        text = f"the mask is {size_text(mask.size)}, its image {size_text(image.size)}; give both the same size"
        return problem("label", "size", text, True)
    if image.turn != mask.turn and image.stored == mask.stored:  # half a turn, or a square: the size does not change
        text = f"its EXIF tag turns it, but {pair[other]} has another tag or none; remove the tag unless both match"
        return problem(turned, "orientation", text, False)
    if image.affine is not None and mask.affine is not None:
        difference = np.abs(image.affine - mask.affine).max()
        if not difference <= AFFINE_TOLERANCE:  # also true for NaN
            text = (
                f"its affine differs from its image's by {difference:.3g}; if they show the same place, make them equal"
            )
            return problem("label", "orientation", text, False)
    return []


def _headers(pair: Pair) -> tuple[dict[str, Header], list[Problem]]:
    headers, problems = {}, []
    for key in ("image", "label"):
        try:
            headers[key] = read_header(pair[key])
        except InputError as error:
            problems.append(Problem(pair[key], "unreadable", str(error), True))
    return headers, problems


def inspect_headers(pair: Pair) -> list[Problem]:
    """
    Find the problems of an image and its mask that show in the files' headers.

    Args:
        pair: ``{"image": path, "label": path}``.

    Returns:
        The problems. A header that cannot be read is one, too.
    """
    headers, problems = _headers(pair)
    return problems + _compare(pair, headers)


def inspect_pair(pair: Pair) -> Finding:
    """
    Read an image and its mask completely, and find their properties and problems.

    Args:
        pair: ``{"image": path, "label": path}``.

    Returns:
        The finding. A file that cannot be read is one of its problems.
    """
    headers, problems = _headers(pair)
    finding = Finding(problems)
    arrays = {}
    for key in list(headers):
        try:
            arrays[key] = _read(pair[key])
        except InputError as error:
            problems.append(Problem(pair[key], "unreadable", str(error), True))
            del headers[key]  # the header of a broken file may be wrong
            continue
        try:
            require_finite(arrays[key], pair[key])
        except InputError as error:
            problems.append(Problem(pair[key], "nan", str(error), True))
            del arrays[key]
    problems += _compare(pair, headers)
    if "image" in arrays:
        image, header = arrays["image"], headers["image"]
        finding.size, finding.depth = header.size, header.depth
        finding.channels = image.shape[-1] if image.ndim > (3 if is_volume(pair["image"]) else 2) else 1
        finding.image_digest = _digest(image)
    if "label" in arrays:
        mask = arrays["label"]
        if mask.ndim > (3 if is_volume(pair["label"]) else 2):
            mask = mask.max(-1)
        inside = foreground(mask)
        finding.foreground = float(inside.mean())
        finding.mask_digest = _digest(inside)
        problems += _mask_problems(pair["label"], mask, finding.foreground)
    return finding


def _digest(array: np.ndarray) -> bytes:
    digest = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _mask_problems(path: str, mask: np.ndarray, share: float) -> list[Problem]:
    problems = []
    low, high = mask.min(), mask.max()
    if share == 0:
        text = "the mask is empty; if the image has foreground, correct the mask"
        problems.append(Problem(path, "mask empty", f"{path}: {text}", False))
    elif share == 1:
        text = "the mask is full: all of it is foreground; if the image has background, correct the mask"
        problems.append(Problem(path, "mask full", f"{path}: {text}", False))
    if not ((mask == low) | (mask == high)).all():
        meaning = "those over half of the largest" if high == 1 else "all over 0"
        text = f"the mask has {len(np.unique(mask))} values, not 2; {meaning} are foreground; if wrong, save 0 and 255"
        problems.append(Problem(path, "mask not binary", f"{path}: {text}", False))
    return problems


def _quiet() -> None:
    """
    Ignore Ctrl-C and silence the decoders in a worker process.

    The main process handles Ctrl-C, and prints one line for each broken file.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _inspect_chunk(pairs: Sequence[Pair]) -> list[Finding]:
    return [inspect_pair(pair) for pair in pairs]


def inspect_pairs(pairs: Sequence[Pair]) -> list[Finding]:
    """
    Run :func:`inspect_pair` on many pairs, on all cores, with a progress bar.

    Each core holds one image and its mask at a time.

    Args:
        pairs: list of ``{"image": path, "label": path}``.

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
        submitted = deque(pool.submit(_inspect_chunk, chunk) for chunk in islice(chunks, 4 * cores))
        while submitted:
            try:
                found = submitted.popleft().result()
            except BrokenProcessPool as error:
                near = pairs[len(findings)]["image"]
                raise InputError(
                    f"{near}: the process that read this image or a later one was killed; free memory and try again"
                ) from error
            findings += found
            bar.update(len(found))
            submitted.extend(pool.submit(_inspect_chunk, chunk) for chunk in islice(chunks, 1))
    return findings
