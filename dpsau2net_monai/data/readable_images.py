"""Many images, of which some may be broken."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from monai.data import IterableDataset
from tqdm import tqdm

from ..errors import InputError, root_input_error
from ..files import whole_file

__all__ = ["ReadableImages"]


class ReadableImages(IterableDataset):
    """
    The images that can be read, one after the other, with a progress bar. One that cannot does not stop the others, as
    it would in ``monai.data.Dataset``, but goes to a table.

    Args:
        data: list of ``{"image": path}``.
        transform: loads and prepares an image.
        failed: CSV file to write the columns ``image`` and ``error`` to, where an image cannot be read.
        progress: whether to show the progress bar, where a person watches.
    """

    def __init__(self, data: Sequence[dict[str, str]], transform: Callable, failed: str, progress: bool = True) -> None:
        super().__init__(data, transform)
        self.failed = Path(failed)
        self.progress = progress
        self.errors: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[Any]:
        self.errors = []
        self.failed.unlink(missing_ok=True)  # a former run's
        for item in tqdm(self.data, desc="segmentation", unit="image", disable=None if self.progress else True):
            try:
                loaded = self.transform(item)
            except Exception as error:
                cause = root_input_error(error)
                if cause is None:
                    raise
                self.errors.append((item["image"], str(cause)))
                with (
                    whole_file(self.failed) as part,
                    open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
                ):
                    csv.writer(file).writerows([("image", "error"), *self.errors])
                continue
            yield loaded

    def report(self) -> None:
        """
        Raises:
            InputError: after all were read, some could not be.
        """
        if len(self.errors) == 1:
            raise InputError(self.errors[0][1])
        if self.errors:
            raise InputError(f"{len(self.errors)} of {len(self.data)} images could not be read: see {self.failed}")
