from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image
from samples import hippocampus_task, write_untrained, write_volumes

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import Task, synthesize
from dpsau2net_monai.zoo import package_bundle

ROOT = Path(__file__).parents[2]
# by what a package is imported where that is not its name
IMPORTED_AS = {"pillow": "PIL", "pytorch-ignite": "ignite", "pyyaml": "yaml", "scikit-image": "skimage"}
DOCS = (".csv", ".ipynb", ".jpg", ".md", ".png", ".txt")


def test_what_is_in_it(packaged, task, bundle):
    assert {path.name for path in packaged.iterdir()} == {"LICENSE", "configs", "dpsau2net_monai", "docs", "models"}
    assert {path.name for path in (packaged / "configs").iterdir()} == set(os.listdir(bundle / "configs"))
    docs, models = ("docs", "models") if task == "nuclei" else (f"tasks/{task}", f"tasks/{task}")
    files = {f"models/{name}": bundle / models / name for name in ("model.pt", "task.yaml")}
    files |= {f"docs/{path.name}": path for path in (bundle / docs).iterdir() if path.suffix in DOCS}
    found = {str(path.relative_to(packaged)) for folder in ("models", "docs") for path in (packaged / folder).iterdir()}
    assert found == set(files) and {"docs/README.md", "docs/data_license.txt"} < found
    assert all((packaged / name).read_bytes() == path.read_bytes() for name, path in files.items())
    package = {path.name for path in (packaged / "dpsau2net_monai").iterdir()}
    left_out = {"cli.py", "__main__.py", "importers", "napari", "zoo"}
    assert {"bundle.py", "networks", "transforms"} <= package and not left_out & package
    assert not list(packaged.rglob("__pycache__")) and not list(packaged.parent.glob(".part-*"))


def test_metadata_follows_from_the_task(packages):
    metadata = {task: json.loads((path / "configs" / "metadata.json").read_text()) for task, path in packages.items()}
    assert metadata["nuclei"] == json.loads((ROOT / "bundle" / "configs" / "metadata.json").read_text())
    hippocampus = metadata["hippocampus"]
    image, pred = (next(iter(part.values())) for part in hippocampus["network_data_format"].values())
    assert image["num_channels"] == 1 and image["spatial_shape"] == pred["spatial_shape"] == [48, 64, 48]
    assert image["modality"] == "MR" and image["channel_def"] == {"0": "image"}
    assert pred["num_channels"] == 3
    assert pred["channel_def"] == {"0": "background", "1": "anterior", "2": "posterior"}
    assert "Hippocampus" in hippocampus["data_source"] and hippocampus["version"] == metadata["nuclei"]["version"]
    assert not [key for key in hippocampus if "#" in key]


@pytest.mark.parametrize(
    "labels, says",
    [
        ("nucleus", {"0": "background", "1": "nucleus"}),
        ({"background": 0, "one": 1, "two": 2}, {"0": "background", "1": "one", "2": "two"}),
        (["cell", "nucleus"], "classes that overlap cannot be clicked; leave 'deepedit' out of the name"),
    ],
    ids=["one class", "two classes", "overlapping"],
)
def test_a_bundle_whose_name_has_deepedit_takes_clicks_on_the_background(labels, says, tmp_path, capsys):
    """MONAI Label's labels are these names."""
    bundle = shutil.copytree(ROOT / "bundle", tmp_path / "bundle")
    write_untrained(bundle / "models", Task(2, 3, labels))
    options = ["--name", "any_DeepEdit", "--bundle_root", str(bundle)]
    status = main(["package", "--output", str(tmp_path), *options])
    if isinstance(says, str):
        (line,) = capsys.readouterr().err.splitlines()
        assert status == 1 and says in line and not (tmp_path / "any_DeepEdit").exists()
    else:
        data = json.loads((tmp_path / "any_DeepEdit" / "configs" / "metadata.json").read_text())["network_data_format"]
        assert data["outputs"]["pred"]["channel_def"] == says and data["inputs"]["image"]["num_channels"] == 3


def test_the_weights_in_the_tree_fit_their_task(tmp_path):
    tasks = ["nuclei", *(path.parent.name for path in ROOT.glob("bundle/tasks/*/model.pt"))]
    for task in tasks:
        package_bundle(ROOT / "bundle", tmp_path, f"{task}_segmentation", task)
    assert len(list(tmp_path.iterdir())) == len(tasks)


