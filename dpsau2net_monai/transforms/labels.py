"""From probabilities to masks, and from masks to a channel for each class."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..data.labels import Labels, require_threshold

__all__ = ["LabelToChannelsd", "ProbabilityToLabeld"]


class ProbabilityToLabeld(MapTransform):
    """
    Decide on the classes: the most probable one, or for classes that may overlap, those whose probability reaches the
    threshold. ``monai.transforms.AsDiscrete`` does either, but not the combinations of regions that a dataset knows.

    Args:
        keys: keys of the probabilities, each (channels, spatial...). Channels after those of the classes are ignored.
        labels: the classes.
        threshold: of the probabilities of classes that may overlap, and of a single class.

    Returns (of a call):
        Codes (1, spatial...), see :class:`dpsau2net_monai.data.Labels`.

    Raises:
        InputError: the threshold is no number from 0 to 1.
    """

    def __init__(self, keys: KeysCollection, labels: Labels, threshold: float = 0.5) -> None:
        super().__init__(keys)
        require_threshold(threshold)
        self.labels = labels
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.labels.codes(result[key][: self.labels.out_channels], self.threshold)
        return result


class LabelToChannelsd(MapTransform):
    """
    Make a channel of 0 and 1 for each class. ``monai.transforms.AsDiscrete`` makes one-hot channels of classes that
    exclude each other only.

    Args:
        keys: keys of the codes, each (1, spatial...).
        labels: the classes. The background has no channel.
    """

    def __init__(self, keys: KeysCollection, labels: Labels) -> None:
        super().__init__(keys)
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.labels.channels(result[key])
        return result
