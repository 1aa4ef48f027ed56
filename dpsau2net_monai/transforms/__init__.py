from .loading import LoadMaskd, LoadPictured
from .saving import SaveMaskd, SaveOverlayd
