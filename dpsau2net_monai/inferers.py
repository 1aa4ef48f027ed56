"""Inferers for windows, for clicks, for test-time augmentation, and for training in bfloat16 on a CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from threading import get_ident
from typing import Any, ClassVar, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from monai.inferers import Inferer, SimpleInferer, SliceInferer, SlidingWindowInferer
from monai.networks.utils import eval_mode
from monai.utils import convert_to_dst_type, convert_to_tensor, ensure_tuple
from torch import nn
from torch.nn import functional
from torch.utils.weak import WeakIdRef

from .clicks import spread_clicks
from .data.quality import expected_dice
from .data.reading import size_text
from .data.task import Task
from .errors import InputError, at_least_one

__all__ = [
    "BFloat16Inferer",
    "ClickInferer",
    "TTAInferer",
    "WindowInferer",
    "has_bfloat16",
    "require_windows",
    "window_inferer",
]


def require_windows(overlap: float | Sequence[float], sw_batch_size: int, image_dims: int) -> None:
    """
    Args:
        overlap: of neighbouring windows, as a share of their side, or one for each axis.
        sw_batch_size: number of windows at a time.
        image_dims: number of the images' axes.

    Raises:
        InputError: a share is no number from 0 to less than 1, there is not one for each axis, or ``sw_batch_size`` is
            not a whole number from 1 on.
    """
    at_least_one("sw_batch_size", sw_batch_size)
    shares = ensure_tuple(overlap)
    if not all(isinstance(share, (int, float)) and 0 <= share < 1 for share in shares):
        raise InputError(f"overlap is {size_text(shares)}; give a share from 0 to less than 1")
    if not isinstance(overlap, (int, float)) and len(shares) != image_dims:
        raise InputError(f"overlap is {list(shares)}; give one share, or one for each of {image_dims} axes")


class WindowInferer(Inferer):
    """
    Infer by the windows of a task: MONAI's ``SlidingWindowInferer``, or its ``SliceInferer`` where a 2D network sees
    single slices of volumes. Two things differ:

    - Windows are no larger than the image needs (see :meth:`dpsau2net_monai.data.Task.window_for`). The network
      averages over its whole input, so that padding would change its logits.
    - Batch norm uses its running statistics also in training mode. MONAI Label scores images in this mode, for the sake
      of dropout; the statistics of an image's few windows would change its mask more than dropout does.

    Args:
        task: what is segmented, in what images.
        options: other arguments of MONAI's inferer.

    Raises:
        InputError: the overlap or the number of windows at a time is out of range.
    """

    def __init__(self, task: Task, **options: Any) -> None:
        super().__init__()
        require_windows(options.get("overlap", 0.25), options.get("sw_batch_size", 1), task.image_dims)
        self.task = task
        self.options = options

    def __repr__(self) -> str:  # for MONAI Label's log
        return f"{type(self).__name__}({self.options})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WindowInferer) and (self.task, self.options) == (other.task, other.options)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        for module in network.modules() if isinstance(network, nn.Module) else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        window, axis = self.task.window_for(inputs.shape[2:]), self.task.slice_axis
        inferer: Inferer
        if axis < 0:
            inferer = SlidingWindowInferer(window, **self.options)
        else:
            inferer = SliceInferer(axis, window[:axis] + window[axis + 1 :], **self.options)
        return inferer(inputs, network, *args, **kwargs)


def window_inferer(task: Task, tta: bool = False, **options: Any) -> Inferer:
    """
    Return the inferer of ``task``: :class:`ClickInferer` around :class:`WindowInferer`, with :class:`TTAInferer`
    between them for test-time augmentation.

    Args:
        task: what is segmented, in what images.
        tta: whether there is test-time augmentation.
        options: other arguments of MONAI's inferer.
    """
    inferer: Inferer = WindowInferer(task, **options)
    if tta:
        larger = None
        if task.image_dims == 2:
            roi_size = [round(TTAInferer.SCALE * side) for side in task.window]  # what the other windows show
            larger = WindowInferer(replace(task, roi_size=roi_size), **options)
        inferer = TTAInferer(inferer, task.labels.softmax, task.flip_axes, larger)
    return ClickInferer(inferer, task.in_channels)


class _Inferred(NamedTuple):
    """What an inferer computed of the images that were clicked last."""

    inferer: Inferer
    state: tuple[Any, ...]
    images: torch.Tensor
    logits: torch.Tensor
    features: torch.Tensor


class ClickInferer(Inferer):
    """
    Make the mask follow the clicks, which :class:`dpsau2net_monai.transforms.AddClicksd` appends to the image. The
    network sees the image alone. What the clicks say of the pixels is added to its logits (see
    :func:`dpsau2net_monai.clicks.spread_clicks`). Without clicks, the logits are those of the network.

    The features of the pixels are what the two finest of DPSAU2-Net's side outputs are computed from. Of a network
    without such outputs, or one that another runtime computes, they are the image's channels.

    In an image whose mask is good by its own probabilities, a click speaks only for what is near: its errors are few
    and differ, and a correction of one says nothing of the others.

    The logits and features of the last image that was clicked are kept for each network, so that the next click on it
    does not compute the network again. All instances share them, as MONAI Label makes a new one for each request. A
    change of the weights through ``Tensor.data`` goes unnoticed.

    Args:
        inferer: inferer of the images.
        in_channels: number of channels of the image. Those of the clicks follow, the background's first.
    """

    # by the validation images of the nuclei
    SURE = (0.93, 0.96)  # expected Dice from which on clicks speak less for what is far, and not at all
    _kept: ClassVar[WeakKeyDictionary[nn.Module, _Inferred]] = WeakKeyDictionary()

    def __init__(self, inferer: Inferer, in_channels: int) -> None:
        super().__init__()
        self.inferer = inferer
        self.in_channels = in_channels

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        plain = convert_to_tensor(inputs, track_meta=False)
        images, clicks = plain[:, : self.in_channels], plain[:, self.in_channels :]
        if not clicks.any():
            if isinstance(network, nn.Module):
                self._kept.pop(network, None)  # frees its memory
            return self.inferer(inputs[:, : self.in_channels], network, *args, **kwargs)
        kept, features = self._infer(images, network, *args, **kwargs)
        logits = kept.clone()
        single = clicks.shape[1] == 2  # a class without a channel of its background
        of_classes = logits[:, : 1 if single else clicks.shape[1]].float()
        if single:
            of_classes = torch.cat([torch.zeros_like(of_classes), of_classes], 1)
        low, high = self.SURE
        shares = ((high - expected_dice(1 - of_classes.softmax(1)[:, 0])) / (high - low)).clamp(0, 1)
        with torch.autocast(logits.device.type, enabled=False):
            spread = torch.stack([spread_clicks(*one) for one in zip(clicks, of_classes, features.float(), shares)])
        if single:
            spread = spread[:, 1:] - spread[:, :1]
        logits[:, : spread.shape[1]] += spread
        return convert_to_dst_type(logits, inputs, dtype=logits.dtype)[0]

    def _infer(
        self, images: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits and the features of images, the kept ones where they would be the same."""
        state = None if args or kwargs else _state(network, images)
        key = cast(nn.Module, network)
        if state:
            kept = self._kept.get(key)
            if kept and kept.state == state and kept.inferer == self.inferer and torch.equal(kept.images, images):
                return kept.logits, kept.features
            del kept
            self._kept.pop(key, None)  # frees its memory
        with _observed_features(network) as observed:
            logits, features = self.inferer(images, observed, *args, **kwargs)
        if state:
            self._kept[key] = _Inferred(self.inferer, state, images.clone(), logits, features)
        return logits, features


