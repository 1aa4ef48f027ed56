"""An iterable dataset that puts images of one size together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

__all__ = ["EqualSizes"]


class EqualSizes(IterableDataset):
    """
    Put small images of one size together, so that the network sees them as one batch. Each item is a list, which
    MONAI's ``DataLoader`` makes one batch with ``batch_size`` 1.

    An image larger than a window is a list by itself: its own windows make batches. So is one of which ``number`` would
    have more than ``WAITING`` pixels. The lists come in the order in which they are full.

    ``monai.data.pad_list_data_collate`` pads images to one size instead, which would change the logits, as the network
    averages over its whole input.

    Args:
        images: items with an ``image``, (channels, spatial...), with metadata. Those whose metadata differs in its
            kind, such as a PNG and a NIfTI, are in lists of their own.
        number: of images in a list, at most.
        window: size of the windows, (spatial...).
    """

    WAITING = 2**22  # pixels at most, 64 images of 256 x 256, so that many sizes do not fill the memory

    def __init__(self, images: Iterable[Mapping[str, Any]], number: int, window: Sequence[int]) -> None:
        self.images = images
        self.number = number
        self.window = window

    def __iter__(self) -> Iterator[list[Mapping[str, Any]]]:
        waiting: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for item in self.images:
            image = item["image"]
            several_windows = any(side > most for side, most in zip(image.shape[1:], self.window))
            if several_windows or self.number * image[0].numel() > self.WAITING:
                yield [item]
                continue
            kind = image.shape, *((name, np.shape(value)) for name, value in image.meta.items())
            waiting.setdefault(kind, []).append(item)
            if len(waiting[kind]) == self.number:
                yield waiting.pop(kind)
            elif sum(one["image"][0].numel() for group in waiting.values() for one in group) >= self.WAITING:
                yield waiting.pop(max(waiting, key=lambda each: len(waiting[each])))
        yield from waiting.values()
