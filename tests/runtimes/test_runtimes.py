"""The network on other runtimes and in half precision: the same logits, and a choice that can be followed."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from processes import fork_server
from running import environment
from samples import hippocampus_task, write_untrained

from dpsau2net_monai.data import Task
from dpsau2net_monai.data.labels import Labels
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.networks import DPSAU2NetLite, fold_batch_norms
from dpsau2net_monai.runtimes import AutoPrecision, OnnxNetwork, open_network, write_onnx
from dpsau2net_monai.runtimes import precision as of_precision

TASKS = {
    "pictures": Task(2, 3, "nucleus", roi_size=[96, 64]),
    "volumes": replace(hippocampus_task(), strides=[[2, 2, 1], [2, 2, 2], [2, 2, 2]], roi_size=[40, 42, 24]),
    "slices": Task(2, 1, {"background": 0, "a": 1, "b": 2}, modality="mr", roi_size=[64, 1, 96]),
}


def untrained(task: Task) -> DPSAU2NetLite:
    return DPSAU2NetLite(task.spatial_dims, task.in_channels, task.out_channels, strides=task.strides)


@pytest.fixture(scope="module", params=TASKS)
def case(request, tmp_path_factory):
    """A task, its network, and the folder of its weights."""
    folder = tmp_path_factory.mktemp("weights")
    network = write_untrained(folder, TASKS[request.param]).eval()
    for module in network.modules():  # as after training
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    torch.save(network.state_dict(), folder / "model.pt")
    return TASKS[request.param], network, folder


def open_case(case, **options):
    task, _, folder = case
    return open_network(untrained(task), folder / "model.pt", task, **options)


def assert_equal_logits(case, opened):
    task, network, _ = case
    sides = [side for side in task.window if side > 1]
    with torch.inference_mode():
        for batch, size in ((1, sides), (3, [side - 7 for side in sides])):  # sizes are free
            image = torch.randn(batch, task.in_channels, *size)
            torch.testing.assert_close(opened(image), network(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_every_runtime_gives_the_logits_of_the_network(case, runtime):
    assert_equal_logits(case, open_case(case, runtime=runtime, precision="float32"))


@pytest.mark.parametrize("case", ["pictures"], indirect=True)
def test_the_network_is_exported_once_for_the_same_weights(case):
    task, _, folder = case
    open_case(case, runtime="onnx")
    (path,) = folder.glob("*.onnx")
    written = path.stat().st_mtime_ns
    open_case(case, runtime="openvino")
    assert list(folder.glob("*.onnx")) == [path] and path.stat().st_mtime_ns == written

    torch.save(untrained(task).state_dict(), folder / "other.pt")
    open_network(untrained(task), folder / "other.pt", task, "onnx")
    assert len(list(folder.glob("*.onnx"))) == 2


def test_folding_leaves_no_batch_norm_in_a_convolution(case):
    _, network, _ = case
    folded = fold_batch_norms(network)
    kinds = torch.nn.modules.batchnorm._BatchNorm
    left = [name for name, module in folded.named_modules() if isinstance(module, kinds)]
    assert all(name.endswith("attention.norm") for name in left)  # of pooled vectors, after a plain convolution
    assert sum(isinstance(module, kinds) for module in network.modules()) > len(left)


class Delayed(torch.nn.Module):
    """Logits of an image that are its values plus an offset, after some seconds of a clock that nothing else moves."""

    now = 0.0

    def __init__(self, offset: float, seconds: float) -> None:
        super().__init__()
        self.offset, self.seconds = offset, seconds

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        Delayed.now += self.seconds
        return images + self.offset


@pytest.mark.parametrize(
    "offset, seconds, chosen",
    [(1e-4, 0.01, "bfloat16"), (1e-4, 0.09, "float32"), (0.1, 0.01, "float32")],
    ids=["faster and equal", "slower", "other masks"],
)
def test_auto_takes_half_precision_where_it_is_faster_and_the_masks_are_equal(
    offset, seconds, chosen, caplog, monkeypatch
):
    monkeypatch.setattr(of_precision, "time", SimpleNamespace(perf_counter=lambda: Delayed.now))
    network = AutoPrecision(Delayed(0, 0.04), lambda: Delayed(offset, seconds), "bfloat16", Labels("nucleus"), 0.5)
    image = torch.linspace(-1, 1, 10_000).reshape(1, 1, 100, 100)
    with caplog.at_level(logging.INFO):
        for _ in range(AutoPrecision.BATCHES):
            assert torch.equal(network(image), image)  # float32 while it decides
    assert torch.equal(network(image), image + (offset if chosen == "bfloat16" else 0))
    assert f"precision: {chosen} (bfloat16 takes" in caplog.text


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bfloat16_is_near(case, runtime):
    task, network, _ = case
    # small, as it is emulated where the CPU lacks it
    image = torch.randn(1, task.in_channels, *(side // 2 for side in task.window if side > 1))
    with torch.inference_mode():
        expected = network(image)
        given = open_case(case, runtime=runtime, precision="bfloat16")(image)
    assert given.dtype == torch.float32
    assert (given - expected).std() < 0.1 * expected.std()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"runtime": "caffe"}, "runtime is 'caffe'; it must be one of torch, compile, onnx, openvino, tensorrt"),
        ({"precision": "int8"}, "precision is 'int8'; it must be one of auto, float32, bfloat16, float16"),
        ({"runtime": "onnx", "precision": "bfloat16"}, "on cpu, runtime onnx has auto, float32"),
        ({"runtime": "torch", "precision": "float16"}, "on cpu, runtime torch has auto, float32, bfloat16"),
        ({"runtime": "tensorrt"}, "runtime is 'tensorrt', which needs an NVIDIA GPU; set runtime to"),
        ({"runtime": "openvino", "device": "cuda"}, "which computes on the CPU; set device to cpu"),
        ({"device": "gpu"}, "device is 'gpu'; set it to cpu, or to cuda for an NVIDIA GPU"),
        ({"device": "cuda:99"}, "device is 'cuda:99', but torch finds "),
    ],
)
def test_what_is_not_possible_is_said(options, message, tmp_path):
    task = TASKS["pictures"]
    with pytest.raises(InputError) as error:
        open_network(untrained(task), tmp_path / "model.pt", task, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("runtime, package", [("onnx", "onnxruntime"), ("onnx", "onnx"), ("openvino", "openvino")])
def test_what_is_not_installed_is_named(runtime, package, tmp_path, monkeypatch):
    write_untrained(tmp_path, TASKS["pictures"])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Exception, match=f"import {package} failed; pip install --upgrade {package}"):
        open_network(untrained(TASKS["pictures"]), tmp_path / "model.pt", TASKS["pictures"], runtime)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("case", ["pictures"], indirect=True)
def test_each_of_several_threads_gets_its_own_logits(case, runtime):
    opened = open_case(case, runtime=runtime, precision="float32")
    images = [torch.randn(4, 3, 96, 96) for _ in range(8)]
    expected = [opened(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for logits, right in zip(pool.map(opened, images), expected):
            torch.testing.assert_close(logits, right)


def test_a_signal_is_handled_after_two_openvino_networks(tmp_path):
    """OpenVINO's CPU plugins can leave a stack for signals that is gone, on processors with AVX-512."""
    write_onnx(torch.nn.Conv2d(3, 1, 1), 3, (8, 8), tmp_path / "network.onnx")
    program = """
import faulthandler, signal
from dpsau2net_monai.runtimes import OpenVinoNetwork
faulthandler.enable()
networks = [OpenVinoNetwork("network.onnx") for _ in range(2)]
del networks[0], networks[0]
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    result = fork_server().run(["-c", program], tmp_path, environment())
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr


@pytest.mark.parametrize("tensorrt", [False, True])
def test_onnxruntime_does_not_fall_back_to_the_cpu(tensorrt, tmp_path, monkeypatch):
    """As where its library for the GPU is there, but not that of CUDA."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime may load it here")
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    write_onnx(torch.nn.Conv2d(3, 1, 1), 3, (8, 8), tmp_path / "network.onnx")
    with pytest.raises(InputError, match="cannot load its (Tensorrt|CUDA)ExecutionProvider; install the versions"):
        OnnxNetwork(tmp_path / "network.onnx", "cuda", tensorrt)


def test_a_broken_exported_file_ends_in_one_line(tmp_path):
    task = TASKS["pictures"]
    write_untrained(tmp_path, task)
    open_network(untrained(task), tmp_path / "model.pt", task, "onnx")
    (path,) = tmp_path.glob("*.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    for runtime in ("onnx", "openvino"):
        with pytest.raises(InputError, match=f"{path}: {runtime}") as error:
            open_network(untrained(task), tmp_path / "model.pt", task, runtime)
        assert "\n" not in str(error.value)
