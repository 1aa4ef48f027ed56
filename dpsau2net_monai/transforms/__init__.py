from .loading import LoadMaskd, LoadPictured
from .saving import SaveMaskd, SaveOverlayd, draw_contours, mask_path, without_masks