def _state(network: Callable[..., Any], images: torch.Tensor) -> tuple[Any, ...] | None:
    """
    Return all that the logits of images depend on beside their values: their type, and the weights, by references that
    differ where new weights lie at the address of former ones.

    None: this cannot be told, or the network has to be computed each time: for gradients, in training mode, where
    dropout is random, if it is a function, or if its weights are tensors of inference mode, whose changes torch does
    not count.
    """
    if torch.is_grad_enabled() or not isinstance(network, nn.Module) or any(m.training for m in network.modules()):
        return None
    weights = [*network.parameters(), *network.buffers()]
    if any(weight.is_inference() for weight in weights):
        return None
    kind = images.device.type
    precision = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
    versions = [(WeakIdRef(weight), weight.data_ptr(), weight._version) for weight in weights]
    return images.device, images.dtype, precision, versions


@contextmanager
def _observed_features(network: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """
    Give a function that returns the logits of ``network`` and the features of its finest side outputs, at the
    resolution of the image. Without such outputs, the features are the image's channels.
    """
    modules = network.modules() if isinstance(network, nn.Module) else ()
    sides = [module.sides for module in modules if isinstance(getattr(module, "sides", None), nn.ModuleList)]
    seen: dict[tuple[int, int], torch.Tensor] = {}  # by thread, as a server answers several requests at once

    def observed(x: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        logits = network(x, *args, **kwargs)
        found = [seen.pop((get_ident(), index), x) for index in range(2 if seen else 1)]
        mode = "bilinear" if x.dim() == 4 else "trilinear"
        features = [functional.interpolate(one, size=x.shape[2:], mode=mode) for one in found]
        return logits, torch.cat(features, 1).to(logits)

    handles = [
        side.register_forward_pre_hook(lambda _, inputs, i=i: seen.__setitem__((get_ident(), i), inputs[0]))
        for side_outputs in sides[:1]
        for i, side in enumerate(cast(nn.ModuleList, side_outputs)[:2])
    ]
    try:
        yield observed
    finally:
        for handle in handles:
            handle.remove()


class TTAInferer(Inferer):
    """
    Test-time augmentation: infer several views of the images, undo the flips, rotations and enlargements, and average
    the probabilities.

    In 2D, the views are the four rotations by 90 degrees, each with and without a flip. With ``larger``, the flipped
    ones are enlarged by 1.25; the inference then takes ten times as long, else eight times. In 3D, the views are the
    eight combinations of flips, or those of ``flip_axes``.

    ``monai.data.TestTimeAugmentation`` draws random transforms, works on the items of a dataset, and replaces the
    evaluator. This class replaces only the inferer.

    Args:
        inferer: inferer for each view, such as ``monai.inferers.SlidingWindowInferer``.
        softmax: whether the probabilities are the softmax of the logits, not their sigmoid.
        flip_axes: axes of volumes that are flipped, from 0. A network that was not trained on flipped images fails on
            them. None: all.
        larger: inferer for the enlarged views of pictures. None: no view is enlarged.

    Returns (of a call):
        Logits of the averaged probabilities, in the shape that ``inferer`` returns. So sigmoid and threshold, or
        softmax, can follow as without test-time augmentation. Of a network with further outputs, it is a tuple of the
        logits and the means of these.
    """

    SCALE = 1.25  # of the flipped views of pictures, by the validation images of the nuclei

    def __init__(
        self,
        inferer: Inferer,
        softmax: bool = False,
        flip_axes: Sequence[int] | None = None,
        larger: Inferer | None = None,
    ) -> None:
        super().__init__()
        self.inferer = inferer
        self.larger = larger
        self.softmax = softmax
        self.flip_axes = (0, 1, 2) if flip_axes is None else tuple(flip_axes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TTAInferer) and vars(self) == vars(other)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        views: list[tuple[tuple[int, ...], int]]
        if inputs.ndim == 4:
            views = [((axis,) if axis else (), turns) for axis, turns in product((0, 2), range(4))]
        else:
            choices = product(*(((), (2 + axis,)) for axis in self.flip_axes))
            views = [(sum(chosen, ()), 0) for chosen in choices]
        totals: list[torch.Tensor] = []
        for flipped, turns in views:
            view = inputs.flip(flipped).rot90(turns, (2, 3))
            inferer, size = self.inferer, view.shape[2:]
            if self.larger and flipped:
                inferer = self.larger
                view = functional.interpolate(view, size=[round(self.SCALE * side) for side in size], mode="bilinear")
            outputs = [output.float() for output in ensure_tuple(inferer(view, network, *args, **kwargs), True)]
            outputs[0] = outputs[0].softmax(1) if self.softmax else outputs[0].sigmoid()
            if inferer is self.larger:
                outputs = [functional.interpolate(one, size=size, mode="bilinear", antialias=True) for one in outputs]
            turned = [output.rot90(-turns, (2, 3)).flip(flipped) for output in outputs]
            totals = [total + output for total, output in zip(totals, turned)] if totals else turned
        mean, *others = (total / len(views) for total in totals)
        logits = mean.clamp(min=1e-6).log() if self.softmax else torch.logit(mean, eps=1e-6)
        return (logits, *others) if others else logits


def has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16. Where oneDNN emulates it, it is slower than float32."""
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # an older torch
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))  # the last is that of ARM


class BFloat16Inferer(SimpleInferer):
    """
    Compute a network's training step in bfloat16 on a CPU, by autocast; the logits are returned in float32.
    ``monai.engines.SupervisedTrainer`` has autocast for CUDA only. The precision is logged.

    With torch 2.13 on a CPU, the gradient of a 3D convolution's weights in bfloat16 is wrong on maps of less than three
    voxels along an axis.

    Args:
        required: False: images that are so small that a 3D convolution would see such a map are computed in float32.

    Raises:
        InputError: an image is so small, and bfloat16 is required.
    """

    SMALLEST = 3

    def __init__(self, required: bool = True) -> None:
        super().__init__()
        self.required = required
        self.fits: dict[torch.Size, bool] = {}  # by the size of the images

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        size = inputs.shape[2:]
        if size not in self.fits:
            small = self._small_map(inputs, cast(nn.Module, network))
            text = f"a crop of {size_text(size)} is too small for bfloat16 on a CPU: the network's deepest map would be"
            if small and self.required:
                raise InputError(f"{text} {size_text(small)}; set amp to auto, or crop_size to more")
            reason = f"; {text} {size_text(small)}" if small else ""
            logging.getLogger("dpsau2net_monai").info(f"training in {'float32' if small else 'bfloat16'}{reason}")
            self.fits[size] = not small
        if not self.fits[size]:
            return super().__call__(inputs, network, *args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            return super().__call__(inputs, network, *args, **kwargs).float()

    def _small_map(self, inputs: torch.Tensor, network: nn.Module) -> torch.Size | None:
        """Return the size of the smallest map that a 3D convolution sees, if it is too small."""
        seen: list[torch.Size] = []

        def look(module: nn.Conv3d, args: tuple[torch.Tensor, ...]) -> None:
            if max(module.kernel_size) > 1:
                seen.append(args[0].shape[2:])

        handles = [
            module.register_forward_pre_hook(look) for module in network.modules() if isinstance(module, nn.Conv3d)
        ]
        if not handles:
            return None
        try:
            with eval_mode(network):
                network(inputs[:1])
        finally:
            for handle in handles:
                handle.remove()
        smallest = min(seen, key=min)
        return smallest if min(smallest) < self.SMALLEST else None
