"""Writing masks, pictures of masks over their images, and tables of instances."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform
from monai.utils import ImageMetaKey, MetaKeys
from PIL import Image

from ..data.images import mask_path
from ..data.picture_reader import PictureReader
from ..data.reading import is_volume, name_of, reading
from ..files import whole_file
from ..metrics import instance_table, split_instances
from ..visualize import as_pictures, draw_contours

__all__ = ["SaveInstanceTabled", "SaveMaskd", "SaveOverlayd"]


class SaveMaskd(MapTransform):
    """
    Write binary masks as uint8 files. A mask gets its image's name, size and kind: PNG of 0 and 255 for a picture,
    NIfTI of 0 and 1 with the image's affine for a NIfTI. ``monai.transforms.SaveImaged`` writes one kind for all
    images, drops the single-slice axis of a NIfTI, and leaves half a file when it is stopped.

    Args:
        keys: keys of the masks, each (1, spatial...) of 0 and 1, with the metadata of its image.
        output_dir: folder to write ``NAME.png`` or ``NAME.nii.gz`` to.
    """

    def __init__(self, keys: KeysCollection, output_dir: str) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        for key in self.key_iterator(data):
            meta = data[key].meta
            mask = torch.as_tensor(data[key][0]).cpu().numpy().astype(np.uint8)
            path = mask_path(self.output_dir, meta[ImageMetaKey.FILENAME_OR_OBJ])
            with whole_file(path) as part:
                if is_volume(path):
                    shape = [int(size) for size in meta[MetaKeys.SPATIAL_SHAPE]]
                    nibabel.save(
                        nibabel.Nifti1Image(mask.reshape(shape), np.asarray(meta[MetaKeys.ORIGINAL_AFFINE])), part
                    )
                else:
                    Image.fromarray(mask.T * 255).save(part)  # from MONAI's (x, y) to (row, column)
        return dict(data)


class SaveOverlayd(MapTransform):
    """
    Write a picture of each mask's contour on its image (see :func:`dpsau2net_monai.visualize.draw_contours`). For a
    volume, it is the slice along the last axis that has the most foreground. ``monai.visualize.blend_images`` colours
    areas, which hides the edges.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of 0 and 1.
        output_dir: folder to write ``NAME.png`` to.
        image_key: key of the images, (channels, spatial...), with their metadata.
        label_key: key of the true masks. None: there are none.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str, image_key: str = "image", label_key: str | None = None
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        image = data[self.image_key]
        truth = [] if self.label_key is None else [data[self.label_key]]
        for key in self.key_iterator(data):
            picture = draw_contours(*as_pictures(image, data[key], *truth))
            with whole_file(self.output_dir / f"{name_of(image.meta[ImageMetaKey.FILENAME_OR_OBJ])}.png") as part:
                Image.fromarray(picture).save(part)
        return dict(data)


class SaveInstanceTabled(MapTransform):
    """
    Write a table of the instances in each mask: a row for each instance, only the head where there is none (see
    :func:`dpsau2net_monai.metrics.split_instances` and ``instance_table``). MONAI has no such transform.

    The intensities are those in the image's file. The file is read again, as the dictionary's image is normalised.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of 0 and 1.
        output_dir: folder to write ``NAME.csv`` to.
        image_key: key of the images, with their metadata.
    """

    def __init__(self, keys: KeysCollection, output_dir: str, image_key: str = "image") -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.load = LoadImage(image_only=True, ensure_channel_first=True)
        self.load.register(PictureReader())

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        path = data[self.image_key].meta[ImageMetaKey.FILENAME_OR_OBJ]
        image = self._stored(path)
        for key in self.key_iterator(data):
            mask = torch.as_tensor(data[key][0]).cpu().numpy()
            # the mask's shape lacks the single-slice axis of a volume where the network is 2D; channels go last
            values = np.moveaxis(image.reshape(len(image), *mask.shape), 0, -1)
            if mask.ndim == 2:  # from MONAI's (x, y) to (row, column)
                mask, values = mask.T, values.swapaxes(0, 1)
            table = instance_table(split_instances(mask), values[..., 0] if len(image) == 1 else values)
            output = self.output_dir / f"{name_of(path)}.csv"
            with whole_file(output) as part, open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(table)
                for row in zip(*(column.tolist() for column in table.values())):
                    writer.writerow([value if isinstance(value, int) else f"{value:.6g}" for value in row])
        return dict(data)

    def _stored(self, path: str) -> np.ndarray:
        """Read an image (channels, spatial...) with the values in its file."""
        with reading(path):
            image = self.load(path)
        array = image.numpy().astype(np.float64)
        most = image.meta.get("stored_max", 1)  # the reader divides a picture's integers by it
        return np.rint(array * most) if most > 1 else array
