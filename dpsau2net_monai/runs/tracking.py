"""What MONAI's experiment tracking (``--tracking mlflow``) lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from monai.config import PathLike
from monai.handlers import MLFlowHandler

from .record import RECORD

__all__ = ["track_run"]


def _is_plain(value: object) -> bool:
    """Whether a config's value is one that a person sets: no expression, reference, macro or component."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, dict) and not (isinstance(value, str) and value[:1] in ("$", "@", "%"))


def track_run(train_handlers: Sequence[object], validate_handlers: Sequence[object], folder: PathLike) -> None:
    """
    Let the MLflow handlers that MONAI added, if any, keep the run's record beside its curves: the config's plain keys
    as parameters, the files of :func:`record_run` as artifacts. Three of MONAI's defaults are corrected: it names the
    wrong config file once ``output_dir`` is set, it adds to any unfinished run that it finds, and the loss of a batch
    and that of an epoch get the same name.

    Args:
        train_handlers: of the trainer.
        validate_handlers: of the validation's evaluator.
        folder: that :func:`record_run` wrote to.
    """
    folder = Path(folder)
    for handler in (*train_handlers, *validate_handlers):
        if isinstance(handler, MLFlowHandler):
            # A resumed run has the same name, so that its curves continue. No other run has it.
            started = json.loads((folder / "run.json").read_text(encoding="utf-8"))["started"]
            handler.run_name = f"{handler.run_name or folder.resolve().name} {started}"
            handler.tag_name = "batch_loss"
            if handler in train_handlers:
                config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
                handler.experiment_param = {key: value for key, value in config.items() if _is_plain(value)}
                handler.artifacts = tuple(str(folder / name) for name in RECORD)
