"""What all networks share that another runtime computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.config import PathLike
from torch import nn

from ..data.reading import size_text
from ..errors import InputError

__all__ = ["ExportedNetwork"]


class ExportedNetwork(nn.Module):
    """
    Base of the networks that another runtime computes from an exported file. MONAI's inferers and engines call them as
    any other network. MONAI exports networks, but has no class that runs the exported file. The weights are in the
    file: torch can neither load nor train them.

    A subclass opens the file and implements :meth:`compute`.

    Args:
        path: the exported file.
        input_shape: (batch, channels, spatial...) that the file takes. An entry that is not an integer is free. Where
            the batch is 1, the images of a larger batch are computed one by one.
        device: where ``compute`` takes its images. The result is returned on the device of the input.
    """

    def __init__(self, path: PathLike, input_shape: Sequence[object], device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.path = path
        self.input_shape = tuple(input_shape)
        self.device = device

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's output for float32 images (batch, channels, spatial...) of a shape that was checked."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Args:
            images: (batch, channels, spatial...).

        Raises:
            InputError: the file was exported for another size.
        """
        results = []
        for batch in images.split(1) if self.input_shape[0] == 1 else [images]:
            if any(isinstance(size, int) and size != given for size, given in zip(self.input_shape, batch.shape)):
                raise InputError(
                    f"{self.path}: takes {size_text(self.input_shape)}, not {size_text(batch.shape)}; set roi_size to "
                    "its size, or export it again for this size"
                )
            results.append(self.compute(batch.float().to(self.device)))
        return torch.cat(results).to(images.device)
