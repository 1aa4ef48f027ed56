"""An iterable dataset that skips broken images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.data import IterableDataset
from monai.utils import ensure_tuple
from tqdm import tqdm

from ..errors import InputError, causes, root_input_error
from ..files import whole_file
from .inspection import Pair

__all__ = ["ReadableImages"]


class ReadableImages(IterableDataset):
    """
    Iterate over the images that can be read, with a progress bar.

    An image that cannot be read is listed in a CSV, and the iteration goes on. In ``monai.data.Dataset`` it would stop
    the iteration.

    The processes of a distributed run share the images: each process iterates over its own.
    ``monai.data.DistributedSampler`` does this for datasets with indices only.

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
        self.errors: dict[int, tuple[str, str]] = {}  # by the number of the image

    def __iter__(self) -> Iterator[Any]:
        rank, processes = idist.get_rank(), idist.get_world_size()
        if rank == 0:
            self.failed.unlink(missing_ok=True)  # from an earlier run
        self.errors = {}
        # the first process's list, and no process begins before all have theirs: it depends on the masks that there are
        lists: Any = idist.all_gather(self.data)
        self.data = lists[0]
        numbers = range(rank, len(self.data), processes)
        shown = self.progress and rank == 0
        for number in tqdm(numbers, desc="segmentation", unit="image", disable=None if shown else True):
            item = self.data[number]
            try:
                loaded = self.transform(item)
            except Exception as error:
                cause = root_input_error(error)
                if cause is None:
                    raise
                self._add_error(number, cause)
                continue
            yield loaded

    def skipping(self, transform: Callable) -> Callable:
        """
        Return ``transform`` for what becomes of the images. It leaves out an image that it cannot read again, because
        the file has vanished in the meantime for example, and lists it with the others that could not be read.

        Args:
            transform: transform of an item with the path of its image, ``image_path``.
        """

        def transform_or_skip(item: Mapping[str, Any]) -> Any:
            try:
                return transform(item)
            except Exception as error:
                # not root_input_error, as a full disk would end each of the others
                cause = next((one for one in causes(error) if isinstance(one, InputError)), None)
                if cause is None:
                    raise
                paths = [ensure_tuple(one["image"])[0] for one in self.data]
                self._add_error(paths.index(item["image_path"]), cause)
                return item

        return transform_or_skip

    def _add_error(self, number: int, error: InputError) -> None:
        self.errors[number] = ensure_tuple(self.data[number]["image"])[0], str(error)
        if idist.get_world_size() == 1:
            self._write_errors()

    def _write_errors(self) -> None:
        with (
            whole_file(self.failed) as part,
            open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            csv.writer(file).writerows([("image", "error"), *self.errors.values()])

    def raise_failures(self) -> None:
        """
        Report the images that could not be read. Call it after the iteration, in all processes. The first one reports
        for all of them.

        Raises:
            InputError: at least one image could not be read.
        """
        parts: Any = idist.all_gather(self.errors)  # Ignite's types do not allow for dictionaries
        errors = [error for part in parts for error in part.items()]
        if not errors or idist.get_rank() > 0:
            return
        self.errors = dict(sorted(errors))
        self._write_errors()
        if len(self.errors) == 1:
            raise InputError(next(iter(self.errors.values()))[1])
        raise InputError(f"{len(self.errors)} of {len(self.data)} images could not be read: see {self.failed}")
