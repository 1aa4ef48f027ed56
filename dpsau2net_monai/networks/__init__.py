from .checkpointing import checkpoint_stages
from .dpsau2net import DPSAU2Net, DPSAU2NetLite
from .folding import fold_batch_norms
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
    "checkpoint_stages",
    "convert_weights",
    "fold_batch_norms",
    "load_weights",
    "read_weights",
]
