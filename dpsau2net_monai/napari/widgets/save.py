"""Saving the image and its labels as training data."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from napari.utils.notifications import show_info
from qtpy.QtWidgets import QMessageBox, QPushButton, QVBoxLayout, QWidget

from ...data import Task, read_task
from ...errors import InputError
from ..saving import AlreadySavedError, save_pair
from ..segmenting import weights_file
from .choices import Choices, shown_errors
from .segment import SegmentPart

__all__ = ["SavePart"]


class SavePart(QWidget):
    """The part of the panel that saves the image, or the one of a stack that napari shows, with its labels."""

    def __init__(self, choices: Choices, segment: SegmentPart) -> None:
        super().__init__()
        self.choices, self.segment = choices, segment
        self.save_button = QPushButton("Save as training data")
        layout = QVBoxLayout(self)
        layout.addWidget(self.save_button)
        layout.addStretch()
        self.save_button.clicked.connect(self.save)

    def save(self) -> None:
        """Save in the dataset, under the name of the layer."""
        with shown_errors():
            self.segment.require_idle()
            folder = Path(self.choices.dataset.value)
            if folder == Path():
                raise InputError("name a folder for the dataset first")
            name = re.sub(r"^\.+|[^\w.-]+", "_", self.choices.require_image().name)  # names with a first dot are hidden
            dims = self._task().image_dims
            joint = "_"
            if dims == 3:  # a volume NAME_0001 would be a channel of NAME
                joint, name = "-", re.sub(r"_(?=\d{4}$)", "-", name)
            name = joint.join([name, *(f"{index:04d}" for index in self.choices.plane(dims))])
            if self.write(folder, name):
                show_info(f"saved: {name}")

    def _task(self) -> Task:
        return read_task(weights_file(self.choices.settings.ckpt_path).with_name("task.yaml"))

    def write(self, folder: Path, name: str) -> bool:
        """
        Save the image that napari shows, and ask before one of the same name is replaced.

        Returns:
            Whether it is saved.

        Raises:
            InputError: it cannot be saved.
        """
        choices, task = self.choices, self._task()
        labels = choices.require_labels()
        plane = choices.plane(task.image_dims)
        image = choices.array(plane)
        if choices.channels.value:
            raise InputError("an image of several channels cannot be saved here; save its channels as RGB")
        if task.image_dims == 3 and choices.require_image().rgb:
            raise InputError("a volume of colours cannot be saved here; convert it to grey")
        save = partial(save_pair, folder, name, image, labels.data[plane], task.labels, scale=choices.scale)
        try:
            save()
        except AlreadySavedError as error:
            if QMessageBox.question(self, "Overwrite?", str(error)) != QMessageBox.StandardButton.Yes:
                return False
            save(overwrite=True)
        return True
