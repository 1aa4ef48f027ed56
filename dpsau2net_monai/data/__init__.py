from .archive import download
from .check import CheckReport, check_dataset
from .clinicdb import prepare_clinicdb
from .datalist import datalist, find_images, find_pairs, name_of, read_split, split, write_split
from .dsb2018 import DSB2018_URL, prepare_dsb2018
from .picture_reader import PictureReader
from .prepare import Report
from .readable_images import ReadableImages
from .synthetic import synthesize
from .tree import prepare_tree
