"""Writing masks, and pictures of masks over their images."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import LoadImage, MapTransform
from monai.utils import ImageMetaKey, MetaKeys
from PIL import Image
from skimage.segmentation import find_boundaries

from ..data.datalist import name_of
from ..data.picture_reader import PictureReader, read_picture_header
from ..data.reading import is_volume, reading
from ..files import whole_file
from ..objects import object_table, split_objects

__all__ = [
    "SaveMaskd",
    "SaveObjectsd",
    "SaveOverlayd",
    "as_pictures",
    "draw_contours",
    "mask_path",
    "stretch",
    "without_masks",
]

# told apart by people of every colour vision (Okabe and Ito's palette)
TRUTH, PREDICTION, BOTH = (230, 159, 0), (86, 180, 233), (255, 255, 255)


def mask_path(output_dir: str | os.PathLike, image: str | os.PathLike) -> Path:
    """Where the mask of ``image`` is written: ``NAME.nii.gz`` for a NIfTI, ``NAME.png`` for a picture."""
    return Path(output_dir) / f"{name_of(image)}{'.nii.gz' if is_volume(image) else '.png'}"


def without_masks(images: Sequence[dict[str, str]], output_dir: str | os.PathLike) -> list[dict[str, str]]:
    """Of a list of ``{"image": path}``, those whose masks :class:`SaveMaskd` has still to write to ``output_dir``."""
    left = [image for image in images if not mask_path(output_dir, image["image"]).exists()]
    if len(left) < len(images):
        logging.getLogger(__name__).info(
            f"{len(images) - len(left)} of {len(images)} images have a mask in {output_dir} already; "
            "overwrite makes them anew"
        )
    return left


class SaveMaskd(MapTransform):
    """
    Write binary masks as uint8 files of their images' names, sizes and kinds: a PNG of 0 and 255 for a picture, a NIfTI
    of 0 and 1 with the image's affine for a NIfTI. ``monai.transforms.SaveImaged`` writes one kind, whatever the images
    are, drops a NIfTI's single-slice axis, and leaves half a file when it is stopped.

    Args:
        keys: keys of the masks, each (1, spatial...) of 0 and 1, with the metadata of the image that it belongs to.
        output_dir: folder to write ``NAME.png`` or ``NAME.nii.gz`` to.
    """

    def __init__(self, keys: KeysCollection, output_dir: str) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
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


def stretch(image: np.ndarray) -> np.ndarray:
    """
    Args:
        image: (height, width, channels) of any range and 1, 3 or 4 channels.

    Returns:
        uint8 array (height, width, 3), stretched to the full range between the image's 0.2 and 99.8 %; without alpha.
    """
    image = image[..., :3]
    low, high = np.percentile(image, (0.2, 99.8))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return (np.broadcast_to(grey, (*grey.shape[:2], 3)) * 255).astype(np.uint8)


def draw_contours(image: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """
    Draw the contour of a mask, and that of the true mask, on an image.

    Args:
        image: (height, width, channels) of any range; see :func:`stretch`.
        prediction: (height, width) of 0 and 1; its contour is blue.
        truth: (height, width) of 0 and 1; its contour is orange, and white where the two coincide.

    Returns:
        uint8 array (height, width, 3), enlarged by a whole number until its longer side has at least 512 pixels.
    """
    picture = stretch(image)
    factor = max(1, math.ceil(512 / max(picture.shape[:2])))

    def enlarge(array: np.ndarray) -> np.ndarray:
        return array.repeat(factor, axis=0).repeat(factor, axis=1)

    picture = enlarge(picture)
    predicted = find_boundaries(enlarge(prediction > 0), mode="inner")
    picture[predicted] = PREDICTION
    if truth is not None:
        true = find_boundaries(enlarge(truth > 0), mode="inner")
        picture[true] = TRUTH
        picture[true & predicted] = BOTH
    return picture


def as_pictures(image: torch.Tensor, *masks: torch.Tensor) -> list[np.ndarray]:
    """
    What there is to look at of an image and its masks.

    Args:
        image: (channels, spatial...).
        masks: each (1, spatial...) of 0 and 1; of volumes, the slice of the last axis with the most foreground counts.

    Returns:
        The image (row, column, channel) and the masks (row, column), from MONAI's (x, y).
    """
    arrays = [torch.as_tensor(array).float().cpu().numpy() for array in (image, *masks)]
    if image.ndim == 4:
        slice_ = int(sum(array[0].sum((0, 1)) for array in arrays[1:]).argmax())
        arrays = [array[..., slice_] for array in arrays]
    return [arrays[0].transpose(2, 1, 0), *(array[0].T for array in arrays[1:])]


class SaveOverlayd(MapTransform):
    """
    Write a picture of each mask's contour over its image (see :func:`draw_contours`); of a volume, the slice of the
    last axis with the most foreground. ``monai.visualize.blend_images`` colours areas, which hides the edge that
    matters.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of 0 and 1.
        output_dir: folder to write ``NAME.png`` to.
        image_key: key of the images, (channels, spatial...), with their metadata.
        label_key: key of the true masks; None: there are none.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str, image_key: str = "image", label_key: str | None = None
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        image = data[self.image_key]
        truth = [] if self.label_key is None else [data[self.label_key]]
        for key in self.key_iterator(data):
            picture = draw_contours(*as_pictures(image, data[key], *truth))
            with whole_file(self.output_dir / f"{name_of(image.meta[ImageMetaKey.FILENAME_OR_OBJ])}.png") as part:
                Image.fromarray(picture).save(part)
        return dict(data)


class SaveObjectsd(MapTransform):
    """
    Write a table of each mask's objects (see :func:`dpsau2net_monai.objects.split_objects` and ``object_table``), a row
    an object; without objects, the head alone. MONAI has no such transform.

    The intensities are those of the image's file, which is read again for them: in the dictionary they are normalised.

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

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        path = data[self.image_key].meta[ImageMetaKey.FILENAME_OR_OBJ]
        image = self._stored(path)
        for key in self.key_iterator(data):
            mask = torch.as_tensor(data[key][0]).cpu().numpy()
            # without a volume's single-slice axis where the network is 2D, and with the channels last
            values = np.moveaxis(image.reshape(len(image), *mask.shape), 0, -1)
            if mask.ndim == 2:  # from MONAI's (x, y) to (row, column)
                mask, values = mask.T, values.swapaxes(0, 1)
            table = object_table(split_objects(mask), values[..., 0] if len(image) == 1 else values)
            output = self.output_dir / f"{name_of(path)}.csv"
            with whole_file(output) as part, open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(table)
                for row in zip(*(column.tolist() for column in table.values())):
                    writer.writerow([value if isinstance(value, int) else f"{value:.6g}" for value in row])
        return dict(data)

    def _stored(self, path: str) -> np.ndarray:
        """Read an image, channel first, with the values that are in its file."""
        with reading(path):
            image = self.load(path).numpy().astype(np.float64)
        if is_volume(path):
            return image
        depth = read_picture_header(path).depth
        if depth == "1" or "float" in depth:
            return image
        return np.rint(image * (255 if int(depth) <= 8 else 65535))  # read_picture divides by the largest value
