"""The functions that the bundle's configs call. The classes that they name are in the other modules."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pydoc import locate
from typing import Any, TypeVar

from .errors import InputError, one_line_errors, root_input_error

try:
    from ignite.handlers import ProgressBar
    from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardHandler
    from monai.utils import look_up_option, str2bool

    from .data import (
        Task,
        dataset_settings,
        find_images,
        make_datalist,
        plan,
        require_classes,
        without_masks,
    )
    from .data import read_task as read_task_file
    from .inferers import BFloat16Inferer
    from .networks import load_weights
    from .runs import newest_run, record_run, run_folder, track_run
    from .transforms import normalization, without_instances
except ModuleNotFoundError as error:  # raised before a config can call one_line_errors
    one_line_errors()
    raise root_input_error(error) or error from error

__all__ = [
    "BFloat16Inferer",
    "Datalist",
    "choose",
    "exported",
    "find_images",
    "is_on",
    "is_terminal",
    "load_weights",
    "newest_run",
    "normalization",
    "one_line_errors",
    "plan_task",
    "read_task",
    "record_run",
    "require_classes",
    "run_folder",
    "track_run",
    "without_instances",
    "without_masks",
    "without_reporters",
]

T = TypeVar("T")


class Datalist(Mapping[str, list[dict[str, Any]]]):
    """
    The lists of :func:`dpsau2net_monai.data.make_datalist`, made when the first of them is asked for. MONAI Label gives
    the images itself and has no dataset, but may evaluate this item of the config with all others.

    Args:
        args: those of ``make_datalist``.
    """

    def __init__(self, *args: Any) -> None:
        self._args = args

    @cached_property
    def _parts(self) -> dict[str, list[dict[str, Any]]]:
        return make_datalist(*self._args)

    def __getitem__(self, part: str) -> list[dict[str, Any]]:
        return self._parts[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def read_task(path: str, dataset_dir: str | None = None, **settings: Any) -> Task:
    """
    Return what is segmented, in what images.

    Args:
        path: a ``task.yaml``. If it does not exist, the settings are those of :class:`dpsau2net_monai.data.Task`.
        dataset_dir: a dataset whose ``dataset.json``, if it has one, goes before the file. None: there is none.
        settings: settings that go before both. None: none.

    Raises:
        InputError: a setting is out of range.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if "instances" in given:
        given["instances"] = is_on("instances", given["instances"])
    return read_task_file(path, **{**(dataset_settings(dataset_dir) if dataset_dir else {}), **given})


def plan_task(task: Task, datalist: Mapping[str, list[dict[str, Any]]], network: str) -> Task:
    """
    Fill in the settings that ``task`` leaves open, from the training images (see :func:`dpsau2net_monai.data.plan`).

    Args:
        task: the settings.
        datalist: lists of pairs by part. It is read only if a setting for volumes is open.
        network: path of the network's class, such as ``dpsau2net_monai.networks.DPSAU2NetLite``.
    """
    count = getattr(locate(network), "number_of_strides", None)  # a wrong path has its own error, from MONAI
    return plan(task, lambda: datalist["training"], count(task.spatial_dims) if count else 0)


def choose(key: str, value: str, choices: Mapping[str, T]) -> T:
    """
    Return the one of ``choices`` that the config's ``key`` names.

    Raises:
        InputError: ``value`` is not among the choices.
    """
    try:
        return look_up_option(value, choices)
    except ValueError as error:
        raise InputError(f"{key} is '{value}'; it must be one of {', '.join(choices)}") from error


def is_on(key: str, value: bool | str) -> bool:
    """
    Return the switch ``key`` of a config as a boolean. ``--resume false`` on the command line arrives as text, and
    Python takes any text for true.

    Raises:
        InputError: ``value`` is neither true nor false.
    """
    try:
        return str2bool(value)
    except ValueError as error:
        raise InputError(f"{key} is '{value}'; it must be true or false") from error


def is_terminal() -> bool:
    """Whether a person watches. Only then are progress bars of use."""
    return sys.stderr.isatty()


def without_reporters(handlers: Sequence[object]) -> list[object]:
    """Return the handlers that every process of a distributed run needs. The first process reports for all of them."""
    reporters = (MLFlowHandler, ProgressBar, StatsHandler, TensorBoardHandler)
    return [handler for handler in handlers if not isinstance(handler, reporters)]


def exported(
    path: str, verb: str, bundle_root: str, ckpt_path: str, input_shape: Sequence[int], **options: object
) -> str:
    """
    Return the path of an exported network.

    Args:
        path: the exported file.
        verb: of ``python -m monai.bundle``, which exports the network to it.
        bundle_root: folder of the bundle.
        ckpt_path: weights to export.
        input_shape: (batch, channels, spatial...) of one window.
        options: other options of the verb.

    Raises:
        InputError: there is no such file. The message is the command that makes it.
    """
    if not os.path.isfile(path):
        options = {
            "filepath": path,
            "ckpt_file": ckpt_path,
            "ckpt_path": ckpt_path,  # for the task.yaml beside it
            "config_file": f"{bundle_root}/configs/inference.yaml",
            "bundle_root": bundle_root,
            "input_shape": list(input_shape),
            **options,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        command = shlex.join(["python", "-m", "monai.bundle", verb, "network_def", *words])
        raise InputError(f"{path}: no such file; make it: {command}")
    return path
