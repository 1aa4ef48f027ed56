"""Segmentation of images that are larger than memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval
from monai.transforms import MapTransform, NormalizeIntensityd
from monai.utils import ensure_tuple_rep
from torch import nn
from tqdm import tqdm

from ..data.labels import require_threshold
from ..data.reading import size_text
from ..data.task import Task
from ..errors import InputError
from ..inferers import require_windows
from ..transforms import LoadInputImaged, normalization
from .instances import number_instances
from .listing import instances_path, large_name, mask_paths
from .saving import Part, write_nifti, write_ome_zarr, write_pyramid
from .sources import LargeImage, open_large

__all__ = ["LargeSegmenter"]

FLAT = 0.05  # of the image's range of values: a window with less in each channel has nothing in it
PIECE = 2**22  # pixels or voxels that are decided on at a time
SPACING_TOLERANCE = 0.01  # as a share


class LargeSegmenter:
    """
    Segment an image in bands of rows, and write its mask. The mask is that of ``monai.inferers.SlidingWindowInferer``
    with Gaussian importance, up to rounding: the windows are the same. The memory grows with the width of the image
    only, as each band has the height of a window, and the sums of the rows of one band are kept. The rows of a volume
    are its slices from the feet to the head. Volumes are turned to RAS, but not resampled.

    ``monai.inferers.PatchInferer`` with ``SlidingWindowSplitter`` reads slides patch by patch, but its windows and its
    padding at the borders are others than those of ``SlidingWindowInferer``. ``ZarrAvgMerger`` gives all pixels of a
    window the same weight, keeps the sums of the whole image in files, as floats, and cannot go on after it was killed.
    ``buffer_steps`` of ``SlidingWindowInferer`` sums up bands too, but needs the whole image and its logits in memory.

    Args:
        task: what is segmented, in what images.
        network: the network, on ``device``.
        output_dir: folder to write ``NAME.ome.tif`` to, and ``instances/NAME.ome.tif``. Of volumes, it is ``NAME.nii``
            or ``NAME.ome.zarr``.
        ckpt_path: weights of the network. A partial mask from other weights is discarded.
        overlap: of neighbouring windows, as a share of their side.
        threshold: of the probability of a single class, and of classes that overlap.
        sw_batch_size: number of windows at a time.
        device: where the network is.
        level: of the images' pyramids; 0 has the full resolution.
        skip_background: whether windows with a range of values less than ``FLAT`` of the image's range, in each
            channel, are left out. Their probability is 0.
        instances: whether numbered instances of pictures are written too.
        lacking: switches of segmentation in memory that this class lacks, and whether they are on.
        progress: whether to show the progress bars. They show only in a terminal.

    Raises:
        InputError: instances of volumes or of several classes are asked for, a switch is on that is lacking, or the
            overlap, the threshold or the number of windows at a time is out of range.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        output_dir: PathLike,
        ckpt_path: PathLike,
        overlap: float | Sequence[float] = 0.25,
        threshold: float = 0.5,
        sw_batch_size: int = 4,
        device: torch.device | str = "cpu",
        level: int = 0,
        skip_background: bool = False,
        instances: bool = False,
        lacking: Mapping[str, bool] | None = None,
        progress: bool = True,
    ) -> None:
        if instances and task.image_dims == 3:
            raise InputError("segmenting_large has no instances of volumes; set instances to false, or run segmenting")
        if instances and len(task.labels.names) > 1:
            raise InputError("instances are those of a single class, but labels has several; set instances to false")
        for switch in [switch for switch, is_on in (lacking or {}).items() if is_on]:
            raise InputError(f"segmenting_large has no {switch}; leave it out, or run segmenting")
        require_windows(overlap, sw_batch_size, task.image_dims)
        require_threshold(threshold)
        overlap = ensure_tuple_rep(overlap, task.image_dims)
        self.task = task
        self.network = network
        self.output_dir = Path(output_dir)
        self.ckpt_path = Path(ckpt_path)
        self.overlap = overlap
        self.threshold = threshold
        self.sw_batch_size = sw_batch_size
        self.device = torch.device(device)
        self.level = level
        self.skip_background = skip_background
        self.instances = instances
        self.progress = progress
        self.by_image = task.modality == "mr" or (task.modality == "picture" and task.intensity is None)
        self.convert = LoadInputImaged("image", task.in_channels, task.image_dims).convert

    def __call__(self, data: Mapping[str, str]) -> dict[str, str]:
        """
        Args:
            data: ``{"image": path}``.

        Raises:
            InputError: the image cannot be read, or its outputs cannot be written.
        """
        try:
            self._write_mask(data["image"])
        except OSError as error:  # of writing: those of reading are InputErrors by now
            raise InputError(f"{self.output_dir}: cannot be written to ({error.strerror or error})") from error
        return dict(data)

    def _write_mask(self, path: str) -> None:
        with open_large(path, self.level, self.task.image_dims, self.output_dir) as image:
            self._require_spacing(image)
            arrays = {"codes": np.min_scalar_type(len(self.task.labels.table) - 1)}
            if self.instances and self.task.instances:
                arrays["distance"] = np.dtype(np.float32)
            shape = image.size[::-1]
            part = Part(self.output_dir / f"{large_name(path)}.part.zarr", self._settings(path), shape, arrays)
            try:
                self._segment(image, part)
            except (InputError, OSError):
                if part.next_row == 0:  # else keep hours of work: the disk may be back at the next run
                    part.remove()
                raise
        codes = part.group["codes"]
        if self.instances:
            numbers = part.create("numbers", shape, np.dtype(np.uint32))
            number_instances(codes, part.group["distance"] if "distance" in arrays else None, numbers, self.progress)
            write_pyramid(instances_path(self.output_dir, path), numbers, np.asarray)
        for index, mask_path in enumerate(mask_paths(self.output_dir, path, self.task)):
            if self.task.image_dims == 2:
                write_pyramid(mask_path, codes, self._encoding(index, 255))
            elif image.grid is None:
                write_nifti(mask_path, path, codes, self._encoding(index, 1))
            else:
                write_ome_zarr(mask_path, image.grid, codes, self._encoding(index, 1))
        part.remove()

    def _encoding(self, index: int, foreground: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return what makes the values of the mask with this index of codes."""
        labels = self.task.labels
        if labels.form == "files":
            return (labels.table[:, index].astype(np.uint8) * foreground).__getitem__
        if labels.form == "foreground":
            return lambda codes: codes * np.uint8(foreground)
        return labels.encode

    def _require_spacing(self, image: LargeImage) -> None:
        wanted = self.task.spacing
        if image.spacing is None or wanted is None or np.allclose(image.spacing, wanted, SPACING_TOLERANCE, 0):
            return
        found = size_text([f"{side:.4g}" for side in image.spacing])
        raise InputError(
            f"{image.path}: its voxels are {found} mm, but the network takes {size_text(wanted)} mm; resample it, "
            f"for example by MRtrix3: mrgrid IMAGE regrid -voxel {','.join(map(str, wanted))} OUTPUT.nii"
        )

    def _settings(self, path: str) -> dict[str, Any]:
        """Return all that a mask depends on."""
        files = sorted(file for file in Path(path).rglob("*") if file.is_file()) or [Path(path)]  # OME-Zarr is a folder
        states = [(file.name, state.st_size, state.st_mtime_ns) for file in files for state in [file.stat()]]
        weights = hashlib.blake2b(self.ckpt_path.read_bytes()).hexdigest() if self.ckpt_path.is_file() else None
        return {
            "image": [str(Path(path).resolve()), hashlib.blake2b(repr(states).encode()).hexdigest()],
            "task": {**asdict(self.task), "labels": self.task.labels.definition},
            "network": f"{type(self.network).__module__}.{type(self.network).__qualname__}",
            "weights": weights,
            "overlap": list(self.overlap),
            "threshold": self.threshold,
            "level": self.level,
            "skip_background": self.skip_background,
        }

    def _read(self, image: LargeImage, start: int, stop: int) -> torch.Tensor:
        """Read rows as (channels, width, rows), of a volume (channels, x, y, rows)."""
        return self.convert([MetaTensor(image.read(start, stop))], [image.path]).as_tensor()  # type: ignore[attr-defined]

    def _statistics(self, image: LargeImage) -> dict[str, list[float]]:
        """Return the mean, the standard deviation and the range of each channel, in a first pass over the image."""
        height, rows = image.size[-1], self.task.window[-1]
        count, mean, squares = 0, np.zeros(self.task.in_channels), np.zeros(self.task.in_channels)
        low, high = np.full(self.task.in_channels, np.inf), np.full(self.task.in_channels, -np.inf)
        starts = range(0, height, rows)
        name = large_name(image.path)
        for start in tqdm(starts, desc=f"{name}: mean", unit="band", disable=None if self.progress else True):
            band = self._read(image, start, min(start + rows, height)).flatten(1)
            for values in (piece.numpy() for piece in band.split(PIECE, 1)):
                low, high = np.minimum(low, values.min(1)), np.maximum(high, values.max(1))
                # Chan's update: sums of the squares themselves would lose digits of small deviations from a large mean
                more, of_piece = values.shape[1], values.mean(1, dtype=np.float64)
                difference = of_piece - mean
                squares += ((values - of_piece[:, None]) ** 2).sum(1) + difference**2 * count * more / (count + more)
                mean += difference * more / (count + more)
                count += more
        if self.task.modality == "picture":  # over all channels together
            squares[:] = squares.mean() + count * mean.var()
            mean[:] = mean.mean()
        return {
            "mean": mean.tolist(),
            "std": np.sqrt(squares / count).tolist(),
            "range": (high - low).tolist(),
        }

    def _normalization(self, statistics: Mapping[str, list[float]] | None) -> MapTransform:
        if statistics is None or not self.by_image:
            return normalization("image", self.task)
        if self.task.modality == "picture":
            of_image = {"mean": statistics["mean"][0], "std": statistics["std"][0]}
            return normalization("image", replace(self.task, intensity=of_image))
        mean, std = (np.array(statistics[name]) for name in ("mean", "std"))
        return NormalizeIntensityd("image", mean, std, channel_wise=True)

    @torch.no_grad()
    def _segment(self, image: LargeImage, part: Part) -> None:
        """Write the codes of all rows that ``part`` lacks."""
        size, window = image.size, self.task.window_for(image.size)
        if part.next_row == size[-1]:
            return
        statistics = part.group.attrs.get("statistics")
        if statistics is None and (self.skip_background or self.by_image):
            statistics = self._statistics(image)
            part.group.attrs["statistics"] = statistics
        normalize = self._normalization(statistics)
        flat = FLAT * torch.tensor(statistics["range"]) if self.skip_background else None

        # as in monai.inferers.utils.sliding_window_inference
        padded = tuple(max(sides) for sides in zip(size, window))
        before = [(whole - side) // 2 for whole, side in zip(padded, size)]
        interval = _get_scan_interval(padded, window, len(window), self.overlap)
        columns: dict[int, list[tuple[slice, ...]]] = {}
        for *others, down in dense_patch_slices(padded, window, interval):
            columns.setdefault(down.start, []).append(tuple(others))
        starts = sorted(columns)
        # rows of the next band got a part of their sum from bands that are written already
        first = next(i for i, start in enumerate(starts) if start + window[-1] - before[-1] > part.next_row)

        importance = compute_importance_map(tuple(window), mode="gaussian", device=self.device)
        total = torch.zeros(self.task.out_channels, *padded[:-1], window[-1], device=self.device)
        weight = torch.zeros(*padded[:-1], window[-1], device=self.device)
        band = torch.zeros(self.task.in_channels, *padded[:-1], window[-1], device=self.device)
        self.network.eval()
        windows = sum(map(len, columns.values()))
        with tqdm(
            total=windows, desc=large_name(image.path), unit="window", disable=None if self.progress else True,
            initial=sum(len(columns[start]) for start in starts[:first]),
        ) as bar:  # fmt: skip
            for start, following in zip(starts[first:], [*starts[first + 1 :], padded[-1]]):
                rows = self._read(image, max(start - before[-1], 0), min(start - before[-1] + window[-1], size[-1]))
                kept = [across for across in columns[start] if flat is None or not _is_flat(rows, across, before, flat)]
                inside = _box(before, (*size[:-1], rows.shape[-1]))
                band[:, *inside] = torch.as_tensor(normalize({"image": rows})["image"]).to(self.device)
                del rows  # a band of its own
                for index in range(0, len(kept), self.sw_batch_size):
                    batch = kept[index : index + self.sw_batch_size]
                    logits = self._logits(torch.stack([band[:, *across] for across in batch]))
                    for across, of_window in zip(batch, logits):
                        total[:, *across] += of_window * importance
                        weight[across] += importance
                    bar.update(len(batch))
                bar.update(len(columns[start]) - len(kept))

                done = following - start
                if max(start - before[-1], 0) >= part.next_row:
                    self._write(total[..., :done], weight[..., :done], part, before, size)
                for sums in (total, weight):
                    sums[..., : window[-1] - done] = sums[..., done:].clone()
                    sums[..., window[-1] - done :] = 0

    def _logits(self, windows: torch.Tensor) -> torch.Tensor:
        axis = self.task.slice_axis
        if axis < 0:
            return self.network(windows).float()
        return self.network(windows.squeeze(axis + 2)).float().unsqueeze(axis + 2)  # as monai.inferers.SliceInferer

    def _write(
        self, total: torch.Tensor, weight: torch.Tensor, part: Part, before: Sequence[int], size: Sequence[int]
    ) -> None:
        """Decide on the classes of rows whose sums are complete, and write them."""
        # the last slice is of more than the rows, unless the image is padded
        inside = _box(before, size)
        total, weight = total[:, *inside], weight[*inside]
        labels, out = self.task.labels, part.group
        codes, distance = [], []
        count = max(PIECE // math.prod(size[:-1]), 1)
        for sums, weights in zip(total.split(count, -1), weight.split(count, -1)):
            logits, seen = sums / weights, weights > 0
            if labels.softmax:
                probability = torch.where(seen, logits.softmax(0), 0)  # the background is the first of equals
            else:
                probability = torch.where(seen, logits.sigmoid(), 0)
            decided = labels.codes(probability[: labels.out_channels], self.threshold)[0]
            codes.append(decided.cpu().numpy().T.astype(out["codes"].dtype))
            if "distance" in out:
                distance.append(probability[-1].cpu().numpy().T)
        rows = {"codes": codes, "distance": distance} if distance else {"codes": codes}
        stop = part.next_row + total.shape[-1]
        part.write(stop, **{name: np.concatenate(pieces) for name, pieces in rows.items()})


def _box(starts: Sequence[int], sides: Sequence[int]) -> list[slice]:
    return [slice(start, start + side) for start, side in zip(starts, sides)]


def _is_flat(rows: torch.Tensor, across: Sequence[slice], before: Sequence[int], flat: torch.Tensor) -> bool:
    inside = [slice(max(one.start - start, 0), one.stop - start) for one, start in zip(across, before)]
    values = rows[:, *inside].flatten(1)
    return bool((values.amax(1) - values.amin(1) < flat).all())
