"""The evaluation of masks that follow clicks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import Evaluator, SupervisedEvaluator
from monai.metrics import compute_dice
from monai.utils import ImageMetaKey

from ..clicks import click_names, next_click, require_clickable
from ..data.reading import name_of
from ..data.task import Task
from ..errors import InputError
from ..files import whole_file
from ..report import TARGETS, ClickedImage, ClickStep, clicks_to, draw_pictures, gain
from ..transforms import AddClicksd
from ..visualize import Volume, as_pictures, stretch

__all__ = ["ClickCurve"]

SHOWN = 3  # images with pictures
STEPS = (0, 1, 3, 10)  # numbers of clicks after which they are shown
AXIAL = 2
Click = tuple[int, tuple[int, ...]]  # the class's code, and the point


class ClickCurve:
    """
    Ignite handler of an evaluator whose inferer takes clicks. A simulated annotator corrects the mask of each image
    (see :func:`dpsau2net_monai.clicks.next_click`), click by click, and the inferer answers each of them. After the
    last image, it writes ``clicks.csv`` to ``output_dir``: for each image the Dice after 0, 1, 2 ... clicks, and the
    number of clicks to a Dice of 0.90 and of 0.95, or all clicks where it is not reached. The Dice is the mean over the
    classes. An annotator who finds no error stops, and the Dice stays.

    ``monai.apps.deepedit.Interaction`` clicks in training and validation of single batches, on random errors.

    In a distributed run, the first process writes the images of all of them.

    Args:
        task: what is segmented, in what images.
        clicks: largest number of clicks on an image.
        postprocessing: makes of a dictionary with ``image`` and the logits ``pred`` the mask ``pred`` (classes,
            spatial...) in the voxels of the image's file.
        output_dir: folder to write to.

    Raises:
        InputError: the classes overlap, or ``clicks`` is no number of clicks.
    """

    def __init__(
        self,
        task: Task,
        clicks: int,
        postprocessing: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        output_dir: str,
    ) -> None:
        if not isinstance(clicks, int) or isinstance(clicks, bool) or clicks < 1:
            raise InputError(f"clicks is {clicks!r}; give the number of simulated clicks on an image, or 0")
        require_clickable(task.labels, "set clicks to 0")
        self.names = click_names(task.labels)
        self.clicks = clicks
        self.draw = AddClicksd("image", task.labels)
        self.postprocessing = postprocessing
        self.output_dir = Path(output_dir)

    def attach(self, engine: Evaluator) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedEvaluator``. Its output has ``image``, and ``label`` and
                ``pred``, (classes, spatial...) of 0 and 1.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Evaluator) -> None:
        self.images: list[ClickedImage] = []
        self.shown: list[ClickedImage] = []  # those of them with the largest gains, with pictures

    def add(self, engine: Evaluator) -> None:
        for item in engine.state.output:
            self._add_image(cast(SupervisedEvaluator, engine), item)

    def _add_image(self, engine: SupervisedEvaluator, item: Mapping[str, Any]) -> None:
        label, mask = (torch.as_tensor(item[key]) for key in ("label", "pred"))
        truth = _codes(label)
        clicks: list[Click] = []
        dice, masks = [_dice(mask, label)], {0: mask}
        while len(clicks) < self.clicks:
            click = next_click(_codes(mask), truth, [point for _, point in clicks])
            if click is None:
                break
            clicks.append(click)
            mask = torch.as_tensor(self._answer(engine, item["image"], clicks)).to(label)
            dice.append(_dice(mask, label))
            if len(clicks) in STEPS:
                masks[len(clicks)] = mask
        dice += dice[-1:] * (self.clicks + 1 - len(dice))
        image = ClickedImage(name_of(item["image"].meta[ImageMetaKey.FILENAME_OR_OBJ]), dice)
        self.images.append(image)
        if gain(image) > (gain(self.shown[-1]) if len(self.shown) == SHOWN else 0):
            shown = image._replace(steps=_draw_steps(item["image"], label, masks, clicks))
            self.shown = _most_improved([*self.shown, shown])

    @torch.no_grad()
    def _answer(self, engine: SupervisedEvaluator, image: MetaTensor, clicks: Sequence[Click]) -> torch.Tensor:
        """Return the mask with these clicks."""
        data: dict[Hashable, Any] = {"image": image}
        for code, point in clicks:
            data.setdefault(self.names[code], []).append(point)
        clicked = self.draw(data)["image"]
        inputs = clicked.as_tensor()[None].to(engine.state.device)
        with engine.mode(engine.network), torch.autocast(inputs.device.type, enabled=engine.amp, **engine.amp_kwargs):
            logits = engine.inferer(inputs, engine.network)
        return self.postprocessing({"image": image, "pred": logits[0]})["pred"]

    def write(self, engine: Evaluator) -> None:
        of_processes: Any = idist.all_gather((self.images, self.shown))
        if idist.get_rank() > 0:
            return
        images, shown = zip(*of_processes)
        self.images, self.shown = sum(images, []), _most_improved(sum(shown, []))
        path = self.output_dir / "clicks.csv"
        with (
            whole_file(path) as part,
            open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            columns = [f"dice_{count}" for count in range(self.clicks + 1)]
            writer.writerow(["image", *columns, *(f"clicks_to_{target:.2f}" for target in TARGETS)])
            for image in self.images:
                counts = [clicks_to(image.dice, target) for target in TARGETS]
                reached = [self.clicks if count is None else count for count in counts]
                writer.writerow([image.name, *(f"{value:.6g}" for value in image.dice), *reached])
        first, last = (np.mean([image.dice[index] for image in self.images]) for index in (0, -1))
        engine.logger.info(f"{path}: mean Dice {first:.4f} without clicks, {last:.4f} after {self.clicks} clicks")

    def with_pictures(self) -> list[ClickedImage]:
        """Return all images, those with the largest gains with their pictures."""
        shown = {image.name: image for image in self.shown}
        return [shown.get(image.name, image) for image in self.images]


def _codes(mask: torch.Tensor) -> np.ndarray:
    """Return the codes (spatial...) of mutually exclusive classes, from a channel for each."""
    weights = torch.arange(1, len(mask) + 1, device=mask.device).view(-1, *[1] * (mask.ndim - 1))
    return (mask.to(torch.int16) * weights).sum(0).cpu().numpy()


def _dice(mask: torch.Tensor, label: torch.Tensor) -> float:
    return float(compute_dice(mask[None], label[None], ignore_empty=False).mean())


def _most_improved(images: Sequence[ClickedImage]) -> list[ClickedImage]:
    return sorted(images, key=gain, reverse=True)[:SHOWN]


def _draw_steps(
    image: MetaTensor, label: torch.Tensor, masks: Mapping[int, torch.Tensor], clicks: Sequence[Click]
) -> list[ClickStep]:
    """Draw the masks after the numbers of clicks, with the clicks. Of a volume, draw the slice of the first click."""
    numbered = torch.zeros(1, *label.shape[1:], dtype=torch.int32)
    for number, (_, point) in enumerate(clicks, 1):
        numbered[(0, *point)] = number
    if label.ndim == 4:
        volume = Volume(image, label, numbered, *masks.values())
        index = int(np.argwhere(volume.masks[1][0] == 1)[0, AXIAL])
        background, truth, places, *predictions = volume.slice(AXIAL, index)
        background = np.repeat(background[..., None], 3, axis=2)
    else:
        background, truth, places, *predictions = as_pictures(image, label, numbered, *masks.values())
        background = stretch(background)
    steps = []
    for count, prediction in zip(masks, predictions):
        pictures = draw_pictures(background, truth, prediction)
        scale = np.divide((pictures.width, pictures.height), background.shape[1::-1])
        points = []
        for number, (code, _) in enumerate(clicks[:count], 1):
            found = np.argwhere(places[0] == number)
            if len(found):
                x, y = (found.mean(0)[::-1] + 0.5) * scale
                points.append((float(x), float(y), code))
        steps.append(ClickStep(count, pictures, points))
    return steps
