"""The report of an evaluation."""

from __future__ import annotations

import csv
import datetime
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Evaluator, IterationEvents
from monai.utils import ImageMetaKey

from ..data.labels import Labels
from ..data.reading import name_of
from ..files import whole_file
from ..metrics import instance_metrics, volumes
from ..report import Example, draw_pictures, draw_slices, render_page, summarise
from ..runs import read_history
from ..transforms.instances import true_instances
from ..visualize import Volume, as_pictures, stretch
from .click_curve import ClickCurve

__all__ = ["EvaluationReport"]

THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 20)]
PAGE_CHARACTERS = 36_000_000  # for all images of the page
PLANES_SHARE = 0.25  # of a volume's characters, for its three planes; its axial slices have the rest
LONGEST_PLANES = 1024  # longer side of the picture of the three planes, in pixels


def dice_by_threshold(probability: torch.Tensor, true: torch.Tensor) -> list[float]:
    """
    Return the Dice of ``probability`` with the mask ``true``, both of one shape, at each of ``THRESHOLDS``. It is 1 if
    both masks are empty.
    """
    edges = torch.tensor(THRESHOLDS, dtype=torch.float32, device=probability.device)
    bins = torch.bucketize(probability.float().contiguous(), edges, right=True)  # how many thresholds a pixel reaches

    def reaching(selected: torch.Tensor) -> torch.Tensor:
        """How many of the pixels reach each threshold."""
        counts = torch.bincount(selected.flatten(), minlength=len(THRESHOLDS) + 1)
        return counts.flip(0).cumsum(0).flip(0)[1:].double()

    sums = reaching(bins) + true.sum()
    return torch.where(sums > 0, 2 * reaching(bins[true]) / sums.clamp(min=1), torch.ones_like(sums)).tolist()


def metrics_by_image(details: Mapping[str, torch.Tensor], classes: Sequence[str]) -> list[dict[str, float]]:
    """
    Turn an evaluator's ``metric_details`` into the metrics of each image.

    Args:
        details: a tensor (images, classes) for each metric.
        classes: names of the classes.

    Returns:
        A dictionary for each image. Where there are several classes, a metric's mean over the classes is under its
        name, and each class's value under ``NAME_CLASS``.
    """
    columns: dict[str, list[float]] = {}
    for key, values in details.items():
        name = key.removeprefix("val_").removeprefix("mean_")
        table = torch.as_tensor(values).reshape(len(values), -1)
        columns[name] = table.nanmean(1).tolist()
        if len(classes) > 1:
            columns.update({f"{name}_{class_}": column.tolist() for class_, column in zip(classes, table.T)})
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


