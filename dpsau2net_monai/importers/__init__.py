from .clinicdb import CLINICDB, prepare_clinicdb
from .decathlon import DECATHLON, prepare_decathlon
from .dsb2018 import DSB2018, prepare_dsb2018
from .importer import Importer, ImportSummary
from .tree import TREE, prepare_tree

__all__ = [
    "CLINICDB",
    "DECATHLON",
    "DSB2018",
    "IMPORTERS",
    "TREE",
    "ImportSummary",
    "Importer",
    "prepare_clinicdb",
    "prepare_decathlon",
    "prepare_dsb2018",
    "prepare_tree",
]

IMPORTERS = (DSB2018, CLINICDB, DECATHLON, TREE)  # in the order of the help
