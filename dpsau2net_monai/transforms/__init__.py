from .clicks import AddClicksd
from .dicom import SaveDicomSegd
from .instances import AddInstanceDistanced, SeparateInstancesd
from .intensity import normalization
from .labels import LabelToChannelsd, ProbabilityToLabeld
from .loading import LoadInputImaged, LoadMaskd
from .metadata import ComposeWithoutMetadata
from .saving import SaveMaskd, SaveOverlayd
from .saving_instances import SaveInstancesd, SaveInstanceTabled, require_outputs, without_instances
from .spacing import ResampleSpacingd

__all__ = [
    "AddClicksd",
    "AddInstanceDistanced",
    "ComposeWithoutMetadata",
    "LabelToChannelsd",
    "LoadInputImaged",
    "LoadMaskd",
    "ProbabilityToLabeld",
    "ResampleSpacingd",
    "SaveDicomSegd",
    "SaveInstanceTabled",
    "SaveInstancesd",
    "SaveMaskd",
    "SaveOverlayd",
    "SeparateInstancesd",
    "normalization",
    "require_outputs",
    "without_instances",
]
