"""Annotating a folder of images, one after the other."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import napari
import numpy as np
from monai.config import PathLike
from monai.data import MetaTensor
from monai.transforms import Orientation
from napari.layers import Image
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget
from tqdm import tqdm

from ..data import find_images, name_of
from ..data.picture_reader import read_stored
from ..data.reading import is_volume
from ..errors import InputError
from ..files import whole_file
from ..transforms import LoadInputImaged
from .segmenting import SHIPPED, Segmenter, Settings, open_segmenter
from .widgets import Panel
from .widgets.choices import shown_errors

__all__ = ["Annotator", "Queue", "annotate"]

RECORD = "annotation.csv"
LEFT, DONE, SKIPPED = "left", "done", "skipped"


def _read(path: str) -> tuple[np.ndarray, bool, list[float]]:
    """Return a picture, or a volume turned to (z, y, x), whether it has colours, and the size of a volume's voxels."""
    if not is_volume(path):
        array = read_stored(path)
        return array, array.ndim == 3, []
    stored = LoadInputImaged("image", channels=1, spatial_dims=3)({"image": path})["image"]
    volume = cast(MetaTensor, Orientation("RAS")(stored))
    return volume[0].numpy().T, False, volume.pixdim.tolist()[::-1]


class Queue:
    """
    The images of a folder and what became of them: the file ``annotation.csv`` in the output folder.

    Args:
        images: paths of the pictures or volumes.
        output: folder of the record.

    Raises:
        InputError: the record was damaged.
    """

    def __init__(self, images: Sequence[str], output: Path) -> None:
        self.path = output / RECORD
        self.images = {name_of(image): image for image in images}
        self.expected_dice: dict[str, float] = {}
        self.state: dict[str, str] = {}
        if self.path.is_file():
            try:
                with open(self.path, newline="", encoding="utf-8", errors="surrogateescape") as file:
                    for row in csv.DictReader(file):
                        self.state[row["image"]] = row["state"]
                        if row.get("expected_dice"):  # version 0.7.0 had the entropy
                            self.expected_dice[row["image"]] = float(row["expected_dice"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self.path}: is not a record of annotated images; restore it or remove it"
                ) from error

    def rate(self, segmenter: Segmenter) -> None:
        """
        Compute the Dice that the network expects of each image's mask, where that was not done before. An image that
        cannot be read is left out, with a warning.
        """
        for name in tqdm([name for name in self.images if name not in self.expected_dice], desc="rate", disable=None):
            try:
                logits = segmenter.logits(segmenter.prepare(*_read(self.images[name])))
            except InputError as error:
                logging.getLogger("dpsau2net_monai").warning(f"{name} is left out: {error}")
                continue
            self.expected_dice[name] = segmenter.expected_dice(logits)
            self.mark(name, self.state.get(name, LEFT))

    def mark(self, name: str, state: str) -> None:
        """Write what became of an image."""
        self.state[name] = state
        with (
            whole_file(self.path) as part,
            open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["image", "expected_dice", "state"])
            writer.writerows([one, self.expected_dice.get(one), state] for one, state in self.state.items())

    @property
    def total(self) -> int:
        """Number of the images that could be read."""
        return sum(name in self.state for name in self.images)

    @property
    def left(self) -> list[str]:
        """Names of the images that are left, the least certain first."""
        left = [name for name in self.images if self.state.get(name) == LEFT]
        return sorted(left, key=lambda name: self.expected_dice.get(name, 0.0))


class Annotator(QWidget):
    """
    The widget that opens one image of a queue after the other, and saves its labels.

    Args:
        panel: the plugin's panel.
        queue: the images.
        output: the dataset to write.
    """

    def __init__(self, panel: Panel, queue: Queue, output: Path) -> None:
        super().__init__()
        self.panel, self.queue, self.output = panel, queue, output
        self.name = ""
        self.layer: Image | None = None
        self.status = QLabel()
        self.save_button, self.skip_button = QPushButton("Save, and next"), QPushButton("Skip")
        layout = QVBoxLayout(self)
        for widget in (self.status, self.save_button, self.skip_button):
            layout.addWidget(widget)
        self.save_button.clicked.connect(self.save)
        self.skip_button.clicked.connect(self.skip)
        self.open()

    def open(self) -> None:
        """Open the least certain image that is left, and segment it."""
        viewer, total, left = self.panel.choices.viewer, self.queue.total, self.queue.left
        viewer.layers.clear()
        self.status.setText(f"{total - len(left)} of {total} images are finished")
        for button in (self.save_button, self.skip_button):
            button.setEnabled(bool(left))
        if left:
            self.name = left[0]
            with shown_errors():
                array, rgb, scale = _read(self.queue.images[self.name])
                self.layer = viewer.add_image(array, rgb=rgb, name=self.name, scale=scale or None)
                self.layer.reset_contrast_limits()
                self.panel.segment.start()

    def save(self) -> None:
        """Save the labels of the image, and open the next one."""
        with shown_errors():
            self.panel.segment.require_idle()
            if self.panel.choices.require_image() is not self.layer:
                raise InputError(f"another image than '{self.name}' is chosen; choose it, to save its labels")
            if self.panel.save.write(self.output, self.name):
                self._finish(DONE)

    def skip(self) -> None:
        """Leave the image out, and open the next one."""
        with shown_errors():
            self.panel.segment.require_idle()
            self._finish(SKIPPED)

    def _finish(self, state: str) -> None:
        self.queue.mark(self.name, state)
        self.open()


def annotate(images_folder: PathLike, output: PathLike, weights: PathLike = SHIPPED) -> None:
    """
    Open napari on the images of a folder, one after the other, the least certain first. Each comes with the network's
    labels; what is saved is a dataset for training. The file ``annotation.csv`` in the output folder has what is done,
    and a later call goes on from there.

    Args:
        images_folder: folder of pictures, or with weights for volumes of volumes.
        output: folder of the dataset to write.
        weights: a ``model.pt`` or its folder.

    Raises:
        InputError: the folder has no images or some of another kind, or the weights cannot be used.
    """
    segmenter = open_segmenter(Settings(Path(weights)))
    volumes = segmenter.task.image_dims == 3
    if volumes and segmenter.task.in_channels > 1:
        raise InputError(f"{weights}: are for volumes of several channels, which cannot be annotated; choose others")
    found = [pair["image"] for pair in find_images(images_folder, segmenter.task.in_channels)]
    images = [image for image in found if isinstance(image, str) and is_volume(image) == volumes]
    if len(images) < len(found):
        wanted, others = ("volumes", "pictures") if volumes else ("pictures", "volumes")
        raise InputError(f"{images_folder}: has {others}, or files of single channels; these weights take {wanted}")
    queue = Queue(images, Path(output))
    queue.rate(segmenter)
    viewer = napari.Viewer(title="DPSAU2-Net")
    panel = Panel(viewer)
    panel.choices.weights.value, panel.choices.dataset.value = weights, output
    viewer.window.add_dock_widget(panel, name="Segment and train")
    viewer.window.add_dock_widget(Annotator(panel, queue, Path(output)), name="Annotate")
    napari.run()
