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

import yaml
from monai.bundle import ConfigParser
from monai.config import get_config_values

from . import __version__
from .errors import InputError
from .files import whole_file

__all__ = ["record_run"]

RECORD = ("run.json", "config.yaml", "datalist.json", "history.csv")


def _parser_in_use() -> ConfigParser:
    """The parser that is evaluating the expression we are called from. MONAI gives an expression no other way to it."""
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    raise RuntimeError("record_run is to be called from a bundle's config")


def record_run(
    folder: str, seed: int, datalist: Mapping[str, Sequence[Mapping[str, str]]], resume: bool = False
) -> None:
    """
    Prepare ``folder`` for the weights of a new run. A former run there, weights and record, moves into a folder
    ``before-DATE-TIME`` within it; ``model.pt`` stays as well, until the new run's first weights replace it: a server
    may be using it, and the run may begin with it. Then are written

    - ``config.yaml``: the whole config, overrides merged: ``--config_file`` takes it to run it again,
    - ``datalist.json``: the images that the run trains, validates and tests on: ``--dataset_dir`` takes it,
    - ``run.json``: seed, command, time and versions.

    Args:
        folder: where the run writes its weights.
        seed: of the run.
        datalist: lists of ``{"image": path, "label": path}`` by part. A part that is not among them, such as the test
            images, is that of the config's key ``datalist`` if the run takes its training images from there.
        resume: whether the run goes on with the one that is recorded there: nothing is moved and nothing written.

    Raises:
        InputError: the folder cannot be written to, or the run to go on with had another seed or other images.
    """
    now = datetime.now()
    target = Path(folder)
    parser = _parser_in_use()
    config = {key: value for key, value in parser.config.items() if key != "_meta_"}
    # MONAI Label gives the lists themselves instead
    drawn = parser.get_parsed_content("datalist") if "@datalist" in str(config["train"]["dataset"]["data"]) else {}
    absolute = {
        part: [{key: str(Path(path).absolute()) for key, path in pair.items()} for pair in pairs]
        for part, pairs in {**drawn, **datalist}.items()
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
                (shutil.copy2 if path.name == "model.pt" else shutil.move)(path, aside)
        record = {
            "seed": seed,
            "command": sys.argv,
            "started": now.isoformat(timespec="seconds"),
            "machine": f"{platform.platform()}, {platform.machine()}",
            "versions": {"Python": platform.python_version(), "dpsau2net-monai": __version__, **get_config_values()},
        }
        texts = {
            "config.yaml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
            "datalist.json": json.dumps(absolute, indent=1),
            "run.json": json.dumps(record, indent=1, default=str),
        }
        for name, text in texts.items():
            with whole_file(target / name) as part:
                part.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror})") from error