class EvaluationReport:
    """
    Ignite handler of an evaluator. After the last image it writes to ``output_dir``

    - ``images.csv``: a row for each image, with all of its metrics,
    - ``report.html``: the metrics' summary, charts, and the images in one page, the worst first (see
      :func:`dpsau2net_monai.report.render_page`).

    ``monai.handlers.MetricsSaver`` writes a file for each metric, and no pictures.

    Pictures of a single class have metrics of instances. The true instances are those of ``instances_dir/NAME.EXT``.
    Where there is no such file, the true mask is split (see :func:`dpsau2net_monai.metrics.split_instances`).

    Volumes have, in millilitres, the volumes of the true and of the predicted mask and their difference. The page shows
    them as slices (see :class:`dpsau2net_monai.visualize.Volume`).

    The page and the log have the images per second, by the median time of a batch: of the network with its windows, and
    of the network with the postprocessing and the files that it writes. Reading and metrics are not in them.

    In a distributed run, the first process writes the images of all of them, in the order of the processes, which is
    that of the metrics.

    Args:
        output_dir: folder to write to.
        facts: lines for the page's head, such as the weights and the images.
        labels: the classes.
        threshold: of the probability, with which ``pred`` was made.
        instances_dir: folder of pictures of numbered instances. None: there is none.
        history: ``history.csv`` of the training run. Where it does not exist, the page has no training curves.
        clicks: the evaluation of clicks, which this handler attaches. None: there are none.
    """

    def __init__(
        self,
        output_dir: str,
        facts: Mapping[str, object],
        labels: Labels,
        threshold: float,
        instances_dir: str | None,
        history: str,
        clicks: ClickCurve | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.facts = facts
        self.labels = labels
        self.threshold = threshold
        self.instances_dir = instances_dir
        self.history = Path(history)
        self.clicks = clicks

    def attach(self, engine: Evaluator) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedEvaluator``. Its output has ``image``, ``label``, ``pred`` and
                ``probability``, the prediction before the threshold; for pictures of a single class also
                ``instances``, the predicted ones, (1, x, y) of integers.
        """
        if self.clicks is not None:
            self.clicks.attach(engine)  # before: the page shows what it finds
        engine.add_event_handler(Events.STARTED, self.start)
        for event in (Events.ITERATION_STARTED, IterationEvents.FORWARD_COMPLETED, IterationEvents.MODEL_COMPLETED):
            engine.add_event_handler(event, self.clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Evaluator) -> None:
        self.images: list[Example] = []
        self.volumes: list[dict[str, torch.Tensor]] = []  # of each image and class, in ml
        self.dice: list[list[float]] = []  # for each image, at each of the thresholds
        self.times: list[float] = []  # of each batch three: when it was read, inferred and postprocessed

    def clock(self, engine: Evaluator) -> None:
        if engine.state.device.type == "cuda":
            torch.cuda.synchronize(engine.state.device)
        self.times.append(time.perf_counter())

    def add(self, engine: Evaluator) -> None:
        loader: Any = engine.data_loader
        limit = PAGE_CHARACTERS // len(loader.dataset)
        for item in engine.state.output:
            self.images.append(self._example(item, limit))
            if item["pred"].ndim == 4:
                self.volumes.append(volumes(item["label"], item["pred"]))
            if not self.labels.softmax:
                classes = zip(item["probability"], item["label"] > 0)
                self.dice.append(np.mean([dice_by_threshold(*of_class) for of_class in classes], axis=0).tolist())

    def _example(self, item: Mapping[str, Any], limit: int) -> Example:
        """Return an image with its pictures, and with its metrics of instances, if it has such."""
        path = item["image"].meta[ImageMetaKey.FILENAME_OR_OBJ]
        masks = item["label"], item["pred"]
        if item["pred"].ndim == 4:
            volume = Volume(item["image"], *masks)
            image, truth, prediction = volume.planes()
            for_planes = int(PLANES_SHARE * limit)
            colours = np.repeat(image[..., None], 3, axis=2)
            pictures = draw_pictures(colours, truth, prediction, for_planes, None, LONGEST_PLANES)
            return Example(name_of(path), {}, pictures, draw_slices(volume, limit - for_planes))
        image, truth, prediction = as_pictures(item["image"], *masks)
        if len(self.labels.names) > 1:
            return Example(name_of(path), {}, draw_pictures(stretch(image), truth, prediction, limit))
        mask, predicted = (item[key][0].cpu().numpy() for key in ("label", "instances"))
        true = true_instances(self.instances_dir, path, mask)
        pictures = draw_pictures(stretch(image), truth, prediction, limit, (true.T, predicted.T))
        return Example(name_of(path), instance_metrics(true, predicted), pictures)

    def write(self, engine: Evaluator) -> None:
        of_processes: Any = idist.all_gather((self.images, self.volumes, self.dice))
        if idist.get_rank() > 0:
            return
        self.images, self.volumes, self.dice = (sum(parts, []) for parts in zip(*of_processes))
        details = dict(engine.state.metric_details)
        if self.volumes:
            details |= {name: torch.stack([one[name] for one in self.volumes]) for name in self.volumes[0]}
        classes = self.labels.names
        images = [
            image._replace(metrics={**metrics, **image.metrics})
            for image, metrics in zip(self.images, metrics_by_image(details, classes))
        ]
        names = list(images[0].metrics)
        with (
            whole_file(self.output_dir / "images.csv") as part,
            open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["image", *names])
            writer.writerows([image.name, *(f"{image.metrics[name]:.6g}" for name in names)] for image in images)

        history = read_history(self.history)
        of_classes = {f"{name}_{class_}" for name in names for class_ in classes}
        read, inferred, processed = np.reshape(self.times, (-1, 3)).T
        # the median: the first image of a size takes longer
        network, whole = (len(images) / len(read) / np.median(end - read) for end in (inferred, processed))
        facts = {
            **{name: str(value) for name, value in self.facts.items()},
            "Speed": f"{network:.3g} images/s (network), {whole:.3g} images/s (with postprocessing)",
            "Date": f"{datetime.date.today()}",
        }
        page = render_page(
            "Evaluation",
            facts,
            {name: summarise([image.metrics[name] for image in images]) for name in names if name not in of_classes},
            images,
            self.threshold,
            dict(zip(THRESHOLDS, np.mean(self.dice, axis=0).tolist())) if self.dice else {},
            history,
            classes if len(classes) > 1 else (),
            [] if self.clicks is None else self.clicks.with_pictures(),
        )
        path = self.output_dir / "report.html"
        with whole_file(path) as part:
            part.write_text(page, encoding="utf-8")
        engine.logger.info(f"{path}: {len(images)} images, {facts['Speed']}")
