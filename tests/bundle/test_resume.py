"""Runs that survive: killed and resumed, stopped early, stopped by what is wrong."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import torch
from monai.bundle import ConfigWorkflow
from processes import fork_server
from running import CONFIGS, QUICK, ROOT, bundle_arguments, bundle_run, environment, succeeded

from dpsau2net_monai.errors import InputError, root_input_error
from dpsau2net_monai.handlers import RunKeeper
from dpsau2net_monai.runs import read_history
from dpsau2net_monai.transforms import LoadInputImaged

EPOCHS = 4


def options(dataset, folder, **keys):
    return {
        **QUICK, "dataset_dir": dataset, "ckpt_dir": folder / "models", "output_dir": folder / "log",
        "max_epochs": EPOCHS, **keys,
    }  # fmt: skip


def weights(folder):
    """All that the run ended with: the best weights and the last epoch's state."""
    best = torch.load(folder / "models" / "model.pt", weights_only=True)
    state = torch.load(folder / "models" / f"state-{EPOCHS:05d}.pt", weights_only=True)
    moments = [value for slot in state["optimizer"]["state"].values() for value in slot.values()]
    averages = list(state["average"].values())
    return [*best.values(), *state["model"].values(), *averages, *moments], state["best"], state["lr_scheduler"]


def kill_after(arguments, folder, epochs, delay):
    """Start Python and kill it, with no chance to tidy up, ``delay`` seconds after it has done so many epochs."""
    process = fork_server().start(arguments, ROOT, environment())
    deadline = time.monotonic() + 300
    while not (folder / "models" / f"state-{epochs:05d}.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    return fork_server().wait(process) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("num_workers, kills", [(0, (1, 2)), (1, (2,))])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(num_workers, kills, dataset, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    keys = {"num_workers": num_workers}
    succeeded(bundle_run("training", "train.yaml", **options(dataset, whole, **keys)))
    rng = random.Random(num_workers)
    for epochs in kills:
        arguments = bundle_arguments("training", "train.yaml", **options(dataset, killed, resume="true", **keys))
        assert kill_after(arguments, killed, epochs, rng.uniform(0, 0.5))
    (killed / "models" / ".part-1-state-00003.pt").write_bytes(b"half")  # of a process that was killed while it saved
    result = succeeded(bundle_run("training", "train.yaml", **options(dataset, killed, resume="true", **keys)))
    assert "continuing after epoch" in result.stdout

    (first, *rest), (second, *other_rest) = weights(whole), weights(killed)
    assert len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second))
    assert rest == other_rest
    curves = [(folder / "models" / "history.csv").read_text() for folder in (whole, killed)]
    assert curves[0] == curves[1] and curves[0].count("\n") == 1 + EPOCHS
    # the last two states are kept, and nothing half-written is left
    assert len(list((killed / "models").glob("state-*.pt"))) == 2
    assert not [*(killed / "models").glob("before-*"), *(killed / "models").glob(".part-*")]


@pytest.fixture
def run(dataset, tmp_path):
    """Train in this process; keys are those of the config."""

    def train(**keys):
        values = {key: value if isinstance(value, (int, float, list, dict)) else str(value)
                  for key, value in options(dataset, tmp_path, **keys).items()}  # fmt: skip
        workflow = ConfigWorkflow(str(CONFIGS / "train.yaml"), workflow_type="train", **values)
        workflow.initialize()
        workflow.run()
        return sorted(path.name for path in (tmp_path / "models").glob("*.pt"))

    return train


def message(error) -> str:
    cause = root_input_error(error.value)
    assert cause is not None and "\n" not in str(cause)
    return str(cause)


def test_states_that_cannot_be_read_or_used(run, tmp_path, capfd):
    models = tmp_path / "models"
    assert run(max_epochs=2) == ["model.pt", "state-00001.pt", "state-00002.pt"]

    # cut short: the one before it is taken
    last = models / "state-00002.pt"
    last.write_bytes(last.read_bytes()[:1000])
    assert run(max_epochs=3, resume=True)[1:] == ["state-00002.pt", "state-00003.pt"]

    with pytest.raises(Exception) as error:
        run(resume=True, **{"network_def#dropout": 0.5, "network_def#in_channels": 3, "network_def#act": "prelu"})
    assert "belongs to another network or optimizer" in message(error)
    with pytest.raises(Exception) as error:
        run(resume=True, seed=7)
    assert "the run to resume had another seed" in message(error)
    with pytest.raises(Exception) as error:
        run(resume=True, fold=1)
    assert "the run to resume had another split or other images" in message(error)
    with pytest.raises(Exception) as error:
        run(resume=True, labels="cell")
    assert "task.yaml: the run to resume had labels nucleus, not cell; give the former" in message(error)
    run(resume=True, max_epochs=4, learning_rate=0.01)
    assert "the run keeps the learning rate that it began with, 0.001; for another" in capfd.readouterr().out
    for path in models.glob("state-*.pt"):
        path.write_bytes(b"")
    with pytest.raises(Exception) as error:
        run(resume=True)
    assert "none of its 2 states can be read" in message(error)


