from .exported import ExportedNetwork
from .onnx import OnnxNetwork
from .tensorrt import TensorRTNetwork

__all__ = ["ExportedNetwork", "OnnxNetwork", "TensorRTNetwork"]
