"""Keeping a training run's weights and states, and resuming it."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from ignite.engine import Events
from monai.data import set_rnd
from monai.engines import Evaluator, Trainer
from monai.utils import set_determinism
from torch import nn

from ..errors import InputError
from ..files import clear_parts, whole_file
from ..schedules import CosineOverTime
from .weight_average import WeightAverage

__all__ = ["RunKeeper"]


def _write_table(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


class RunKeeper:
    """
    Ignite handler of a trainer. It keeps the best weights and, after every epoch, the curves and the state of the run.
    With ``resume`` it continues after the last complete epoch. On the CPU, a run that was killed and resumed ends with
    exactly the weights of one that was not, since the randomness of each epoch depends on the seed and the epoch alone.

    ``monai.handlers.CheckpointSaver`` overwrites the file that it replaces, so that a full disk destroys both, and
    forgets what was best; ``CheckpointLoader`` restores no randomness. ``ignite.handlers.Checkpoint`` deletes the
    oldest state before it saves the new one. A run that was killed in between has one state less, and cannot be
    resumed: its list names the deleted file. ``ignite.handlers.DiskSaver(atomic=True)`` then leaves a file of a random
    name, which a resumed run cannot tell from others.

    Put it behind the handlers of the learning rate and of validation, as what they change belongs to the epoch.

    Args:
        folder: where these are written: ``model.pt``, the averaged weights of the best validation or, where there was
            none, of the last epoch; ``state-EPOCH.pt``; and ``history.csv``, with the learning rate, the training
            loss and the validation metrics of each epoch.
        network: the network itself, without ``DistributedDataParallel`` around it.
        average: the average of its weights. This handler attaches it.
        optimizer: of the trainer.
        lr_scheduler: of the trainer. A resumed run keeps the ``T_max`` of a ``CosineAnnealingLR`` that is given here.
        evaluator: the validation's engine. Its key metric decides which weights are best; larger is better.
        seed: of the run.
        resume: whether to continue from the last state in ``folder``. Where there is none, the run begins.
        n_saved: number of epochs whose states are kept.
        patience: number of epochs without a better validation after which a validation ends the run. None: it
            continues.
    """

    def __init__(
        self,
        folder: str,
        network: nn.Module,
        average: WeightAverage,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
        evaluator: Evaluator,
        seed: int,
        resume: bool = False,
        n_saved: int = 2,
        patience: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.parts: dict[str, Any] = {
            "model": network,
            "average": average,
            "optimizer": optimizer,
            "lr_scheduler": lr_scheduler,
        }
        self.seed = seed
        self.resume = resume
        self.n_saved = n_saved
        self.patience = patience
        self.best: dict[str, Any] = {"metric": float("-inf"), "epoch": 0}
        self.history: list[dict[str, float]] = []
        self.evaluator = evaluator
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0

    def attach(self, engine: Trainer) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedTrainer``.
        """
        if engine.scaler is not None:
            self.parts["scaler"] = engine.scaler
        self.parts["average"].attach(engine)  # first, as a state that is resumed replaces what it begins with
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.seed_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_state)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_patience)
        engine.add_event_handler(Events.COMPLETED, self.save_last)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_best)

    def start(self, engine: Trainer) -> None:
        if isinstance(self.parts["lr_scheduler"], CosineOverTime):
            self.parts["lr_scheduler"].start()
        if not self.resume:
            return
        if self.rank == 0:
            clear_parts(self.folder)
        states = self._states()
        if not states:
            engine.logger.info(f"{self.folder}: there is nothing to resume; the run begins")
        for path in reversed(states):
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                break
            except Exception:  # a damaged file can raise any kind
                engine.logger.warning(f"{path}: is cut short or damaged; the state before it is taken")
        else:
            if states:
                raise InputError(f"{self.folder}: none of its {len(states)} states can be read; begin without resume")
            return
        try:
            self._load(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{path}: belongs to another network or optimizer; resume with the config.yaml beside it"
            ) from error
        self.best, self.history = state["best"], state["history"]
        for key, value in state.get("engine", {}).items():  # states of earlier versions have none
            setattr(engine.state, key, value)
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * engine.state.epoch_length
        engine.logger.info(f"{path}: continuing after epoch {state['epoch']}")

    def _load(self, state: Mapping[str, Any]) -> None:
        lr_scheduler = self.parts["lr_scheduler"]
        length, given = (getattr(lr_scheduler, name, None) for name in ("T_max", "base_lrs"))
        for name, part in self.parts.items():
            if name != "scaler" or name in state:  # there is none of a run that began without float16
                part.load_state_dict(state[name])
        if given is not None and lr_scheduler.base_lrs != given:
            kept = ", ".join(f"{rate:g}" for rate in lr_scheduler.base_lrs)
            logging.getLogger("dpsau2net_monai").warning(
                f"the run keeps the learning rate that it began with, {kept}; for another, begin a run with pretrained"
            )
        if length is not None and length != lr_scheduler.T_max:  # max_epochs has changed
            lr_scheduler.T_max = length
            rates = lr_scheduler._get_closed_form_lr()  # its steps go on from the rate before
            for group, rate in zip(self.parts["optimizer"].param_groups, rates):
                group["lr"] = rate

    def seed_epoch(self, engine: Trainer) -> None:
        seed = int(np.random.SeedSequence([self.seed, engine.state.epoch, self.rank]).generate_state(1)[0])
        set_determinism(seed)
        loader: Any = engine.data_loader
        set_rnd(loader.dataset, seed)
        self.learning_rate = self.parts["optimizer"].param_groups[0]["lr"]
        engine.set_data(loader)  # a new iterator, so that the order of the images is drawn with this seed too

    def save_best(self, evaluator: Evaluator) -> None:
        metric = evaluator.state.metrics[evaluator.state.key_metric_name]
        if metric > self.best["metric"]:
            self.best = {"metric": float(metric), "epoch": evaluator.state.epoch}
            self._save_weights()

    def save_state(self, engine: Trainer) -> None:
        epoch = {"epoch": engine.state.epoch, "learning_rate": self.learning_rate, **engine.state.metrics}
        if self._validated(engine):
            epoch.update(self.evaluator.state.metrics)
        self.history.append({name: float(value) for name, value in epoch.items()})
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state.update(best=self.best, history=self.history, epoch=engine.state.epoch)
        state["engine"] = {key: getattr(engine.state, key) for key in engine.state_dict_user_keys}
        validated: Any = self.evaluator.data_loader
        if not len(validated):  # no image validates, as with few labels in MONAI Label
            self._save_weights()
        self._save(f"state-{engine.state.epoch:05d}.pt", state)
        self._save("history.csv", self.history, _write_table)
        if self.rank == 0:
            for path in self._states()[: -self.n_saved]:
                path.unlink()

    def check_patience(self, engine: Trainer) -> None:
        waited = engine.state.epoch - self.best["epoch"]
        if self.patience is not None and self._validated(engine) and waited >= self.patience:
            engine.logger.info(f"no better validation since epoch {self.best['epoch']}: stopping")
            engine.terminate()

    def save_last(self, engine: Trainer) -> None:
        if not self.best["epoch"]:
            engine.logger.info("no validation has chosen weights: model.pt has those of the last epoch")
            self._save_weights()

    def _validated(self, engine: Trainer) -> bool:
        """Whether a validation was in this epoch."""
        return bool(self.evaluator.state.epoch == engine.state.epoch)

    def _save_weights(self) -> None:
        weights = self.parts["average"].module.state_dict()
        # on the CPU, so that `torch.load` opens them where there is no GPU
        self._save("model.pt", {name: tensor.cpu() for name, tensor in weights.items()})

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("state-*.pt"))

    def _save(self, name: str, content: Any, write: Callable[[Any, Path], object] | None = None) -> None:
        if self.rank != 0:
            return
        path = self.folder / name
        try:
            with whole_file(path) as part:
                (write or torch.save)(content, part)
        except (OSError, RuntimeError) as error:  # torch wraps the disk's error
            raise InputError(
                f"{path}: cannot be written ({error}); what was saved before is kept, "
                "and --resume true continues from it"
            ) from error
