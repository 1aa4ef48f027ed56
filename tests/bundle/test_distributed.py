"""Several processes share the images out, and give what one process gives. Some are started as torchrun does."""

from __future__ import annotations

import csv
import filecmp
import shutil
from pathlib import Path

import ignite.distributed as idist
import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser
from processes import fork_server, ranks
from running import CONFIGS, QUICK, ROOT, bundle_arguments, bundle_run, environment, succeeded

from dpsau2net_monai import bundle
from dpsau2net_monai.errors import InputError

pytestmark = pytest.mark.slow

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def same_files(first: Path, second: Path) -> list[str]:
    """Assert that two folders have the same files with the same content. Return their names."""
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(second)) for path in second.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(first, second, names, shallow=False)[1:] == ([], [])
    return names


def test_two_processes_segment_each_image_once(trained, dataset, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(dataset / "images", images)
    names = sorted(path.name for path in images.iterdir())
    for name in (names[4], names[7]):  # one of each process
        (images / name).write_bytes((images / name).read_bytes()[:-1000])
    keys = {"bundle_root": "bundle", "dataset_dir": str(images), "ckpt_path": str(trained / "models" / "model.pt")}
    keys["precision"] = "float32"  # auto could decide differently in each run
    with pytest.raises(RuntimeError):
        monai.bundle.run(
            "segmenting", config_file=str(CONFIGS / "inference.yaml"), output_dir=str(tmp_path / "one"), **keys
        )
    result = bundle_run("segmenting", "inference.yaml", launcher=TWO, output_dir=tmp_path / "two", **keys)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode != 0
    assert errors == [f"error: 2 of 16 images could not be read: see {tmp_path / 'two' / 'failed.csv'}"]
    assert len(same_files(tmp_path / "one", tmp_path / "two")) == 15
    with open(tmp_path / "two" / "failed.csv", newline="") as file:
        assert [Path(row["image"]).name for row in csv.DictReader(file)] == [names[4], names[7]]


def test_two_processes_evaluate_as_one(trained, dataset, tmp_path):
    keys = {**QUICK, "dataset_dir": str(dataset), "ckpt_dir": str(trained / "models"), "size": 0.7}  # five test images
    configs = [str(CONFIGS / name) for name in ("train.yaml", "evaluate.yaml")]
    monai.bundle.run("evaluating", config_file=configs, output_dir=str(tmp_path / "one"), **keys)
    arguments = bundle_arguments("evaluating", "train.yaml", "evaluate.yaml", output_dir=tmp_path / "two", **keys)
    results = fork_server().run_together(arguments, ROOT, [{**environment(), **rank} for rank in ranks(2)])
    assert sum(succeeded(result).stdout.count("Epoch[1] Metrics -- ") for result in results) == 1
    means, pages = [], []
    for folder in (tmp_path / "one", tmp_path / "two"):
        with open(folder / "metrics.csv", newline="") as file:
            means.append({name: float(value) for name, value in csv.reader(file)})
        page = (folder / "report.html").read_text().splitlines()
        pages.append([line for line in page if "images/s" not in line and "<dt>Date</dt>" not in line])
        (folder / "metrics.csv").unlink()
        (folder / "report.html").unlink()
    assert means[1] == pytest.approx(means[0], abs=1e-5)
    assert pages[1] == pages[0]
    assert {"images.csv", "val_hd95_raw.csv"} <= set(same_files(tmp_path / "one", tmp_path / "two"))


def test_two_processes_share_the_crops_and_the_validation_images_out(dataset, monkeypatch):
    """In training with the nuclei's recipe, which draws some images more often than others."""
    keys = {**QUICK, "dataset_dir": str(dataset), "csvfile": None, "crops_per_image": 2, "cache_num": 0, "rank": 0}
    keys["train#sampler#weights"] = [1, 1, 0, 0, 0, 0, 0, 0, 0]
    configs = [CONFIGS / name for name in ("train.yaml", "nuclei.yaml", "multi_gpu_train.yaml")]
    crops, images = [], []
    for rank in range(2):
        for module in (torch.distributed, idist):
            monkeypatch.setattr(module, "get_world_size", lambda: 2)
            monkeypatch.setattr(module, "get_rank", lambda rank=rank: rank)
        parser = ConfigParser(ConfigParser.load_config_files(configs))
        parser.update(keys)
        crops.append(list(parser.get_parsed_content("train#dataloader").sampler))
        images.append(list(parser.get_parsed_content("validate#dataloader").sampler))
    assert len(crops[0]) == len(crops[1]) == 9 and set(crops[0]) == set(crops[1]) == {0, 1}
    assert images == [[0], [1, 2]]


def test_a_process_that_loses_the_others_ends_with_one_line(tmp_path):
    """Across machines, where torchrun does not end it."""
    program = (
        "import os\n"
        "import ignite.distributed as idist\n"
        "from dpsau2net_monai import bundle\n"
        "bundle.one_line_errors()\n"
        "bundle.join_processes('cpu')\n"
        "if idist.get_rank() == 0: os._exit(9)\n"
        "idist.all_gather({1: 2})\n"
    )
    environments = [{**environment(), **rank} for rank in ranks(2)]
    _, left = fork_server().run_together(["-c", program], tmp_path, environments)
    assert left.returncode == 1
    text = left.stderr
    assert text.count("error: another process of this run has ended") == 1 and "Traceback" not in text


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert bundle.process_device() == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert bundle.process_device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="more processes than GPUs on this machine; set --nproc_per_node to 2"):
        bundle.process_device()


def test_training_on_several_gpus_needs_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    bundle.join_processes("cpu")  # evaluation and segmentation also run alone
    with pytest.raises(InputError, match="multi_gpu_train.yaml is for several processes; start it with torchrun"):
        bundle.join_processes("cpu", required=True)
