"""Federated learning with the bundle as it stands: two of MONAI's clients, and in the server's place a mean."""

from __future__ import annotations

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics
from monai.fl.utils.exchange_object import ExchangeObject
from running import QUICK, ROOT

from dpsau2net_monai.data import synthesize
from dpsau2net_monai.networks import DPSAU2NetLite

ROUNDS = 2


def client(name, seed, folder) -> MonaiAlgo:
    synthesize(folder / name, 12, size=(48, 48), seed=seed)
    keys = {**QUICK, "instances": None, "bundle_root": str(ROOT / "bundle"), "dataset_dir": str(folder / name)}
    # the epochs of all rounds together, over which the rate falls: to a client, max_epochs are those of one round
    keys["lr_scheduler#T_max"] = ROUNDS
    algo = MonaiAlgo(
        bundle_root=str(ROOT / "bundle"),
        config_train_filename="configs/train.yaml",
        config_evaluate_filename=["configs/train.yaml", "configs/evaluate.yaml"],
        train_kwargs={**keys, "ckpt_dir": str(folder / name / "models"), "output_dir": str(folder / name / "log")},
        eval_kwargs={**keys, "output_dir": str(folder / name / "eval")},
    )
    algo.initialize({ExtraItems.CLIENT_NAME: name})
    return algo


def test_rounds_of_two_clients(tmp_path):
    clients = [client(name, seed, tmp_path) for seed, name in enumerate(("here", "there"))]
    weights = DPSAU2NetLite(2, 3, 2).state_dict()
    for _round in range(ROUNDS):
        gains, iterations = [], []
        for algo in clients:
            algo.train(ExchangeObject(weights=weights))
            given = algo.get_weights()
            assert given.weights.keys() == weights.keys()
            gains.append(given.weights)
            iterations.append(given.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS])
        assert iterations == [2, 2]
        assert not torch.equal(gains[0]["fuse.weight"], gains[1]["fuse.weight"])  # each learns from its own images
        weights = {
            name: value + sum(gain[name] for gain in gains).div(len(gains)).to(value.dtype)
            for name, value in weights.items()
        }
        for algo in clients:
            metrics = algo.evaluate(ExchangeObject(weights=weights)).metrics
            assert 0 <= metrics["val_mean_dice"] <= 1 and metrics["val_hd95"] >= 0
            there = algo.evaluator.network.state_dict()
            assert all(torch.equal(there[name], value) for name, value in weights.items())
    assert [algo.trainer.state.epoch for algo in clients] == [ROUNDS, ROUNDS]
    for algo in clients:
        algo.finalize()
    # what a client keeps of its own: its best weights and its scores
    for name in ("here", "there"):
        assert all((tmp_path / name / file).is_file() for file in ("models/model.pt", "eval/metrics.csv"))
