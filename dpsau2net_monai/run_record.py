"""What a training run leaves beside its weights, so that it can be repeated."""

from __future__ import annotations

import inspect
import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.config import get_config_values

from . import __version__
from .errors import InputError
from .files import whole_file

__all__ = ["record_run"]

RECORD = ("run.json", "config.yaml", "datalist.json")


def _config_in_use() -> dict[str, Any]:
    """
    The config, overrides merged, of the ``ConfigParser`` that is evaluating the expression we are called from. MONAI
    gives an expression no other way to it.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            config = dict(parser.config)
            config.pop("_meta_", None)
            return config
        frame = frame.f_back
    raise RuntimeError("record_run is to be called from a bundle's config")


def record_run(
    folder: str, seed: int, datalist: Mapping[str, Sequence[Mapping[str, str]]], resume: bool = False
) -> None:
    """
    Prepare ``folder`` for the weights of a new run. A former run there, weights and record, moves into a folder
    ``before-DATE-TIME`` within it; then are written

    - ``config.yaml``: the whole config with the command line's overrides: ``--config_file`` takes it to run it again,
    - ``datalist.json``: the images that the run trains, validates and tests on: ``--dataset_dir`` takes it,
    - ``run.json``: seed, command, time and versions.

    Args:
        folder: where the run writes its weights.
        seed: of the run.
        datalist: lists of ``{"image": path, "label": path}`` by part.
        resume: whether the run goes on with the one that is recorded there: nothing is moved and nothing written.

    Raises:
        InputError: the folder cannot be written to, or the run to go on with had another seed or other images.
    """
    now = datetime.now()
    target = Path(folder)
    absolute = {
        part: [{key: str(Path(path).absolute()) for key, path in pair.items()} for pair in pairs]
        for part, pairs in datalist.items()
    }
    if resume and (target / "run.json").is_file():
        for name, key, value in (("run.json", "seed", seed), ("datalist.json", None, absolute)):
            recorded = json.loads((target / name).read_text(encoding="utf-8"))
            if (recorded if key is None else recorded[key]) != value:
                raise InputError(f"{target / name}: the run to resume had another {key or 'split or other images'}")
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        former = [path for path in target.iterdir() if path.name in RECORD or path.suffix == ".pt"]
        if former:
            aside = target / f"before-{now:%Y%m%d-%H%M%S}"
            aside.mkdir()
            for path in former:
                shutil.move(path, aside)
        record = {
            "seed": seed,
            "command": sys.argv,
            "started": now.isoformat(timespec="seconds"),
            "machine": f"{platform.platform()}, {platform.machine()}",
            "versions": {"Python": platform.python_version(), "dpsau2net-monai": __version__, **get_config_values()},
        }
        texts = {
            "config.yaml": yaml.safe_dump(_config_in_use(), sort_keys=False, allow_unicode=True),
            "datalist.json": json.dumps(absolute, indent=1),
            "run.json": json.dumps(record, indent=1, default=str),
        }
        for name, text in texts.items():
            with whole_file(target / name) as part:
                part.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror})") from error
