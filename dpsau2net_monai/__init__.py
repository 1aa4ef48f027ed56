"""DPSAU2-Net for medical image segmentation, in MONAI."""

import monai.networks.nets

from .networks import DPSAU2Net, DPSAU2NetLite

__version__ = "0.1.0"

# so that `_target_: monai.networks.nets.DPSAU2Net` resolves in any config
for _network in (DPSAU2Net, DPSAU2NetLite):
    setattr(monai.networks.nets, _network.__name__, _network)
