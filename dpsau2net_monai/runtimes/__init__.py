from .onnx import OPSET, OnnxNetwork, export_onnx, write_onnx
from .opening import RUNTIMES, open_network, usable_device
from .openvino import OpenVinoNetwork
from .precision import AutoPrecision, ReducedPrecision

__all__ = [
    "OPSET",
    "RUNTIMES",
    "AutoPrecision",
    "OnnxNetwork",
    "OpenVinoNetwork",
    "ReducedPrecision",
    "export_onnx",
    "open_network",
    "usable_device",
    "write_onnx",
]
