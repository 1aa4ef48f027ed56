"""An interactive network where there are no clicks, and its packages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from following import NETWORK, write_following
from monai.bundle import ConfigParser
from PIL import Image
from samples import write_untrained

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import Task, read_task, synthesize
from dpsau2net_monai.large import LargeSegmenter
from dpsau2net_monai.runtimes import open_network

ROOT = Path(__file__).parents[2]
TASK = Task(2, 3, "nucleus", roi_size=[64, 64], clicks=True)


def network_of(task: Task) -> torch.nn.Module:
    parser = ConfigParser({"task": task, "network": NETWORK})
    return parser.get_parsed_content("network")


def test_the_runtimes_take_channels_of_clicks(tmp_path):
    write_following(tmp_path, TASK, 2.0)
    images = torch.rand(1, 5, 64, 64)
    results = [
        open_network(network_of(TASK), tmp_path / "model.pt", TASK, runtime, "float32")(images).detach()
        for runtime in ("torch", "onnx")
    ]
    assert torch.allclose(*results, atol=1e-4)


def test_a_large_picture_is_segmented_without_clicks(tmp_path):
    """The mask is that of a network without channels of clicks."""
    synthesize(tmp_path, 1, size=(100, 130))
    (path,) = (tmp_path / "images").iterdir()
    masks = []
    for clicks in (True, False):
        task = Task(**{**vars(TASK), "clicks": clicks})
        folder = tmp_path / str(clicks)
        write_following(folder, task, 2.0)
        network = open_network(network_of(task), folder / "model.pt", task, precision="float32")
        LargeSegmenter(task, network, folder, folder / "model.pt", progress=False)({"image": str(path)})
        masks.append(tifffile.imread(folder / f"{path.stem}.ome.tif"))
    assert masks[0].any() and np.array_equal(*masks)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A copy of the bundle with an untrained interactive network."""
    bundle = shutil.copytree(ROOT / "bundle", tmp_path_factory.mktemp("copied") / "bundle")
    task = bundle / "models" / "task.yaml"
    network = read_task(task, clicks=True)
    task.unlink()
    write_interactive(bundle / "models", network)
    return bundle


def write_interactive(folder: Path, task: Task) -> None:
    write_untrained(folder, Task(**{**vars(task), "in_channels": task.network_channels, "clicks": False}))
    task.write(folder / "task.yaml")


def test_a_package_names_the_clicks(bundle, tmp_path):
    assert main(["package", "--output", str(tmp_path), "--name", "nuclei_deepedit", "--bundle_root", str(bundle)]) == 0
    data = json.loads((tmp_path / "nuclei_deepedit" / "configs" / "metadata.json").read_text())["network_data_format"]
    image, pred = data["inputs"]["image"], data["outputs"]["pred"]
    assert image["num_channels"] == 5 and pred["num_channels"] == 2
    assert list(image["channel_def"].values())[2:] == ["blue", "clicks on background", "clicks on nucleus"]
    assert pred["channel_def"] == {"0": "background", "1": "nucleus"}  # MONAI Label's labels


def test_the_name_and_the_network_agree_on_clicks(bundle, tmp_path, capsys):
    for root, name, says in (
        (bundle, "nuclei_segmentation", "the network takes clicks: put it in"),
        (ROOT / "bundle", "nuclei_deepedit", "the network takes no clicks: leave it out"),
    ):
        assert main(["package", "--output", str(tmp_path), "--name", name, "--bundle_root", str(root)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"'{name}': MONAI Label sends clicks to bundles with 'deepedit' in their name" in line and says in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_package_of_the_bioimage_model_zoo_takes_images_alone(bundle, tmp_path):
    pytest.importorskip("bioimageio.spec")
    options = ["--name", "nuclei_deepedit", "--format", "bioimageio", "--bundle_root", str(bundle)]
    assert main(["package", "--output", str(tmp_path), *options]) == 0
    shutil.unpack_archive(tmp_path / "nuclei_deepedit.zip", tmp_path / "package")
    network = torch.jit.load(tmp_path / "package" / "weights.pt")
    image = np.load(tmp_path / "package" / "input.npy")
    assert image.shape[1] == 3 and Image.open(tmp_path / "package" / "cover.png")
    mean, std = image.mean(), image.std()
    with torch.inference_mode():
        found = network(torch.from_numpy((image - mean) / std)).sigmoid().numpy()
    assert np.allclose(found, np.load(tmp_path / "package" / "output.npy"), atol=1e-3)
