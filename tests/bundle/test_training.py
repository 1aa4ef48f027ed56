from __future__ import annotations

import csv
import json
import shutil

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms.traits import RandomizableTrait
from running import CONFIGS, QUICK, ROOT, bundle_run, succeeded
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dpsau2net_monai.data import make_datalist
from dpsau2net_monai.errors import root_input_error
from dpsau2net_monai.networks import DPSAU2Net, DPSAU2NetLite, load_weights


def parsed(*names) -> ConfigParser:
    return ConfigParser(ConfigParser.load_config_files([CONFIGS / name for name in names]))


def same_weights(first, second) -> bool:
    first, second = (torch.load(path, weights_only=True) for path in (first, second))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_leaves_weights_and_what_it_takes_to_repeat_it(trained, dataset):
    models = trained / "models"
    load_weights(DPSAU2NetLite(2, 3, 1), models / "model.pt")
    record = json.loads((models / "run.json").read_text())
    assert record["seed"] == 42 and record["versions"]["Pytorch"] == torch.__version__
    assert str(dataset) in record["command"]
    split = json.loads((models / "datalist.json").read_text())
    assert split == make_datalist(dataset, train_share=0.75)
    # the same split again from the file alone, as evaluation would take it
    assert make_datalist(models / "datalist.json") == split


def test_images_are_read_and_normalised_once_and_cropped_several_times(dataset):
    parser = parsed("train.yaml")
    parser.update({**QUICK, "dataset_dir": str(dataset), "crops_per_image": 3, "show_progress": False})
    transforms = parser.get_parsed_content("train#preprocessing").transforms
    assert [isinstance(one, RandomizableTrait) for one in transforms].index(True) == len(transforms) - 1
    dataset, loader = (parser.get_parsed_content(f"train#{name}") for name in ("dataset", "dataloader"))
    assert sum(len(batch["image"]) for batch in loader) == 3 * len(dataset)


def test_losses_metrics_rate_and_pictures_are_logged(trained):
    scalars, images = {}, set()
    for file in (trained / "log").iterdir():
        events = EventAccumulator(str(file)).Reload()
        scalars.update({tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]})
        images.update(events.Tags()["images"])
    assert len(scalars["train_loss"]) == len(scalars["val_mean_dice"]) == len(scalars["val_iou"]) == 2
    assert len(scalars["batch_loss"]) == 2 * 3
    assert scalars["learning_rate"] == pytest.approx([0.0005, 0], abs=1e-6)
    assert any("input_0" in tag for tag in images) and any("output" in tag for tag in images)


def test_a_log_has_no_progress_bars(trained):
    assert "it/s]" not in (trained / "printed.txt").read_text()


def test_the_recorded_config_gives_the_same_weights_and_sets_the_former_run_aside(trained, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(trained / "models", models)
    succeeded(bundle_run("training", config_file=models / "config.yaml", ckpt_dir=models, output_dir=tmp_path / "log"))
    (aside,) = models.glob("before-*")
    assert same_weights(models / "model.pt", trained / "models" / "model.pt")
    assert {path.name for path in aside.iterdir()} == {path.name for path in (trained / "models").iterdir()}


def test_a_run_has_a_folder_of_its_own_and_evaluation_finds_it(dataset, tmp_path, capfd):
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "bundle", bundle, ignore=shutil.ignore_patterns("runs", "eval"))
    shipped = (bundle / "models" / "model.pt").read_bytes()
    keys = {**QUICK, "bundle_root": str(bundle), "dataset_dir": dataset, "max_epochs": 1}  # a Path, as from Python
    for epochs, resume in ((1, "false"), (2, "true")):
        monai.bundle.run(
            "training", config_file=str(CONFIGS / "train.yaml"), **{**keys, "max_epochs": epochs}, resume=resume
        )
    (run,) = (bundle / "runs").iterdir()
    assert {"model.pt", "state-00002.pt", "run.json", "log"} <= {path.name for path in run.iterdir()}
    assert (bundle / "models" / "model.pt").read_bytes() == shipped

    monai.bundle.run("evaluating", config_file=[str(CONFIGS / "train.yaml"), str(CONFIGS / "evaluate.yaml")], **keys)
    assert (run / "eval" / "report.html").is_file()
    assert f"weights: {run / 'model.pt'}" in capfd.readouterr().out


