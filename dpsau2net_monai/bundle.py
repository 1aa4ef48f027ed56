"""The functions that the bundle's configs call. The classes that they name are in the other modules."""

from __future__ import annotations

import datetime
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pydoc import locate
from types import TracebackType
from typing import Any, TypeVar

from .errors import InputError, at_least_one, at_least_zero, causes, one_line_errors, root_input_error

try:
    import ignite.distributed as idist
    import torch
    import torch.distributed
    from ignite.handlers import ProgressBar
    from monai.data import DataLoader
    from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardHandler
    from monai.inferers import Inferer, SimpleInferer
    from monai.utils import ensure_tuple, look_up_option, str2bool

    from .data import (
        Task,
        dataset_settings,
        find_images,
        instances_dir,
        kind_weights,
        make_datalist,
        name_of,
        plan,
        require_classes,
        without_masks,
    )
    from .data import read_task as read_task_file
    from .inferers import BFloat16Inferer, has_bfloat16
    from .networks import checkpoint_stages, load_weights
    from .runs import newest_run, record_run, run_folder, track_run
    from .runtimes import open_network, usable_device
    from .transforms import normalization, require_outputs, without_instances
except ModuleNotFoundError as error:  # raised before a config can call one_line_errors
    one_line_errors()
    raise root_input_error(error) or error from error

__all__ = [
    "BFloat16Inferer",
    "Datalist",
    "amp_dtype",
    "at_least_one",
    "at_least_zero",
    "checkpoint_stages",
    "choose",
    "find_images",
    "images_of",
    "instances_dir",
    "is_on",
    "is_terminal",
    "join_processes",
    "kind_weights",
    "load_weights",
    "loss_weights",
    "newest_run",
    "normalization",
    "one_line_errors",
    "open_network",
    "plan_task",
    "process_device",
    "read_task",
    "record_run",
    "require_classes",
    "require_crop",
    "require_no_workers",
    "require_outputs",
    "run_folder",
    "share",
    "track_run",
    "training_inferer",
    "usable_device",
    "uses_amp",
    "without_instances",
    "without_masks",
    "without_reporters",
]

T = TypeVar("T")

# How long a process waits for the others, whose images may take longer. torchrun does not wait: it ends all processes
# of a machine as soon as one of them fails.
PATIENCE = datetime.timedelta(hours=2)


class Datalist(Mapping[str, list[dict[str, Any]]]):
    """
    The lists of :func:`dpsau2net_monai.data.make_datalist`, made when the first of them is asked for. MONAI Label gives
    the images itself and has no dataset, but may evaluate this item of the config with all others.

    Args:
        args: those of ``make_datalist``, at least ``dataset_dir`` and ``csvfile``.

    Raises:
        InputError (of an item): as ``make_datalist``, or the training images are asked for and there are none.
    """

    def __init__(self, *args: Any) -> None:
        self._args = args

    @cached_property
    def _parts(self) -> dict[str, list[dict[str, Any]]]:
        return make_datalist(*self._args)

    def __getitem__(self, part: str) -> list[dict[str, Any]]:
        if part == "training" and not self._parts[part]:
            raise InputError(f"{self._args[1] or self._args[0]}: has no training image; add some")
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
        dataset_dir: a dataset whose ``dataset.json``, if it has one, overrides the file. None: there is none.
        settings: settings that override both. None: none.

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


