"""The record that a training run leaves beside its weights, so that it can be repeated."""

from __future__ import annotations

import inspect
import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.config import get_config_values

from .. import __version__
from ..data import Task, read_task
from ..data.inspection import Pair
from ..errors import InputError
from ..files import whole_file

__all__ = ["RECORD", "record_run"]

RECORD = ("run.json", "config.yaml", "datalist.json", "history.csv", "task.yaml")

Lists = Mapping[str, Sequence[Pair]]


class _Dumper(yaml.SafeDumper):
    """Writes paths, which a call from Python may have in its config, as text."""


_Dumper.add_multi_representer(PurePath, lambda dumper, path: dumper.represent_str(str(path)))


def _parser_in_use() -> ConfigParser:
    """
    Find the parser that evaluates the expression from which we are called, among Python's frames. There is no better
    way to the config: MONAI gives an expression the values that it refers to, but not the parser. A subclass of
    ``ConfigWorkflow`` would have to be named on every command line, and MONAI Label and ``MonaiAlgo`` take none.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    raise RuntimeError("record_run must be called from a bundle's config")


def _absolute(lists: Lists) -> Lists:
    def absolute(path: str | list[str]) -> str | list[str]:
        return [str(Path(one).absolute()) for one in path] if isinstance(path, list) else str(Path(path).absolute())

    return {
        part: [{key: absolute(path) for key, path in pair.items()} for pair in pairs] for part, pairs in lists.items()
    }


def _check_same_run(folder: Path, seed: int, datalist: Lists, task: Task) -> None:
    recorded = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if recorded["seed"] != seed:
        raise InputError(f"{folder / 'run.json'}: the run to resume had another seed")
    if json.loads((folder / "datalist.json").read_text(encoding="utf-8")) != datalist:
        raise InputError(f"{folder / 'datalist.json'}: the run to resume had another split or other images")
    if not (folder / "task.yaml").is_file():
        return
    former = read_task(folder / "task.yaml")
    for name, was, now in [
        ("labels", former.labels.definition, task.labels.definition),
        *((name, getattr(former, name), getattr(task, name)) for name in ("spatial_dims", "in_channels", "modality")),
        ("spacing", list(former.spacing or []), list(task.spacing or [])),
    ]:
        if was != now:
            raise InputError(f"{folder / 'task.yaml'}: the run to resume had {name} {was}, not {now}; give the former")


def _set_former_run_aside(folder: Path, now: datetime) -> None:
    former = [path for path in folder.iterdir() if path.name in RECORD or path.suffix == ".pt"]
    if former:
        aside = folder / f"before-{now:%Y%m%d-%H%M%S}"
        aside.mkdir()
        for path in former:
            (shutil.copy2 if path.name == "model.pt" else shutil.move)(path, aside)


def _texts(config: Mapping[str, Any], datalist: Lists, seed: int, now: datetime) -> dict[str, str]:
    record = {
        "seed": seed,
        "command": sys.argv,
        "started": now.isoformat(timespec="seconds"),
        "machine": f"{platform.platform()}, {platform.machine()}",
        "versions": {"Python": platform.python_version(), "dpsau2net-monai": __version__, **get_config_values()},
    }
    return {
        "config.yaml": yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True),
        "datalist.json": json.dumps(datalist, indent=1),
        "run.json": json.dumps(record, indent=1, default=str),
    }


def record_run(folder: str, seed: int, datalist: Lists, task: Task, resume: bool = False) -> None:
    """
    Prepare ``folder`` for the weights of a new run, and write

    - ``config.yaml``: the whole config with all overrides. ``--config_file`` takes it to repeat the run.
    - ``datalist.json``: the images that train, validate and test. ``--dataset_dir`` takes it.
    - ``task.yaml``: what is segmented, in what images. Evaluation and segmentation read it from beside the weights.
    - ``run.json``: seed, command, time and versions.

    If a former run is there, its weights and its record move to a folder ``before-DATE-TIME`` within ``folder``. Its
    ``model.pt`` is copied, and stays until the new run replaces it: a server may use it, and the new run may begin with
    it.

    Args:
        folder: where the run writes its weights.
        seed: of the run.
        datalist: lists of ``{"image": path, "label": path}`` by part, where a path may be a list of paths. A part that
            is missing here, such as the test images, is taken from the config's key ``datalist``, if the training
            images are from there too.
        task: what is segmented, in what images.
        resume: whether to continue the run that is recorded there. Then nothing is moved and nothing is written.

    Raises:
        InputError: the folder cannot be written to, or the run to resume had another seed, other images, or another
            task.
    """
    now = datetime.now()
    target = Path(folder)
    parser = _parser_in_use()
    config = {key: value for key, value in parser.get().items() if key != "_meta_"}
    # MONAI Label replaces the config's lists by its own
    drawn = parser.get_parsed_content("datalist") if "@datalist" in str(config["train"]["dataset"]["data"]) else {}
    lists = _absolute({**drawn, **datalist})
    if resume and (target / "run.json").is_file():
        _check_same_run(target, seed, lists, task)
        return
    texts = _texts(config, lists, seed, now)
    try:
        target.mkdir(parents=True, exist_ok=True)
        _set_former_run_aside(target, now)
        for name, text in texts.items():
            with whole_file(target / name) as part:
                part.write_text(text + "\n", encoding="utf-8")
        task.write(target / "task.yaml")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror})") from error
