from .onnx import OPSET, OnnxNetwork, export_onnx, write_onnx
from .opening import open_network
from .openvino import OpenVinoNetwork
from .precision import AutoPrecision, ReducedPrecision

__all__ = [
    "OPSET",
    "AutoPrecision",
    "OnnxNetwork",
    "OpenVinoNetwork",
    "ReducedPrecision",
    "export_onnx",
    "open_network",
    "write_onnx",
]
