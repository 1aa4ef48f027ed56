"""Training in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, Signal

from ..data import find_pairs, name_of, write_split
from ..data.datalist import FOLDS
from ..errors import InputError
from ..runs import read_history, run_folder
from .segmenting import bundle_of, weights_file

__all__ = ["Training", "read_curves"]

PATIENCE = 10_000  # ms, for a process that is to end


def read_curves(run: Path) -> dict[str, list[float]]:
    """Return the curves of a run by their names, NaN at the epochs that a curve lacks. Empty: no epoch is done."""
    rows = read_history(run / "history.csv")
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]} if rows else {}


def _write_split(dataset: Path, path: Path) -> None:
    """Write a split in which one of FOLDS images validates and none tests, as there may be only a few."""
    names = sorted(name_of(pair["image"]) for pair in find_pairs(dataset))
    if len(names) < 2:
        raise InputError(f"{dataset}: has {len(names)} images; save at least two, as one of them validates")
    write_split(path, {name: "train" if index % FOLDS else "validation" for index, name in enumerate(names)})


class Training(QObject):
    """
    A training of the bundle that the weights belong to, from these weights on, in a new folder ``run``.

    Args:
        dataset: what :func:`dpsau2net_monai.napari.saving.save_pair` writes.
        weights: to begin with. Their ``task.yaml`` says what is segmented.
        epochs: their number.
        parent: the object that the process ends with.

    Raises:
        InputError: the weights cannot be used, or the dataset has less than two images.
    """

    finished = Signal()

    def __init__(self, dataset: Path, weights: Path, epochs: int, parent: QObject) -> None:
        super().__init__(parent)
        weights = weights_file(weights)
        bundle = bundle_of(weights)
        self.run = Path(run_folder(bundle))
        _write_split(dataset, self.run / "split.csv")
        self.epochs = epochs
        self.log = ""
        self.stopped = False
        keys = {
            "config_file": bundle / "configs" / "train.yaml",
            "bundle_root": bundle,
            "dataset_dir": dataset.absolute(),
            "csvfile": self.run / "split.csv",
            "ckpt_dir": self.run,
            "pretrained": weights,
            "task_path": weights.with_name("task.yaml"),
            "max_epochs": epochs,
            "num_workers": 0,
        }
        arguments = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        self._process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONWARNINGS", "ignore")
        self._process.setProcessEnvironment(environment)
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.finished.connect(self.finished)
        self._process.start(sys.executable, ["-m", "monai.bundle", "run", "training", *arguments])

    def _read(self) -> None:
        self.log += bytes(self._process.readAllStandardOutput().data()).decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    @property
    def outcome(self) -> str:
        """One line on how the process ended."""
        if self.stopped:
            kept = (self.run / "model.pt").is_file()
            return f"stopped; {'the weights of the best epoch so far are kept' if kept else 'there are no weights yet'}"
        if self._process.exitCode() == 0:
            return "finished"
        lines = [line for line in self.log.splitlines() if line.strip()]
        return next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "training failed")

    def stop(self) -> None:
        """End the process. What it has written so far is whole, and ``--resume true`` would continue it."""
        if self.running:
            self.stopped = True
            self._process.terminate()
            if not self._process.waitForFinished(PATIENCE):
                self._process.kill()
                self._process.waitForFinished(PATIENCE)
