from .loading import LoadInputImaged, LoadMaskd
from .saving import SaveInstanceTabled, SaveMaskd, SaveOverlayd

__all__ = ["LoadInputImaged", "LoadMaskd", "SaveInstanceTabled", "SaveMaskd", "SaveOverlayd"]