def test_a_loss_that_is_not_finite_names_the_images_and_keeps_the_weights(run, tmp_path):
    with pytest.raises(Exception) as error:
        run(max_epochs=3, loss="nan", **{"losses#nan": {"_target_": "running.NanInSecondEpoch"}})
    assert "the loss is nan in epoch 2" in message(error) and "nuclei_0" in message(error)
    state = torch.load(tmp_path / "models" / "state-00001.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["model"].values())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_is_damaged_after_the_start_is_named(num_workers, run, monkeypatch, capfd):
    def damaged(self, data):
        raise InputError(f"{data['image']}: cannot be read as a picture")

    monkeypatch.setattr(LoadInputImaged, "__call__", damaged)
    with pytest.raises(Exception) as error:
        run(cache_num=0, num_workers=num_workers)
    assert message(error).endswith(".png: cannot be read as a picture")
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_full_disk_keeps_the_last_good_state(run, tmp_path, monkeypatch):
    save = torch.save

    def full(content, path):
        if "state-00002" in path.name:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Exception) as error:
        run(max_epochs=3)
    assert "state-00002.pt: cannot be written" in message(error) and "No space left" in message(error)
    assert sorted(path.name for path in (tmp_path / "models").glob("*")) == [
        "config.yaml", "datalist.json", "history.csv", "model.pt", "run.json", "state-00001.pt", "task.yaml",
    ]  # fmt: skip


def epochs(folder) -> list[int]:
    """The epochs of a run, each once."""
    return [int(row["epoch"].partition(".")[0]) for row in read_history(folder / "models" / "history.csv")]


@pytest.mark.parametrize(
    "keys, last",
    [
        ({"max_minutes": 0.0001, "val_interval": 5}, 1),  # before the first validation
        ({"max_epochs": 2, "val_interval": 5}, 2),
        ({"patience": 1, "learning_rate": 0.0}, 2),
        ({"patience": 1, "learning_rate": 0.0, "val_interval": 2}, 4),  # the validation of epoch 2 is the best one
        ({"patience": 1, "max_epochs": 2, "validate#dataset#data": []}, 2),  # as with few labels in MONAI Label
    ],
)
def test_a_run_that_ends_early_has_weights(keys, last, run, tmp_path):
    assert run(**{"max_epochs": 8, **keys})[0] == "model.pt"
    assert epochs(tmp_path) == list(range(1, last + 1))
    if last < keys.get("val_interval", 1):
        state = torch.load(tmp_path / "models" / f"state-{last:05d}.pt", weights_only=True)["average"]
        kept = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
        assert all(torch.equal(value, state[f"module.{name}"]) for name, value in kept.items())


def test_a_run_without_time_left_ends_at_once_and_goes_on_with_more(run, tmp_path):
    keys = {"max_epochs": 3, "val_interval": 2}
    run(max_minutes=0.0001, **keys)
    (tmp_path / "models" / "model.pt").unlink()  # as earlier versions left it
    assert run(max_minutes=0.0001, resume=True, **keys) == ["model.pt", "state-00001.pt"]
    run(max_minutes=60, resume=True, **keys)
    assert epochs(tmp_path) == [1, 2, 3]


def test_a_run_without_mixed_precision_goes_on_with_it(run, monkeypatch, tmp_path):
    run(max_epochs=1)
    attach = RunKeeper.attach

    def attach_with_scaler(keeper, engine):
        engine.scaler = torch.amp.GradScaler("cpu")  # as MONAI's trainer has it on a GPU
        attach(keeper, engine)

    monkeypatch.setattr(RunKeeper, "attach", attach_with_scaler)
    run(max_epochs=2, resume=True)
    assert epochs(tmp_path) == [1, 2]


def test_more_epochs_take_the_rates_of_a_longer_run_and_keep_the_best_weights(run, tmp_path):
    run(max_epochs=2)
    best = (tmp_path / "models" / "model.pt").read_bytes()
    state = torch.load(tmp_path / "models" / "state-00002.pt", weights_only=True)
    state.pop("engine", None)  # as earlier versions wrote it
    torch.save(state, tmp_path / "models" / "state-00002.pt")
    run(max_epochs=4, val_interval=5, resume=True)
    assert (tmp_path / "models" / "model.pt").read_bytes() == best
    rates = [float(row["learning_rate"]) for row in read_history(tmp_path / "models" / "history.csv")]
    assert rates[2:] == pytest.approx([0.0005, 0.0001464466])  # of half a cosine over 4 epochs