@pytest.fixture(scope="module")
def run_in(run_without_package):
    """Runs ``python -m monai.bundle run`` in a packaged bundle."""

    def run(bundle: Path, run_id: str, config_file: str, **keys) -> None:
        words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        result = run_without_package(bundle, "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *words)
        assert result.returncode == 0, result.stderr[-3000:]

    return run


@pytest.mark.slow
def test_it_segments_elsewhere(packages, run_in, tmp_path):
    synthesize(tmp_path / "pictures", 3, size=(64, 64))
    write_volumes(tmp_path / "volumes", {"a": "straight", "b": "turned"})
    for task, data in (("nuclei", "pictures"), ("hippocampus", "volumes")):
        bundle = shutil.copytree(packages[task], tmp_path / task)
        keys = {"dataset_dir": tmp_path / data / "images", "output_dir": tmp_path / "masks" / task}
        run_in(bundle, "segmenting", "configs/inference.yaml", **keys)
    for path in (tmp_path / "pictures" / "images").iterdir():
        with Image.open(path) as image, Image.open(tmp_path / "masks" / "nuclei" / path.name) as mask:
            assert mask.size == image.size and set(np.unique(mask)) <= {0, 255}
    for path in (tmp_path / "volumes" / "images").iterdir():
        image, mask = nibabel.load(path), nibabel.load(tmp_path / "masks" / "hippocampus" / path.name)
        assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
        assert np.unique(np.asarray(mask.dataobj)).tolist() == [0, 1, 2]


@pytest.mark.slow
def test_it_trains_and_evaluates_its_task_elsewhere(packaged, task, run_in, tmp_path):
    """Without a word about the task: what it segments is in the package."""
    bundle = shutil.copytree(packaged, tmp_path / "elsewhere")
    quick = {"max_epochs": 1, "batch_size": 2, "size": 0.75, "num_workers": 0}
    if task == "nuclei":
        synthesize(tmp_path / "data", 8, size=(64, 64))
        quick["roi_size"] = [32, 32]
    else:
        write_volumes(tmp_path / "data", {f"v{i}": ("straight", "turned")[i % 2] for i in range(8)})
        quick["crop_size"] = [40, 40, 40]
    keys = {"dataset_dir": tmp_path / "data", **quick}
    run_in(bundle, "training", "configs/train.yaml", **keys)
    (shipped,) = (bundle / "models").glob("before-*/model.pt")
    assert (bundle / "models" / "model.pt").read_bytes() != shipped.read_bytes()
    before, after = (
        yaml.safe_load((folder / "task.yaml").read_text()) for folder in (shipped.parent, bundle / "models")
    )
    assert after == {**before, **{key: value for key, value in quick.items() if key == "roi_size"}}
    run_in(bundle, "evaluating", "['configs/train.yaml','configs/evaluate.yaml']", **keys)
    assert (bundle / "models" / "eval" / "report.html").is_file()
    with open(bundle / "models" / "eval" / "images.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.parametrize("missing", ["skimage", "jinja2"])  # at the configs' import, and at a class that they name
def test_what_is_not_installed_is_named_in_one_line(missing, packages, run_without_package, tmp_path):
    synthesize(tmp_path / "data", 12, size=(64, 64))
    program = f"import sys, runpy; sys.modules['{missing}'] = None; sys.argv = ['monai.bundle', *sys.argv[1:]]; "
    result = run_without_package(
        packages["nuclei"], "-c", program + "runpy.run_module('monai.bundle', run_name='__main__')", "run",
        "evaluating", "--config_file", "['configs/train.yaml','configs/evaluate.yaml']",
        "--dataset_dir", str(tmp_path / "data"),
        "--output_dir", str(tmp_path / "eval"), "--size", "0.5",
    )  # fmt: skip
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and f"{missing} is not installed; configs/metadata.json lists what to" in line


def test_what_it_imports_is_in_its_metadata(packages):
    packaged = packages["nuclei"]
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    known = {IMPORTED_AS.get(name, name) for name in metadata["required_packages_version"]}
    known |= {"dpsau2net_monai", "monai", "numpy", "torch", *sys.stdlib_module_names}
    for path in packaged.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {module.partition(".")[0] for module in modules} <= known, path


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("nuclei_segmentation", (), "exists; choose another name"),
        ("nuclei-segmentation", (), "consists of letters, digits and underscores"),
        ("../nuclei", (), "consists of letters, digits and underscores"),
        ("nuclei_v2", (), "takes the text after '_v' for the bundle's version"),
        ("other", ("--bundle_root", "nowhere"), "nowhere: has no configs/metadata.json; --bundle_root names"),
        ("other", ("--task", "heart"), "task is 'heart'; it must be one of nuclei, hippocampus, which"),
        ("other", ("--task", ".."), "task is '..'; it must be one of"),
    ],
)
def test_what_cannot_be_ordered_is_said_in_one_line(name, options, says, bundle, packages, capsys):
    output = packages["nuclei"].parent
    before = sorted(output.rglob("*"))
    arguments = ["--output", str(output), "--name", name, "--bundle_root", str(bundle), *options]
    assert main(["package", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert sorted(output.rglob("*")) == before


def without_weights(bundle: Path) -> None:
    (bundle / "models" / "model.pt").unlink()


def without_task(bundle: Path) -> None:
    (bundle / "models" / "task.yaml").unlink()


def with_other_weights(bundle: Path) -> None:
    write_untrained(bundle / "other", hippocampus_task())
    shutil.copy(bundle / "other" / "model.pt", bundle / "models")


def with_other_channels(bundle: Path) -> None:
    write_untrained(bundle / "models", Task(2, 1, "nucleus"))


def test_a_nested_key_in_the_metadata_of_a_task_is_said_in_one_line(tmp_path, capsys):
    bundle = shutil.copytree(ROOT / "bundle", tmp_path / "bundle")
    own = shutil.copytree(bundle / "models", bundle / "tasks" / "own")
    for name in ("README.md", "data_license.txt"):
        shutil.copy(bundle / "docs" / name, own)
    nested = {"network_data_format": {"inputs": {"image": {"channel_def": {"0": "red"}}}}}
    (own / "metadata.json").write_text(json.dumps(nested))
    options = ["--name", "n", "--bundle_root", str(bundle), "--task", "own"]
    assert main(["package", "--output", str(tmp_path / "out"), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "metadata.json: has no 'outputs'; write a key within another with #" in line


@pytest.mark.parametrize(
    "change, says",
    [
        (without_weights, "model.pt: no such file; a package needs it"),
        (without_task, "task.yaml: no such file; a package needs it"),
        (with_other_weights, "does not match this DPSAU2NetLite"),
        (with_other_channels, "channel_def names 3 channels, but the images of task.yaml have 1"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_said_in_one_line(change, says, tmp_path, capsys):
    bundle = shutil.copytree(ROOT / "bundle", tmp_path / "bundle")
    change(bundle)
    assert main(["package", "--output", str(tmp_path / "out"), "--name", "n", "--bundle_root", str(bundle)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and not (tmp_path / "out").exists()
