from .check import DatasetCheck, check_dataset
from .datalist import find_pairs, make_datalist
from .images import find_images, mask_path, without_masks
from .picture_reader import PictureReader
from .readable_images import ReadableImages
from .reading import name_of
from .split import read_split, split, write_split
from .synthetic import synthesize
