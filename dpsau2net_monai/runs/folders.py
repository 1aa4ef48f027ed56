"""Where the runs of a bundle are."""

from __future__ import annotations

import atexit
import shutil
import time
from datetime import datetime
from pathlib import Path

import ignite.distributed as idist
from monai.config import PathLike

from ..errors import InputError

__all__ = ["newest_run", "run_folder"]

PACKAGE = __package__.partition(".")[0]

# The new folder of each bundle, until a run is recorded there. MONAI's experiment tracking evaluates a config twice.
_new: dict[Path, Path] = {}


def _runs(bundle_root: PathLike, file: str, others: str = "") -> list[Path]:
    """The folders in ``runs`` that have the file, sorted by when it, or one of the others, was last written."""

    def written(folder: Path) -> tuple[int, Path]:
        files = [folder / file, *(folder.glob(others) if others else ())]
        return max(path.stat().st_mtime_ns for path in files), folder

    return sorted((path.parent for path in Path(bundle_root).glob(f"runs/*/{file}")), key=written)


def _remove_unused(folder: Path) -> None:
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"log"}:
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder(runs: Path) -> Path:
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            folder = runs / f"{datetime.now():%Y%m%d-%H%M%S}"
            try:
                folder.mkdir()
                atexit.register(_remove_unused, folder)  # an error may end the process before a run is recorded there
                return folder
            except FileExistsError:  # of a run that began in the same second
                time.sleep(0.1)
    except OSError as error:
        raise InputError(f"{runs}: cannot be written to ({error.strerror})") from error


def run_folder(bundle_root: PathLike, resume: bool = False) -> str:
    """
    Choose where a training run keeps its weights and its record.

    Args:
        bundle_root: folder of the bundle.
        resume: whether to continue the newest run, where there is one.

    Returns:
        The name of a new folder ``runs/DATE-TIME`` of the bundle, which is made, or the newest run's. A packaged
        bundle, which carries this package, trains into its ``models``: MONAI Label and the model zoo look for the
        weights there. All processes of a distributed run get the same folder.

    Raises:
        InputError: the folder cannot be made.
    """
    root = Path(bundle_root)
    if (root / PACKAGE).is_dir():
        return str(root / "models")
    folder = ""
    if idist.get_rank() == 0:
        runs = _runs(root, "run.json", "state-*.pt") if resume else []
        if not runs and (root not in _new or (_new[root] / "run.json").exists()):
            _new[root] = _make_folder(root / "runs")
        folder = str(runs[-1] if runs else _new[root])
    return str(idist.broadcast(folder, src=0))


def newest_run(bundle_root: PathLike) -> str:
    """
    Find the weights to evaluate.

    Args:
        bundle_root: folder of the bundle.

    Returns:
        The folder of the newest run in ``runs`` that has weights, or ``models`` where there is none.
    """
    runs = _runs(bundle_root, "model.pt")
    return str(runs[-1] if runs else Path(bundle_root) / "models")
