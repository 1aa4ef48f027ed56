"""What an evaluation leaves to be looked at."""

from __future__ import annotations

import csv
import datetime
import glob
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import ImageMetaKey
from PIL import Image

from ..data.datalist import name_of
from ..data.prepare import size_words
from ..data.reading import reading
from ..errors import InputError
from ..files import whole_file
from ..objects import object_figures, split_objects
from ..report import Example, draw_pictures, render_page, summarise
from ..transforms import as_pictures

__all__ = ["EvaluationReport"]

THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 20)]
PAGE_CHARACTERS = 36_000_000  # of all images in it


def dice_by_threshold(probability: torch.Tensor, true: torch.Tensor) -> list[float]:
    """The Dice of ``probability`` with the mask ``true`` at each of ``THRESHOLDS``; 1 where both masks are empty."""
    # how many pixels, and how many true ones, reach each threshold: two histograms give all
    edges = torch.tensor(THRESHOLDS, dtype=torch.float32, device=probability.device)
    bins = torch.bucketize(probability.float().contiguous(), edges, right=True)  # how many thresholds a pixel reaches

    def reaching(selected: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(selected.flatten(), minlength=len(THRESHOLDS) + 1)
        return counts.flip(0).cumsum(0).flip(0)[1:].double()

    sums = reaching(bins) + true.sum()
    return torch.where(sums > 0, 2 * reaching(bins[true]) / sums.clamp(min=1), torch.ones_like(sums)).tolist()


class EvaluationReport:
    """
    Ignite handler of an evaluator that writes, when it has seen all images, to ``output_dir``

    - ``images.csv``: every figure of each image, those of its objects among them, a row an image,
    - ``report.html``: the figures summarised, charts, and the images, the worst first, in one page that needs nothing
      else (see :func:`dpsau2net_monai.report.render_page`).

    ``monai.handlers.MetricsSaver`` writes a file a metric, and no pictures.

    The objects of the prediction are its connected components, split where they touch (see
    :func:`dpsau2net_monai.objects.split_objects`); the true ones are those of ``instances_dir/NAME.EXT``, and where
    there is no such file the true mask is split likewise.

    Args:
        output_dir: folder to write to.
        facts: what the page's head says, such as the weights and the images.
        threshold: of the probability, by which ``pred`` was made.
        instances_dir: folder of pictures of numbered objects.
        history: ``history.csv`` of the training run; where it does not exist, the page has no training curves.
    """

    def __init__(
        self, output_dir: str, facts: Mapping[str, object], threshold: float, instances_dir: str, history: str
    ) -> None:
        self.output_dir = Path(output_dir)
        self.facts = facts
        self.threshold = threshold
        self.instances_dir = Path(instances_dir)
        self.history = Path(history)

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedEvaluator``, whose output has ``image``, ``label``, ``pred`` and, before
                the threshold, ``probability``.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.images: list[Example] = []
        self.dice: list[list[float]] = []  # of each image at each of the thresholds

    def add(self, engine: Engine) -> None:
        limit = PAGE_CHARACTERS // len(engine.data_loader.dataset)
        for item in engine.state.output:
            path = item["image"].meta[ImageMetaKey.FILENAME_OR_OBJ]
            predicted, true = (item[key][0].cpu().numpy() > 0 for key in ("pred", "label"))
            figures = object_figures(self._true_objects(path, true), split_objects(predicted))
            pictures = draw_pictures(*as_pictures(item["image"], item["label"], item["pred"]), limit=limit)
            self.images.append(Example(name_of(path), figures, pictures))
            self.dice.append(dice_by_threshold(item["probability"][0], item["label"][0] > 0))

    def write(self, engine: Engine) -> None:
        details = {
            name.removeprefix("val_").removeprefix("mean_"): torch.as_tensor(values).flatten().tolist()
            for name, values in engine.state.metric_details.items()
        }
        images = [
            image._replace(figures={**{name: values[i] for name, values in details.items()}, **image.figures})
            for i, image in enumerate(self.images)
        ]
        names = list(images[0].figures)
        with whole_file(self.output_dir / "images.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *names])
            writer.writerows([image.name, *(f"{image.figures[name]:.6g}" for name in names)] for image in images)

        history: list[dict[str, str]] = []
        if self.history.is_file():
            with open(self.history, newline="", encoding="utf-8") as file:
                history = list(csv.DictReader(file))
        page = render_page(
            "Evaluation",
            {**{name: str(value) for name, value in self.facts.items()}, "Date": f"{datetime.date.today()}"},
            {name: summarise([image.figures[name] for image in images]) for name in names},
            images,
            self.threshold,
            dict(zip(THRESHOLDS, np.mean(self.dice, axis=0).tolist())),
            history,
        )
        path = self.output_dir / "report.html"
        with whole_file(path) as part:
            part.write_text(page, encoding="utf-8")
        engine.logger.info(f"{path}: {len(images)} images")

    def _true_objects(self, path: str, mask: np.ndarray) -> np.ndarray:
        found = sorted(self.instances_dir.glob(f"{glob.escape(name_of(path))}.*"))
        if not found:
            return split_objects(mask)
        with reading(found[0], "a picture of numbered objects"), Image.open(found[0]) as picture:
            objects = np.asarray(picture).T  # to MONAI's (x, y)
        if objects.shape != mask.shape:
            sizes = size_words(objects.shape[::-1], mask.shape[::-1])
            raise InputError(f"{found[0]}: {sizes}; restore it or take it out")
        return objects
