from .check import DatasetCheck, check_dataset
from .datalist import find_pairs, make_datalist
from .images import find_images, mask_path, without_masks
from .picture_reader import PictureReader
from .readable_images import ReadableImages
from .reading import name_of
from .split import read_split, split, write_split
from .synthetic import synthesize

__all__ = [
    "DatasetCheck",
    "PictureReader",
    "ReadableImages",
    "check_dataset",
    "find_images",
    "find_pairs",
    "make_datalist",
    "mask_path",
    "name_of",
    "read_split",
    "split",
    "synthesize",
    "without_masks",
    "write_split",
]
