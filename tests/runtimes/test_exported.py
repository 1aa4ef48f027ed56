from __future__ import annotations

import onnx
import pytest
import torch

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.runtimes import ExportedNetwork, OnnxNetwork


class Negative(ExportedNetwork):
    """Keeps the batches that it computes."""

    def __init__(self, *input_shape) -> None:
        super().__init__("negative.file", input_shape)
        self.batches: list[int] = []

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        return -images


@pytest.mark.parametrize("batch, batches", [(1, [1, 1, 1]), (3, [3]), (None, [3]), ("n", [3])])
def test_the_images_of_a_batch_go_one_by_one_only_where_the_batch_is_fixed_to_one(batch, batches):
    network = Negative(batch, 3, None, "width")
    images = torch.randn(3, 3, 33, 47)
    assert torch.equal(network(images), -images) and network.batches == batches


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (2, 3, 64, 96)])
def test_another_shape_is_refused_with_what_to_do(shape):
    with pytest.raises(InputError, match=r"negative.file: takes 1 x 3 x 64 x 64, not .*; set roi_size to its size"):
        Negative(1, 3, 64, 64)(torch.zeros(shape))


def test_onnx_with_free_sizes(tmp_path):
    path = tmp_path / "free.onnx"
    given, result = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in "xy"
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "negative", [given], [result])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    image = torch.randn(3, 3, 33, 47)
    assert torch.equal(OnnxNetwork(path)(image), -image)