def images_of(part: str, datalist: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """
    Return the images of a part of the dataset, each of which has outputs of its own name.

    Raises:
        InputError: there is no such part, it has no image, or two images have the same name.
    """
    images = choose("part", part, datalist)
    if not images:
        others = ", ".join(name for name, pairs in datalist.items() if pairs)
        raise InputError(f"part is '{part}', which has no image; set it to one of {others}")
    files: dict[str, str] = {}
    for path in (ensure_tuple(image["image"])[0] for image in images):
        other = files.setdefault(name_of(path), path)
        if other != path:
            raise InputError(f"{path}: has the same name as {other}; rename one, or evaluate them in two runs")
    return images


def loss_weights(
    class_weights: Sequence[float] | None, loss: str, channels: int, device: torch.device | str
) -> torch.Tensor | None:
    """
    Return the weights of the channels in the loss, (channels,).

    Args:
        class_weights: the weights. None: there are none.
        loss: name of the loss.
        channels: number of the network's output channels for classes.
        device: where training computes.

    Raises:
        InputError: the loss takes no weights, or their number is not that of the channels.
    """
    if class_weights is None:
        return None
    # MONAI's Dice loss ignores the weight of a single channel, and its focal loss fails
    single = channels == 1
    if loss in ("tversky", "paper") or (single and loss in ("dice", "focal")):
        others = "ce or dicece" if single else "dice, ce, dicece or focal"
        what = "class_weights of a single class" if single else "class_weights"
        raise InputError(f"the loss {loss} takes no {what}; set loss to {others}")
    try:
        weights = torch.tensor(class_weights, dtype=torch.float32, device=device)
    except (TypeError, ValueError):
        weights = torch.empty(0)
    if weights.shape != (channels,):
        raise InputError(f"class_weights is {class_weights}; give a list with a weight for each of {channels} channels")
    return weights


def require_crop(crop_size: int | Sequence[int], task: Task) -> None:
    """
    Raises:
        InputError: ``crop_size`` is not one whole number over 0, or one for each axis of the images, 1 for that of the
            slices.
    """
    dims, axis = task.image_dims, task.slice_axis
    sides = (crop_size,) * dims if isinstance(crop_size, int) else ensure_tuple(crop_size)
    whole = all(isinstance(side, int) and side > 0 for side in sides)
    if not whole or len(sides) != dims or (axis >= 0 and sides[axis] != 1):
        slices = "" if axis < 0 else f", and 1 for axis {axis}, that of the slices"
        raise InputError(f"crop_size is {crop_size}; give a whole number for each of {dims} axes{slices}")


def require_no_workers(dataloader: DataLoader) -> None:
    """
    Check that the images to segment are read in this process, which lists those that cannot be read.

    Raises:
        InputError: other processes are to read them.
    """
    if dataloader.num_workers > 0:
        number = dataloader.num_workers
        raise InputError(f"dataloader#num_workers is {number}; set it to 0, as only this process lists broken images")


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


def uses_amp(amp: bool | str, device: torch.device | str) -> bool:
    """
    Return whether training uses automatic mixed precision.

    Args:
        amp: true, false, or ``auto``: on CUDA, and on a CPU that has bfloat16.
        device: where training computes.

    Raises:
        InputError: ``amp`` is none of these.
    """
    if amp == "auto":
        return torch.device(device).type == "cuda" or has_bfloat16()
    try:
        return is_on("amp", amp)
    except InputError as error:
        raise InputError(f"{error}, or auto") from error


def amp_dtype() -> torch.dtype:
    """Return the type of mixed precision on CUDA: bfloat16, which does not overflow, or float16 on GPUs without it."""
    bfloat16 = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    return torch.bfloat16 if bfloat16 else torch.float16


def training_inferer(amp: bool | str, device: torch.device | str) -> Inferer:
    """
    Return the inferer of training, and log the precision. On CUDA, mixed precision is the trainer's.

    Args:
        amp: as for :func:`uses_amp`. With ``auto``, crops that are too small for bfloat16 train in float32.
        device: where training computes.
    """
    uses = uses_amp(amp, device)
    if uses and torch.device(device).type == "cpu":
        return BFloat16Inferer(required=amp != "auto")
    half = f"{amp_dtype()} and ".removeprefix("torch.") if uses else ""
    logging.getLogger("dpsau2net_monai").info(f"training in {half}float32")
    return SimpleInferer()


def is_terminal() -> bool:
    """Whether a person watches. Only then are progress bars of use."""
    return sys.stderr.isatty()


def without_reporters(handlers: Sequence[object]) -> list[object]:
    """Return the handlers that every process of a distributed run needs. The first process reports for all of them."""
    reporters = (MLFlowHandler, ProgressBar, StatsHandler, TensorBoardHandler)
    return [handler for handler in handlers if not isinstance(handler, reporters)]


def process_device() -> torch.device:
    """
    Return the device of this process: the GPU, where there is one, else the CPU. Of the processes that ``torchrun``
    starts on a machine, each has a GPU of its own.

    Raises:
        InputError: there are fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if "LOCAL_RANK" not in os.environ:
        return torch.device("cuda")
    rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= gpus:
        raise InputError(f"there are more processes than GPUs on this machine; set --nproc_per_node to {gpus}")
    return torch.device("cuda", rank)


def join_processes(device: torch.device | str, required: bool = False) -> None:
    """
    Join the process group, if ``torchrun`` started this process. Only the first process logs from then on, but each
    logs its warnings. A process that loses the others ends with one line.

    Args:
        device: the device of this process.
        required: whether the config is for several processes only.

    Raises:
        InputError: ``torchrun`` did not start this process, but it is required.
    """
    if required and "RANK" not in os.environ:
        raise InputError("multi_gpu_train.yaml is for several processes; start it with torchrun, see its first lines")
    if "RANK" not in os.environ or torch.distributed.is_initialized():
        return
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    previous = sys.excepthook  # torch replaces it by one that keeps our line back until after our exit
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    idist.sync()
    if idist.get_rank() > 0:
        logging.disable(logging.INFO)

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if _lost_the_others(error):
            error = InputError(
                "another process of this run has ended; look for its message, and start all of them again"
            )
        previous(type(error), error, traceback)

    sys.excepthook = hook


def _lost_the_others(error: BaseException | None) -> bool:
    """Whether an error comes from the connection to other processes. Gloo's errors have no type of their own."""
    return any(isinstance(one, torch.distributed.DistError) or "/gloo/" in str(one) for one in causes(error))


def share(number: int) -> range | None:
    """
    Return the indices of this process's images, for a sampler. The shares follow one another, so that what all
    processes gather has the order of the images; those of ``monai.data.DistributedSampler`` alternate.

    Args:
        number: of all images.

    Returns:
        None if there is only one process.

    Raises:
        InputError: there are more processes than images.
    """
    rank, processes = idist.get_rank(), idist.get_world_size()
    if processes == 1:
        return None
    if processes > number:
        raise InputError(f"there are {number} images, but {processes} processes; set --nproc_per_node to less")
    return range(number * rank // processes, number * (rank + 1) // processes)
