"""A package of the BioImage Model Zoo, tried by the zoo's own program and against the bundle's own masks."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.utils import OptionalImportError
from samples import write_untrained

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import Task
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.networks import DPSAU2NetLite, load_weights
from dpsau2net_monai.zoo import write_bioimageio
from dpsau2net_monai.zoo.bioimageio import HALO

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundle"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    options = ["--format", "bioimageio", "--bundle_root", str(BUNDLE), "--output", str(folder), "--name", "nuclei"]
    assert main(["package", *options]) == 0
    return folder / "nuclei.zip"


def tried(package, weight_format=None):
    """``bioimageio test PACKAGE``, of one format of the weights or of both, and the description as it read it."""
    from bioimageio.core import load_description, test_description

    summary = test_description(package, weight_format=weight_format, devices=["cpu"])
    assert summary.status == "passed", summary.format()
    return load_description(package)


def test_it_passes_the_zoos_test(package):
    description = tried(package)
    assert description.weights.onnx and description.weights.torchscript
    assert [author.name for author in description.authors] == ["The DPSAU2-Net MONAI project"]
    assert description.license == "Apache-2.0" and any(entry.doi for entry in description.cite)
    with zipfile.ZipFile(package) as archive:
        readme, files = archive.read("README.md").decode(), archive.namelist()
    linked = re.findall(r"]\(([\w.]+)\)", readme)
    assert {"nuclei.jpg", "training.png", "monai_label.md"} <= set(linked) <= set(files)
    assert description.tags == ["nuclei", "segmentation", "microscopy", "2d", "monai", "u-net", "pytorch"]


def test_it_gives_what_the_bundle_gives(package):
    """In the zoo an image is (y, x), in MONAI (x, y); and it is mirrored at its edges first, by the halo."""
    from bioimageio.core import predict

    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 128)).astype(np.float32)
    given = predict(model=package, inputs={"image": pixels}).members["probability"].data.to_numpy()
    network = DPSAU2NetLite(2, 3, 2).eval()
    load_weights(network, BUNDLE / "models" / "model.pt")
    image = np.pad(pixels, [(0, 0), (0, 0), (HALO, HALO), (HALO, HALO)], "symmetric")
    image = (image - image.mean()) / image.std()
    with torch.inference_mode():
        expected = network(torch.from_numpy(image).mT).sigmoid().mT.numpy()
    np.testing.assert_allclose(given, expected[..., HALO:-HALO, HALO:-HALO], atol=1e-4)


EXCLUSIVE, OVERLAPPING = {"background": 0, "tumour": 1, "stroma": 2}, ["cell", "nucleus"]


def mean_and_std(image: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (image - image.mean(axes, keepdims=True)) / image.std(axes, keepdims=True)


def bundle_of_own_task(folder: Path, settings: Task, name: str) -> tuple[Path, DPSAU2NetLite]:
    """A copy of the bundle with a task ``own``, and its untrained network."""
    bundle = shutil.copytree(BUNDLE, folder / "bundle")
    own = bundle / "tasks" / "own"
    network = write_untrained(own, settings)
    channels = {str(index): f"channel {index}" for index in range(settings.in_channels)}
    metadata = {"name": name, "network_data_format#inputs#image#channel_def": channels}
    (own / "metadata.json").write_text(json.dumps(metadata))
    (own / "README.md").write_text("# Own\n")
    (own / "data_license.txt").write_text("CC0\n")
    return bundle, network


@pytest.mark.parametrize(
    "settings, names, normalise",
    [
        (Task(2, 3, EXCLUSIVE), ["background", "tumour", "stroma"], lambda image: mean_and_std(image, (1, 2, 3))),
        (Task(2, 2, OVERLAPPING, "mr"), ["cell", "nucleus"], lambda image: mean_and_std(image, (2, 3))),
        (
            Task(2, 1, EXCLUSIVE, "ct", intensity={"low": 20, "high": 200, "mean": 90, "std": 40}),
            ["background", "tumour", "stroma"],
            lambda image: (image.clip(20, 200) - 90) / 40,
        ),
        (Task(2, 3, intensity={"mean": 0.4, "std": 0.2}), ["foreground"], lambda image: (image / 255 - 0.4) / 0.2),
    ],
    ids=["exclusive", "overlapping-mr", "ct", "fixed"],
)
def test_several_classes_and_other_channels(settings, names, normalise, tmp_path):
    from bioimageio.core import predict

    bundle, network = bundle_of_own_task(tmp_path, settings, "Own segmentation")
    package = write_bioimageio(bundle, tmp_path, "own", "own")
    description = tried(package, "onnx")
    (output,) = description.outputs
    assert description.name == "Own segmentation" and output.axes[1].channel_names == names
    pixels = np.random.default_rng(0).uniform(0, 255, (1, settings.in_channels, 96, 128)).astype(np.float32)
    given = predict(model=package, inputs={"image": pixels}).members["probability"].data.to_numpy()
    image = normalise(np.pad(pixels, [(0, 0), (0, 0), (HALO, HALO), (HALO, HALO)], "symmetric")).astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy(image).mT).mT
    expected = (logits.softmax(1) if settings.labels.softmax else logits.sigmoid()).numpy()
    np.testing.assert_allclose(given, expected[..., HALO:-HALO, HALO:-HALO], atol=1e-4)


def test_metadata_that_the_format_does_not_take_is_said_in_one_line(tmp_path):
    bundle, _ = bundle_of_own_task(tmp_path, Task(2, 1), "Own")
    with pytest.raises(InputError, match="does not take the metadata of task 'own' .*name: Value should"):
        write_bioimageio(bundle, tmp_path / "packages", "own", "own")
    assert not list((tmp_path / "packages").iterdir())


def test_what_is_wrong_is_said_in_one_line(package, bundle, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nuclei.zip: exists"):
        write_bioimageio(BUNDLE, package.parent, "nuclei")
    with pytest.raises(InputError, match="nowhere: has no configs/metadata.json"):
        write_bioimageio(tmp_path / "nowhere", tmp_path, "nuclei")
    with pytest.raises(InputError, match="task 'hippocampus' segments volumes: .*; use --format monai"):
        write_bioimageio(bundle, tmp_path, "nuclei", "hippocampus")
    (tmp_path / "slices").mkdir()
    slices, _ = bundle_of_own_task(tmp_path / "slices", Task(2, 1, modality="mr", roi_size=[96, 96, 1]), "Own slices")
    with pytest.raises(InputError, match="task 'own' segments volumes"):
        write_bioimageio(slices, tmp_path, "nuclei", "own")
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    with pytest.raises(OptionalImportError, match="import bioimageio.spec failed; pip install bioimageio.core"):
        write_bioimageio(BUNDLE, tmp_path, "nuclei")
    assert not (tmp_path / "nuclei.zip").exists()