def test_weights_to_begin_with(trained, dataset, tmp_path):
    shutil.copytree(trained / "models", tmp_path / "models")
    keys = {**QUICK, "dataset_dir": str(dataset), "ckpt_dir": str(tmp_path / "models"), "max_epochs": 1}
    keys |= {"output_dir": str(tmp_path / "log"), "learning_rate": 0}  # so that they stay
    monai.bundle.run(
        "training", config_file=str(CONFIGS / "train.yaml"), pretrained=str(tmp_path / "models" / "model.pt"), **keys
    )
    parameters = dict(DPSAU2NetLite(2, 3, 1).named_parameters())
    first, second = (torch.load(folder / "models" / "model.pt", weights_only=True) for folder in (trained, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in parameters)


def test_images_and_weights_that_a_server_gives(trained, dataset, tmp_path):
    """As MONAI Label trains: its own lists and loader of weights, the run id "", and, of few labels, no validation."""
    models = tmp_path / "models"
    former = trained / "models" / "model.pt"
    shutil.copytree(former.parent, models)
    pairs = make_datalist(dataset)["training"][:2]
    weights = {"load_path": str(models / "model.pt"), "load_dict": {"model": "$@network"}}
    keys = {
        **QUICK, "ckpt_dir": str(models), "output_dir": str(tmp_path / "log"),
        "device": "cpu", "train#trainer#max_epochs": 1, "train#dataset#data": pairs, "validate#dataset#data": [],
        "train#handlers": [{"_target_": "CheckpointLoader", **weights}, *parsed("train.yaml")["train"]["handlers"]],
    }  # fmt: skip
    monai.bundle.run("", config_file=str(CONFIGS / "train.yaml"), **keys)
    assert not same_weights(models / "model.pt", former)
    (epoch,) = csv.DictReader((models / "history.csv").open())
    assert float(epoch["learning_rate"]) == pytest.approx(0.001) and "val_mean_dice" not in epoch
    assert json.loads((models / "datalist.json").read_text()) == {"training": pairs, "validation": []}
    (aside,) = models.glob("before-*")
    assert same_weights(aside / "model.pt", former)


def test_every_loss_is_configured():
    for loss in ("dice", "ce", "dicece"):
        parser = parsed("train.yaml")
        parser["loss"], parser["instances"] = loss, False
        value = parser.get_parsed_content("loss_function")(torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
        expected = {"dice": 1 - 2 * 0.5 / 1.5, "ce": 0.6931, "dicece": 1 - 2 * 0.5 / 1.5 + 0.6931}
        assert value.item() == pytest.approx(expected[loss], abs=1e-3), loss
        # of two stacked outputs, as a network with deep supervision gives them, the second counts half
        stacked = parser.get_parsed_content("loss_function")(torch.zeros(2, 2, 1, 8, 8), torch.ones(2, 1, 8, 8))
        assert stacked.item() == pytest.approx(1.5 * expected[loss], abs=1e-3), loss

        parser = parsed("train.yaml")
        parser["loss"], parser["instances"] = loss, True
        label = torch.cat([torch.ones(2, 1, 8, 8), torch.full((2, 1, 8, 8), 0.25)], 1)  # the mask, and the distance
        value = parser.get_parsed_content("loss_function")(torch.zeros(2, 2, 8, 8), label)
        assert value.item() == pytest.approx(expected[loss] + 0.6931, abs=1e-3), loss


@pytest.mark.parametrize("loss", ["dice", "ce", "dicece", "focal", "tversky"])
def test_classes_that_overlap_are_decided_apart(loss):
    parser = parsed("train.yaml")
    parser.update({"labels": ["cell", "nucleus"], "loss": loss})
    codes = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(2, 1, 6, 4)  # neither, one, the other, both
    true = torch.cat([codes % 2, codes // 2], 1)
    function = parser.get_parsed_content("loss_function")
    assert function(40 * true - 20, codes).item() == pytest.approx(0, abs=1e-3)
    logits = torch.zeros(2, 2, 6, 4, requires_grad=True)
    function(logits, codes).backward()
    assert (logits.grad.sign() == 1 - 2 * true).all()


def test_the_weights_of_classes_that_overlap():
    label = torch.full((2, 1, 6, 4), 3.0)  # both classes everywhere
    parser = parsed("train.yaml")
    parser.update({"labels": ["cell", "nucleus"], "loss": "ce", "class_weights": [1, 3], "device": "cpu"})
    value = parser.get_parsed_content("loss_function")(torch.zeros(2, 2, 6, 4), label)
    assert value.item() == pytest.approx((1 + 3) / 2 * 0.6931, abs=1e-3)


@pytest.mark.parametrize(
    "loss, channels, says",
    [
        ("dice", 1, "the loss dice takes no class_weights of a single class; set loss to ce or dicece"),
        ("focal", 1, "the loss focal takes no class_weights of a single class; set loss to ce or dicece"),
        ("tversky", 2, "the loss tversky takes no class_weights; set loss to dice, ce, dicece or focal"),
        ("paper", 2, "the loss paper takes no class_weights; set loss to dice, ce, dicece or focal"),
        *[(loss, 2, None) for loss in ("dice", "ce", "dicece", "focal")],
        *[(loss, 1, None) for loss in ("ce", "dicece")],
    ],
)
def test_class_weights_change_the_loss_or_are_refused(loss, channels, says):
    codes = torch.arange(24).reshape(1, 1, 6, 4) % 2**channels
    logits = torch.linspace(-1, 1, 24 * channels).reshape(1, channels, 6, 4)
    values = []
    for class_weights in (None, [1, 3][-channels:]):
        parser = parsed("train.yaml", "paper.yaml") if loss == "paper" else parsed("train.yaml")
        parser.update({"labels": ["cell", "nucleus"][:channels], "loss": loss, "class_weights": class_weights})
        parser.update({"device": "cpu", "instances": False})
        if class_weights and says:
            with pytest.raises(Exception) as error:
                parser.get_parsed_content("loss_function")
            assert str(root_input_error(error.value)) == says
            return
        values.append(parser.get_parsed_content("loss_function")(logits, codes.float()).item())
    assert abs(values[1] - values[0]) > 0.01


@pytest.mark.parametrize("channels", [1, 2])
def test_as_many_crops_are_centred_on_the_background_as_on_a_class(channels):
    """Also where the distance of instances follows the mask."""
    parser = parsed("train.yaml")
    parser.update({"crop_size": [5, 5], "instances": channels == 2})
    crop = parser.get_parsed_content("train#crops#by_class").set_random_state(0)
    label = torch.zeros(channels, 40, 40)
    label[:, :8] = 1
    crops = [crop({"image": torch.zeros(3, 40, 40), "label": label})[0] for _ in range(200)]
    assert {key: item.shape for key, item in crops[0].items()} == {"image": (3, 5, 5), "label": (channels, 5, 5)}
    assert 80 < sum(item["label"][0, 2, 2].item() for item in crops) < 120


def test_the_separation_of_instances_is_learned(dataset, tmp_path):
    keys = {**QUICK, "dataset_dir": str(dataset), "ckpt_dir": str(tmp_path / "models"), "max_epochs": 1}
    keys["crop"] = "by_class"
    monai.bundle.run(
        "training", config_file=str(CONFIGS / "train.yaml"), output_dir=str(tmp_path / "log"),
        **{**keys, "instances": "true"},
    )  # fmt: skip
    network = DPSAU2NetLite(2, 3, 2)  # nuclei, and the distance
    load_weights(network, tmp_path / "models" / "model.pt")
    # the weights alone say so in evaluation
    configs = [str(CONFIGS / "train.yaml"), str(CONFIGS / "evaluate.yaml")]
    monai.bundle.run("evaluating", config_file=configs, output_dir=str(tmp_path / "eval"), **keys)
    rows = list(csv.DictReader((tmp_path / "eval" / "images.csv").open()))
    assert len(rows) == 4 and all(float(row["true_instances"]) > 0 for row in rows)


def test_volumes_train_too(tmp_path):
    import nibabel
    import numpy as np

    rng = np.random.default_rng(0)
    for i in range(8):
        mask = np.zeros((40, 36, 33), np.uint8)
        mask[5:20, 8:30, 4 + i : 20] = 1
        for folder, array in (("images", mask + rng.normal(0, 0.1, mask.shape)), ("masks", mask)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            nibabel.save(
                nibabel.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / "data" / folder / f"{i}.nii.gz"
            )
    succeeded(
        bundle_run(
            "training", "train.yaml",
            dataset_dir=tmp_path / "data", ckpt_dir=tmp_path / "models", output_dir=tmp_path / "log",
            spatial_dims=3, in_channels=1, **{**QUICK, "max_epochs": 1, "roi_size": [32, 32, 32]},
        )
    )  # fmt: skip
    network = DPSAU2NetLite(3, 1, 1)
    load_weights(network, tmp_path / "models" / "model.pt")
    assert network.eval()(torch.zeros(1, 1, 40, 36, 33)).shape == (1, 1, 40, 36, 33)


def test_paper_protocol(dataset, tmp_path):
    """The published recipe, but for the network and the size of its images, which would take an hour here."""
    parser = parsed("train.yaml", "paper.yaml")
    assert isinstance(parser.get_parsed_content("network_def"), DPSAU2Net)
    assert parser["max_epochs"] == 200 and parser["batch_size"] == 16
    keys = {
        "dataset_dir": dataset, "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "log",
        "network_def#_target_": "dpsau2net_monai.networks.DPSAU2NetLite",
        "train#deterministic_transforms#2#spatial_size": [64, 64],
        "size": 0.75, "num_workers": 0, "bundle_root": "bundle", "max_epochs": 1,
    }  # fmt: skip
    succeeded(bundle_run("training", "train.yaml", "paper.yaml", **keys))
    keys["output_dir"] = tmp_path / "eval"
    succeeded(bundle_run("evaluating", "train.yaml", "paper.yaml", "evaluate.yaml", **keys))
    assert (tmp_path / "eval" / "metrics.csv").is_file()


@pytest.mark.slow
def test_the_recipe_of_the_shipped_weights(dataset, tmp_path):
    keys = {**QUICK, "dataset_dir": dataset, "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "log"}
    keys |= {"csvfile": "$None", "max_epochs": 1, "val_interval": 1}
    succeeded(bundle_run("training", "train.yaml", "nuclei.yaml", **keys))
    load_weights(DPSAU2NetLite(2, 3, 1), tmp_path / "models" / "model.pt")
    (epoch,) = csv.DictReader((tmp_path / "models" / "history.csv").open())
    assert epoch["epoch"] == "1.0" and float(epoch["train_loss"]) > 0 and 0 <= float(epoch["val_mean_dice"]) <= 1


@pytest.mark.slow
def test_two_processes_train_one_network(dataset, tmp_path):
    """What multi_gpu_train.yaml does on GPUs, on the CPU."""
    result = bundle_run(
        "training", "train.yaml", "multi_gpu_train.yaml",
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        dataset_dir=dataset, tracking="mlflow", **{**QUICK, "bundle_root": tmp_path, "max_epochs": 1},
    )  # fmt: skip
    assert succeeded(result).stdout.count("Epoch[1] Metrics -- train_loss") == 1  # one process reports
    (run,) = (tmp_path / "runs").iterdir()  # both processes chose one folder
    load_weights(DPSAU2NetLite(2, 3, 1), run / "model.pt")
    assert (run / "run.json").is_file() and (run / "log" / "mlruns.db").is_file()
    numbers = {path.name.split(".")[-2] for path in (run / "log").glob("events.*")}
    assert len(numbers) == 1  # of processes: one writes to TensorBoard


def test_a_run_that_ends_before_its_record_leaves_no_folder(dataset, tmp_path):
    result = bundle_run(
        "training", "train.yaml", dataset_dir=dataset, amp="half", **{**QUICK, "bundle_root": tmp_path}
    )  # fmt: skip
    assert result.stderr == "error: amp is 'half'; it must be true or false, or auto\n"
    assert not list((tmp_path / "runs").iterdir())


def _no_dataset(folder):
    shutil.rmtree(folder)
    return {}


def _no_mask(folder):
    (folder / "masks" / "nuclei_003.png").unlink()
    return {}


def _other_size(folder):
    from PIL import Image

    Image.new("L", (9, 9)).save(folder / "masks" / "nuclei_003.png")
    return {}


def _empty(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    return {}


def _unreadable(folder):
    path = folder / "images" / "nuclei_005.png"
    path.write_bytes(path.read_bytes()[:-1000])
    return {}


def test_what_cannot_be_used_is_left_out_on_demand(dataset, tmp_path, caplog):
    shutil.copytree(dataset, tmp_path / "data")
    _no_mask(tmp_path / "data")
    _unreadable(tmp_path / "data")
    _other_size(tmp_path / "data")
    parser = parsed("train.yaml")
    parser.update({"dataset_dir": str(tmp_path / "data"), "skip_bad": True})
    assert sum(map(len, parser.get_parsed_content("datalist").values())) == 14
    for name in ("nuclei_003", "nuclei_005"):
        assert [record.levelname for record in caplog.records if name in record.getMessage()] == ["WARNING"]


@pytest.mark.parametrize(
    "spoil, says",
    [
        (_no_dataset, "no such dataset folder"),
        (_no_mask, "nuclei_003.png: has no mask"),
        (_other_size, "nuclei_003.png: the mask is 9 x 9, its image"),
        (_empty, "has no images"),
        (_unreadable, "nuclei_005.png: cannot be read as a picture"),
        (lambda folder: {"loss": "lovasz"}, "loss is 'lovasz'; it must be one of dice, ce, dicece, focal, tversky"),
        (
            lambda folder: {"loss": "tversky", "class_weights": [2]},
            "the loss tversky takes no class_weights of a single class; set loss to ce or dicece",
        ),
        (
            lambda folder: {"class_weights": [1, 2]},
            "class_weights is [1, 2]; give a list with a weight for each of 1 channels",
        ),
        (lambda folder: {"validate#inferer#sw_batch_size": 0}, "sw_batch_size is 0; it must be a whole number from 1"),
        (lambda folder: {"batch_size": 0}, "batch_size is 0; it must be a whole number from 1"),
        (lambda folder: {"patience": "some"}, "patience is some; it must be a whole number from 1"),
        (lambda folder: {"patience": 0}, "patience is 0; it must be a whole number from 1"),
        (lambda folder: {"learning_rate": "low"}, "learning_rate is low; it must be a number from 0 on"),
        (lambda folder: {"ema_momentum": 5}, "ema_momentum is 5; it must be a number from 0 to 1"),
        (lambda folder: {"crop_size": [32]}, "crop_size is [32]; give a whole number for each of 2 axes"),
        (lambda folder: {"max_minutes": "ten"}, "max_minutes is ten; it must be a number from 0 on"),
        (lambda folder: {"class_weights": "balanced"}, "class_weights is balanced; give a list with a weight for each"),
        (lambda folder: {"roi_size": 128}, "roi_size is 128; give a list, or null"),
        (lambda folder: {"device": "gpu"}, "device is 'gpu'; set it to cpu, or to cuda for an NVIDIA GPU"),
        (lambda folder: {"pretrained": "none.pt"}, "none.pt: no such weights file"),
        (lambda folder: {"csvfile": "$bundle.gone()"}, "the config was written for another version of dpsau2net_monai"),
        (
            lambda folder: {"network_def#_target_": "dpsau2net_monai.networks.UNet"},
            "Cannot locate class or function path",
        ),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(spoil, says, dataset, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset, folder)
    result = bundle_run(
        "training", "train.yaml",
        **{**QUICK, "dataset_dir": folder, "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "log",
           **spoil(folder)},
    )  # fmt: skip
    assert result.returncode != 0
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and says in result.stderr
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "models").exists() and not (tmp_path / "log").exists()
