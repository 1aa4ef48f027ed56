from .loading import LoadInputImaged, LoadMaskd
from .saving import SaveInstanceTabled, SaveMaskd, SaveOverlayd
