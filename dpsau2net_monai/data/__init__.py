from .datalist import datalist, find_images, find_pairs, name_of, read_split, split, write_split
from .picture_reader import PictureReader
from .synthetic import synthesize
