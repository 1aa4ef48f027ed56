"""What the masks of a dataset mean: the one definition that everything about classes follows from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from ..errors import InputError
from .reading import foreground, is_volume

__all__ = ["Labels", "require_threshold"]

COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
BACKGROUND = "background"
MOST_OVERLAPPING = 16  # classes that may overlap: each combination of them has a code
TOLERANCE = 0.01  # distance of a stored value from an integer; a 16-bit picture is divided in single precision


def _combinations(classes: int) -> np.ndarray:
    """Return all combinations of classes that may overlap, as booleans (2^classes, classes)."""
    return (np.arange(2**classes)[:, None] >> np.arange(classes)) % 2 == 1


def _with_meta(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return ``tensor`` with the metadata of ``like``, if that has any."""
    return MetaTensor(torch.as_tensor(tensor)).copy_meta_from(like) if isinstance(like, MetaTensor) else tensor


def require_threshold(threshold: float) -> None:
    """
    Args:
        threshold: of the probability of a single class, and of classes that overlap.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; it must be a number from 0 to 1")


class Labels:
    """
    The classes of a dataset's masks. The number of output channels, the activation, the decoding and the writing of
    masks, the names and the order of the classes in metrics and pictures all follow from it.

    Args:
        definition: one of

            - a name, such as ``nucleus``: one class, which is every value over 0. None means ``foreground``.
            - names and values, ``{background: 0, anterior: 1, posterior: 2}``, as in a ``dataset.json``: classes that
              exclude each other. Without ``background``, 0 is the background.
            - names and lists of values, ``{background: 0, whole tumour: [1, 2, 3], core: [2, 3]}``: regions that may
              overlap, as in nnU-Net.
            - colours and names, ``{"#ff0000": tumour, "#00ff00": stroma}``: classes in pictures with these colours.
              Without a colour of ``background``, black is the background.
            - a list of names, ``[cell, nucleus]``: each class has masks of its own, and they may overlap. The masks are
              ``masks/CLASS/NAME.EXT``, or the channels of a one-hot NIfTI.

    Raises:
        InputError: the definition is none of these, or contradicts itself.

    Masks are tensors of *codes*: one channel of integers from 0. Code 0 is the background. Where classes exclude each
    other, code i is class i. Otherwise, a code is a combination of classes. :meth:`channels` makes a channel for each
    class.
    """

    def __init__(self, definition: str | Mapping[str, Any] | Sequence[str] | Labels | None = None) -> None:
        if isinstance(definition, Labels):
            definition = definition.definition
        self.definition: Any = "foreground" if definition is None else definition
        self.form: str
        self.names: list[str]  # of the classes, without the background
        self.values: list[int | tuple[int, ...]]  # that a mask's file has for each code, colours as (red, green, blue)
        if isinstance(self.definition, str):
            self.form, self.names, self.values = "foreground", [self.definition], [0, 1]
            self.table = np.array([[False], [True]])  # whether a code is in a class
        elif isinstance(self.definition, Mapping):
            if any(COLOUR.fullmatch(str(key)) for key in self.definition):
                self._define_colours(self.definition)
            else:
                self._define_values(self.definition)
        elif isinstance(self.definition, Sequence):
            self.form, self.names = "files", [str(name) for name in self.definition]
            self._check_names()
            self.table = _combinations(len(self.names))
            self.values = list(range(len(self.table)))
        else:
            raise InputError(f"labels is {definition!r}; give a name, a list of names, or names and their values")

    def _define_values(self, definition: Mapping[str, Any]) -> None:
        def integers(name: str, value: Any) -> list[int]:
            try:
                return [int(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError(f"labels: the value of '{name}' is {value!r}; give an integer or a list") from error

        values = {str(name): integers(name, value) for name, value in definition.items()}
        regions = any(isinstance(value, (list, tuple)) for value in definition.values())
        background = next((values.pop(name) for name in list(values) if name.lower() == BACKGROUND), [0])
        self.form, self.names = "regions" if regions else "values", list(values)
        self._check_names()
        foreground = [value for of_class in values.values() for value in of_class]
        if len(background) != 1 or background[0] in foreground:
            raise InputError("labels: the background has one value, and no class has it")
        if not regions and len(set(foreground)) < len(foreground):
            raise InputError("labels: two classes have one value; write lists of values for regions that overlap")
        self.values = [background[0], *dict.fromkeys(foreground)]
        self.table = np.array([[value in of_class for of_class in values.values()] for value in self.values])

    def _define_colours(self, definition: Mapping[str, Any]) -> None:
        colours: dict[str, tuple[int, ...]] = {}
        for colour, name in definition.items():
            if not COLOUR.fullmatch(str(colour)) or str(name) in colours:
                raise InputError(f"labels: '{colour}: {name}' is not a colour such as #ff0000 with a name of its own")
            colours[str(name)] = tuple(bytes.fromhex(str(colour)[1:]))
        background = next((colours.pop(name) for name in list(colours) if name.lower() == BACKGROUND), (0, 0, 0))
        self.form, self.names = "colours", list(colours)
        self._check_names()
        self.values = [background, *colours.values()]
        if len(set(self.values)) < len(self.values):
            raise InputError("labels: two classes have one colour, or one class has the background's")
        self.table = np.eye(len(self.values), dtype=bool)[:, 1:]

    def _check_names(self) -> None:
        if not self.names:
            raise InputError("labels: has no class but the background; name at least one")
        if self.form in ("regions", "files") and len(self.names) > MOST_OVERLAPPING:
            raise InputError(f"labels: has {len(self.names)} classes that may overlap; {MOST_OVERLAPPING} are the most")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.definition == other.definition

    def __repr__(self) -> str:
        return f"Labels({self.definition!r})"

    @property
    def softmax(self) -> bool:
        """Whether the network has a channel for the background and softmax follows. Otherwise, sigmoid follows."""
        return self.form in ("values", "colours") and len(self.names) > 1

    @property
    def out_channels(self) -> int:
        """Number of channels of the network's output."""
        return len(self.names) + self.softmax

    @property
    def channel_names(self) -> list[str]:
        """A name for each channel of the network's output."""
        return [BACKGROUND] * self.softmax + self.names

    def channels(self, codes: torch.Tensor, background: bool = False) -> torch.Tensor:
        """
        Make a channel of 0 and 1 for each class.

        Args:
            codes: (1, spatial...).
            background: whether the background has a channel too, the first.

        Returns:
            (channels, spatial...), of the dtype of ``codes``, with its metadata.
        """
        if self.form == "foreground":
            return codes
        table = torch.as_tensor(self.table, device=codes.device)
        if background:
            table = torch.cat([~table.any(1, keepdim=True), table], 1)
        channels = torch.stack([column[codes[0].long()] for column in table.T]).to(codes.dtype)
        return _with_meta(channels, codes)

    def codes(self, probability: torch.Tensor, threshold: float) -> torch.Tensor:
        """
        Decide on the classes.

        Args:
            probability: (out_channels, spatial...), after softmax or sigmoid.
            threshold: of the sigmoid's probabilities.

        Returns:
            Codes (1, spatial...) of the same dtype, with the metadata. A combination of regions that no value has
            becomes that of the value which differs in the fewest regions.
        """
        if self.softmax:
            codes = probability.argmax(0, keepdim=True)
        elif len(self.names) == 1:
            codes = probability >= threshold
        else:
            weights = torch.tensor([2**i for i in range(len(self.names))], device=probability.device)
            inside = torch.as_tensor(probability >= threshold)
            combination = (inside * weights.view(-1, *[1] * (probability.ndim - 1))).sum(0, keepdim=True)
            if self.form == "files":
                codes = combination
            else:
                codes = torch.as_tensor(self._code_of_combination, device=probability.device)[combination.long()]
        return _with_meta(codes.to(probability.dtype), probability)

    @cached_property
    def _code_of_combination(self) -> np.ndarray:
        """The code for each combination of regions."""
        differences = (_combinations(len(self.names))[:, None] != self.table[None]).sum(2)
        return differences.argmin(1)

    def decode(self, arrays: Sequence[np.ndarray], stored_max: Sequence[float], path: str) -> np.ndarray:
        """
        Decode masks as they are read.

        Args:
            arrays: (channels, spatial...): one array, or, for masks in files of their own, one for each class.
            stored_max: number that each array's stored values were divided by, such as 255 for pictures of 8 bits.
            path: for messages.

        Returns:
            Codes (1, spatial...), booleans or uint16.

        Raises:
            InputError: a value is no class's, or the arrays do not fit the classes.
        """
        if len({array.shape[1:] for array in arrays}) > 1:
            raise InputError(f"{path}: has another size than the other masks of its image")
        if self.form == "files":
            return self._decode_files(arrays, path)
        if len(arrays) > 1:
            text = f"{path}: is one of {len(arrays)} masks of an image, but the labels are values in one mask"
            raise InputError(f"{text}; list a class for each mask, such as [cell, nucleus]")
        if self.form == "foreground":
            return self._decode_one_class(arrays[0], path)[None]
        # a picture's integers were divided in single precision
        array = arrays[0].astype(np.float64) * stored_max[0]
        if self.form == "colours":
            return self._decode_colours(array, path)
        if not is_volume(path) and (array == array[:1]).all():  # grey, stored as RGB
            array = array[:1]
        if len(array) == 1:
            return self._look_up(array, [int(value) for value in self.values if isinstance(value, int)], path, str)
        if not is_volume(path):
            text = f"{path}: is in colours, or has a palette of colours, but the labels are values"
            raise InputError(f'{text}; give the labels as {{"#ff0000": NAME}}, or save the values in one channel')
        return self._decode_one_hot(array, path)

    def _decode_files(self, arrays: Sequence[np.ndarray], path: str) -> np.ndarray:
        if len(arrays) == 1 < len(self.names):  # one-hot
            channels = [foreground(one) for one in arrays[0]]
        else:
            channels = [self._decode_one_class(array, path) for array in arrays]
        if len(channels) != len(self.names):
            text = f"{path}: has {len(channels)} channels, but there are {len(self.names)} classes"
            raise InputError(f"{text} ({', '.join(self.names)})")
        codes = sum(channel.astype(np.uint16) << i for i, channel in enumerate(channels))
        return np.asarray(codes)[None]

    def _decode_one_class(self, array: np.ndarray, path: str) -> np.ndarray:
        if len(array) > 1 and is_volume(path):  # one of them may be the background
            raise InputError(f"{path}: is a mask of {len(array)} channels, but of one class; save one channel")
        return foreground(array.max(0))

    def _decode_one_hot(self, array: np.ndarray, path: str) -> np.ndarray:
        if self.form == "regions":  # channels of values and of regions look alike
            text = f"{path}: is a mask of {len(array)} channels, but the labels are regions"
            raise InputError(f"{text}; save one channel of their values")
        classes = array[len(array) - len(self.names) :] > 0.5
        if len(array) not in (len(self.names), len(self.names) + 1):
            text = f"{path}: is a mask of {len(array)} channels, but the labels have {len(self.names)} classes"
            raise InputError(f"{text}; save one channel of their values, or one-hot channels")
        several = int((classes.sum(0) > 1).sum())
        if several:
            raise InputError(f"{path}: {several} pixels are in several classes, but the labels are mutually exclusive")
        return np.where(classes.any(0), classes.argmax(0) + 1, 0)[None].astype(np.uint16)

    def _decode_colours(self, array: np.ndarray, path: str) -> np.ndarray:
        if len(array) not in (1, 3):
            raise InputError(f"{path}: is a mask of {len(array)} channels, but the labels are colours; save it as RGB")
        red, green, blue = np.rint(array).astype(np.int64) if len(array) == 3 else [np.rint(array[0]).astype(int)] * 3
        colours = [(r << 16) + (g << 8) + b for r, g, b in self.values]  # type: ignore[misc]
        return self._look_up(((red << 16) + (green << 8) + blue)[None], colours, path, "#{:06x}".format)

    def _look_up(self, array: np.ndarray, known: Sequence[int], path: str, name: Any) -> np.ndarray:
        order = np.argsort(known)
        ordered = np.asarray(known)[order]
        values = np.rint(array).astype(np.int64)
        index = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
        wrong = (ordered[index] != values) | (np.abs(array - values) > TOLERANCE)
        if wrong.any():
            strange, counts = np.unique(array[wrong], return_counts=True)
            first = strange[counts.argmax()]
            text = name(int(first)) if first == int(first) else f"{first:g}"
            more = f", and {len(strange) - 1} other values" if len(strange) > 1 else ""
            classes = ", ".join(map(name, known))
            raise InputError(
                f"{path}: {counts.max()} pixels have the value {text}{more}; the labels have {classes}: correct one"
            )
        return order[index].astype(np.uint16)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """
        Return codes as the dataset's files have them.

        Args:
            codes: (spatial...) of integers.

        Returns:
            (spatial...) of the dataset's values, in the smallest unsigned type that holds them or in int32, or for
            colours (spatial..., 3) in uint8.
        """
        values = np.asarray(self.values)
        if self.form == "colours":
            return values.astype(np.uint8)[codes]
        return values.astype(np.min_scalar_type(values.max()) if values.min() >= 0 else np.int32)[codes]
