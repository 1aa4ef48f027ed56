"""Keeping a training run through whatever happens to it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from ignite.engine import Engine, Events
from monai.data import set_rnd
from monai.utils import set_determinism
from torch import nn

from ..errors import InputError
from ..files import whole_file

__all__ = ["RunKeeper"]


def _write_table(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


class RunKeeper:
    """
    Ignite handler of a trainer that keeps its best weights and, after every epoch, its curves and all that it takes to
    go on; with ``resume`` it goes on from the last whole epoch. On the CPU a run that was killed and resumed ends with
    the very weights of one that was not: each epoch's randomness is a function of the seed and the epoch alone.

    ``monai.handlers.CheckpointSaver`` writes over the file that it replaces, so that a full disk loses both, and starts
    anew with what was best; ``CheckpointLoader`` restores no randomness.

    Put it behind the handlers of the learning rate and of validation: what they change belongs to the epoch.

    Args:
        folder: where ``model.pt``, the weights of the best validation or, where no image validates, of the last epoch,
            ``state-EPOCH.pt`` and ``history.csv``, each epoch's learning rate, training loss and, where it was
            validated, metrics, are written.
        network: the network itself, not what ``DistributedDataParallel`` wraps around it.
        optimizer: of the trainer.
        lr_scheduler: of the trainer.
        evaluator: the validation's engine; its key metric, the larger the better, decides what is best.
        seed: of the run.
        resume: whether to go on from the last state in ``folder``; where there is none, the run begins.
        n_saved: how many epochs' states are kept.
        patience: epochs without a better validation after which the run ends; None: it goes on.
    """

    def __init__(
        self,
        folder: str,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
        evaluator: Engine,
        seed: int,
        resume: bool = False,
        n_saved: int = 2,
        patience: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.parts = {"model": network, "optimizer": optimizer, "lr_scheduler": lr_scheduler}
        self.seed = seed
        self.resume = resume
        self.n_saved = n_saved
        self.patience = patience
        self.best: dict[str, Any] = {"metric": float("-inf"), "epoch": 0}
        self.history: list[dict[str, float]] = []
        self.evaluator = evaluator
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedTrainer``.
        """
        if engine.scaler is not None:
            self.parts["scaler"] = engine.scaler
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.seed_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_state)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_patience)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_best)

    def start(self, engine: Engine) -> None:
        if not self.resume:
            return
        states = self._states()
        if not states:
            engine.logger.info(f"{self.folder}: nothing to resume, beginning")
        for path in reversed(states):
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                break
            except Exception:  # of whatever kind the unpickler stumbles into
                engine.logger.warning(f"{path}: is cut short or damaged; taking the one before")
        else:
            if states:
                raise InputError(f"{self.folder}: none of its {len(states)} states can be read; begin without resume")
            return
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{path}: is of another network or optimizer; resume with the config that stands beside it"
            ) from error
        self.best, self.history = state["best"], state["history"]
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * engine.state.epoch_length
        engine.logger.info(f"{path}: going on after epoch {state['epoch']}")

    def seed_epoch(self, engine: Engine) -> None:
        seed = int(np.random.SeedSequence([self.seed, engine.state.epoch, self.rank]).generate_state(1)[0])
        set_determinism(seed)
        set_rnd(engine.data_loader.dataset, seed)
        self.learning_rate = self.parts["optimizer"].param_groups[0]["lr"]
        engine.set_data(engine.data_loader)  # a fresh iterator: the order of the images, too, is drawn from here on

    def save_best(self, evaluator: Engine) -> None:
        metric = evaluator.state.metrics[evaluator.state.key_metric_name]
        if metric > self.best["metric"]:
            self.best = {"metric": float(metric), "epoch": evaluator.state.epoch}
            self._save("model.pt", self.parts["model"].state_dict())

    def save_state(self, engine: Engine) -> None:
        epoch = {"epoch": engine.state.epoch, "learning_rate": self.learning_rate, **engine.state.metrics}
        if self.evaluator.state.epoch == engine.state.epoch:
            epoch.update(self.evaluator.state.metrics)
        self.history.append({name: float(value) for name, value in epoch.items()})
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state.update(best=self.best, history=self.history, epoch=engine.state.epoch)
        if not len(self.evaluator.data_loader):  # nothing validates: too few labels in MONAI Label
            self._save("model.pt", state["model"])
        self._save(f"state-{engine.state.epoch:05d}.pt", state)
        self._save("history.csv", self.history, _write_table)
        if self.rank == 0:
            for path in self._states()[: -self.n_saved]:
                path.unlink()

    def check_patience(self, engine: Engine) -> None:
        if self.patience is not None and engine.state.epoch - self.best["epoch"] >= self.patience:
            engine.logger.info(f"no better validation since epoch {self.best['epoch']}: stopping")
            engine.terminate()

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("state-*.pt"))

    def _save(self, name: str, content: Any, write: Callable[[Any, Path], object] | None = None) -> None:
        if self.rank != 0:
            return
        path = self.folder / name
        try:
            with whole_file(path) as part:
                (write or torch.save)(content, part)
        except (OSError, RuntimeError) as error:  # torch wraps what the disk says
            raise InputError(
                f"{path}: cannot be written ({error}); what was saved before is kept, "
                "and --resume true goes on from there"
            ) from error
