from .loading import LoadMaskd, LoadPictured
from .saving import SaveMaskd, SaveObjectsd, SaveOverlayd, as_pictures, draw_contours, mask_path, without_masks
