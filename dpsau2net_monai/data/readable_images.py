"""An iterable dataset that skips broken images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from monai.data import IterableDataset
from monai.utils import ensure_tuple
from tqdm import tqdm

from ..errors import InputError, root_input_error
from ..files import whole_file
from .inspection import Pair

__all__ = ["ReadableImages"]


class ReadableImages(IterableDataset):
    """
    Iterate over the images that can be read, with a progress bar.

    An image that cannot be read is listed in a CSV, and the iteration goes on. In ``monai.data.Dataset`` it would stop
    the iteration.

    Args:
        data: list of ``{"image": path}``, or of ``{"image": [path, path]}`` for images of several files.
        transform: transform that loads and prepares an image.
        failed: CSV to write if an image cannot be read, with the columns ``image`` and ``error``.
        progress: whether to show the progress bar. It shows only in a terminal.
    """

    data: Sequence[Pair]
    transform: Callable

    def __init__(self, data: Sequence[Pair], transform: Callable, failed: str, progress: bool = True) -> None:
        super().__init__(data, transform)
        self.failed = Path(failed)
        self.progress = progress
        self.errors: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[Any]:
        self.errors = []
        self.failed.unlink(missing_ok=True)  # from an earlier run
        for item in tqdm(self.data, desc="segmentation", unit="image", disable=None if self.progress else True):
            try:
                loaded = self.transform(item)
            except Exception as error:
                cause = root_input_error(error)
                if cause is None:
                    raise
                self.errors.append((ensure_tuple(item["image"])[0], str(cause)))
                with (
                    whole_file(self.failed) as part,
                    open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
                ):
                    csv.writer(file).writerows([("image", "error"), *self.errors])
                continue
            yield loaded

    def raise_failures(self) -> None:
        """
        Report the images that could not be read. Call it after the iteration.

        Raises:
            InputError: at least one image could not be read.
        """
        if len(self.errors) == 1:
            raise InputError(self.errors[0][1])
        if self.errors:
            raise InputError(f"{len(self.errors)} of {len(self.data)} images could not be read: see {self.failed}")
