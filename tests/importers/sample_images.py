"""Small images and masks for the tests of the importers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 30)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image(path: Path, channels: int = 3) -> None:
    save(path, np.random.default_rng(len(path.name)).integers(0, 256, (*SIZE, channels), np.uint8))


def box(rows: slice, cols: slice, value: int = 255, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[rows, cols] = value
    return mask


def mask(path: Path, value: int = 255) -> None:
    save(path, box(slice(5, 9), slice(5, 12), value))


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
