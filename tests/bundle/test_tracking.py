"""MONAI's ``--tracking mlflow`` on a store of the run's own."""

from __future__ import annotations

import sys

import monai.bundle
import monai.handlers.mlflow_handler
import pytest
import yaml
from mlflow.tracking import MlflowClient
from monai.bundle import ConfigParser
from monai.utils import optional_import
from running import CONFIGS, QUICK

from dpsau2net_monai.errors import root_input_error


def train(dataset, folder, **keys):
    """In this process, which is quicker than one of its own."""
    paths = {"dataset_dir": str(dataset), "ckpt_dir": str(folder / "models"), "output_dir": str(folder / "log")}
    config = str(CONFIGS / "train.yaml")
    monai.bundle.run("training", config_file=config, tracking="mlflow", **{**QUICK, **paths, **keys})


def test_a_run_and_its_going_on_leave_one_record(dataset, tmp_path):
    train(dataset, tmp_path, max_epochs=1, learning_rate=0.002, run_name="trial")
    train(dataset, tmp_path, max_epochs=1)  # another, in the same store
    client = MlflowClient(f"sqlite:///{tmp_path / 'log' / 'mlruns.db'}")
    second, run = client.search_runs([client.get_experiment_by_name("monai_experiment").experiment_id])
    assert run.info.run_name.startswith("trial 20") and second.info.run_name.startswith("models 20")
    assert run.info.status == second.info.status == "FINISHED"

    params = run.data.params
    assert params["learning_rate"] == "0.002" and params["loss"] == "dicece" and params["roi_size"] == "[32, 32]"
    assert not any(value.startswith("$") for value in params.values())

    def steps(name):
        return [metric.step for metric in client.get_metric_history(run.info.run_id, name)]

    assert steps("train_loss") == steps("val_mean_dice") == steps("val_iou") == [1]
    assert steps("batch_loss") == [1, 2, 3]
    assert 0 <= run.data.metrics["val_mean_dice"] <= 1

    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"config.yaml", "datalist.json", "history.csv", "run.json", "task.yaml"}
    with open(client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))) as file:
        assert yaml.safe_load(file)["learning_rate"] == 0.002


def test_of_several_processes_the_first_alone_reads_the_record(tmp_path):
    """The others may be there before it is written."""
    configs = [CONFIGS / name for name in ("train.yaml", "multi_gpu_train.yaml")]
    parser = ConfigParser(ConfigParser.load_config_files(configs))
    handler = {"_target_": "MLFlowHandler", "tracking_uri": f"sqlite:///{tmp_path / 'mlruns.db'}"}
    parser.update({"ckpt_dir": str(tmp_path), "rank": 1, "train#handlers": [handler], "validate#handlers": []})
    (step,) = (number for number, step in enumerate(parser["run"]) if "track_run" in step)
    assert not parser.get_parsed_content(f"run#{step}")


def test_what_to_install_where_mlflow_is_not(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    missing, _ = optional_import("mlflow", descriptor="Please install mlflow before using MLFlowHandler.")
    monkeypatch.setattr(monai.handlers.mlflow_handler, "mlflow", missing)
    with pytest.raises(Exception) as error:
        train(dataset, tmp_path)
    message = str(root_input_error(error.value))
    assert message.startswith("Please install mlflow before using MLFlowHandler") and "\n" not in message
    assert not (tmp_path / "models").exists()
