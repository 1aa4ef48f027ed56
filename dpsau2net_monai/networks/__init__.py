from .dpsau2net import DPSAU2Net, DPSAU2NetLite
from .norm import SafeBatchNorm
from .rsdpu import RSDPU
from .split_attention import SABlock, SplitAttention
from .weights import convert_weights, load_weights, read_weights

__all__ = [
    "RSDPU",
    "DPSAU2Net",
    "DPSAU2NetLite",
    "SABlock",
    "SafeBatchNorm",
    "SplitAttention",
    "convert_weights",
    "load_weights",
    "read_weights",
]
