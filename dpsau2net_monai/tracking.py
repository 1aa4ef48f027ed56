"""What MONAI's experiment tracking, ``--tracking mlflow``, lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from monai.handlers import MLFlowHandler

from .run_record import RECORD

__all__ = ["track_run"]


def _is_plain(value: object) -> bool:
    """Whether a config's value is one that a person would set, no expression, reference or macro and no component."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, dict) and not (isinstance(value, str) and value[:1] in ("$", "@", "%"))


def track_run(train_handlers: Sequence, validate_handlers: Sequence, folder: str | os.PathLike) -> None:
    """
    Let MLflow's handlers, where MONAI has added them, keep the run's record with its curves: its plain keys as
    parameters, the files of :func:`record_run` as artifacts. MONAI names the config's file wrongly once ``output_dir``
    is set, adds to any unfinished run that it finds, and gives the batches' loss the name of the epochs'.

    Args:
        train_handlers: of the trainer.
        validate_handlers: of the validation's evaluator.
        folder: that :func:`record_run` wrote the record to.
    """
    folder = Path(folder)
    for handler in (*train_handlers, *validate_handlers):
        if isinstance(handler, MLFlowHandler):
            # the same name once more where the run is resumed, and only there: its curves go on
            started = json.loads((folder / "run.json").read_text(encoding="utf-8"))["started"]
            handler.run_name = f"{handler.run_name or folder.resolve().name} {started}"
            handler.tag_name = "batch_loss"
            if handler in train_handlers:
                config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
                handler.experiment_param = {key: value for key, value in config.items() if _is_plain(value)}
                handler.artifacts = [str(folder / name) for name in RECORD]
