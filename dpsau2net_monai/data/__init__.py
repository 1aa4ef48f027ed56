from .check import DatasetCheck, check_dataset, require_classes
from .datalist import find_pairs, make_datalist
from .dataset_json import dataset_settings
from .equal_sizes import EqualSizes
from .images import find_images, mask_path, without_masks
from .instances import instances_dir
from .kinds import kind_weights
from .labels import Labels
from .picture_reader import PictureReader
from .planning import plan, plan_strides
from .readable_images import ReadableImages
from .reading import name_of
from .split import read_split, split, write_split
from .synthetic import synthesize
from .task import Task, read_task

__all__ = [
    "DatasetCheck",
    "EqualSizes",
    "Labels",
    "PictureReader",
    "ReadableImages",
    "Task",
    "check_dataset",
    "dataset_settings",
    "find_images",
    "find_pairs",
    "instances_dir",
    "kind_weights",
    "make_datalist",
    "mask_path",
    "name_of",
    "plan",
    "plan_strides",
    "read_split",
    "read_task",
    "require_classes",
    "split",
    "synthesize",
    "without_masks",
    "write_split",
]
