from .dicom import SaveDicomSegd
from .intensity import normalization
from .labels import LabelToChannelsd, ProbabilityToLabeld
from .loading import LoadInputImaged, LoadMaskd
from .saving import SaveInstanceTabled, SaveMaskd, SaveOverlayd
from .spacing import ResampleSpacingd

__all__ = [
    "LabelToChannelsd",
    "LoadInputImaged",
    "LoadMaskd",
    "ProbabilityToLabeld",
    "ResampleSpacingd",
    "SaveDicomSegd",
    "SaveInstanceTabled",
    "SaveMaskd",
    "SaveOverlayd",
    "normalization",
]
