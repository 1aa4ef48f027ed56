"""Correcting labels by clicks in layers of points."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from monai.data import MetaTensor
from napari.layers import Points
from napari.layers.base import ActionType
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from ...clicks import click_names, require_clickable
from ...errors import InputError
from ...visualize import class_colours, hexadecimal
from ..clicks import correct, labels_around
from ..segmenting import leading_axes, open_segmenter
from .choices import Choices, shown_errors

__all__ = ["ClickPart"]

HELP = "Select a layer 'clicks: NAME', and click where the labels miss what it names. Ctrl+Z in the labels undoes it."
SIZES = {2: 6, 3: 2}  # of the points in pictures and volumes, in pixels and voxels


class ClickPart(QWidget):
    """The part of the panel that corrects the labels around each click."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self.choices = choices
        self.start_button = QPushButton("Begin with this image")
        text = QLabel(HELP)
        text.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.start_button)
        layout.addWidget(text)
        layout.addStretch()
        self.start_button.clicked.connect(self.start)
        self.points: dict[str, Points] = {}

    def start(self) -> None:
        """Add a layer of points for the background and for each class. From then on, each new point is a click."""
        with shown_errors():
            settings = self.choices.settings._replace(tta=False)  # a click is to be fast
            segmenter = open_segmenter(settings)
            require_clickable(segmenter.task.labels, "correct the labels by hand")
            leading = leading_axes(self.choices.axes, segmenter.task.image_dims)
            labels = self.choices.require_labels()
            for former in self.points.values():
                if former in self.choices.viewer.layers:
                    self.choices.viewer.layers.remove(former)
            self.points = {}
            if np.iinfo(labels.data.dtype).max < np.iinfo(np.int32).max:  # too few numbers for new instances
                labels.data = labels.data.astype(np.int32)
            names = click_names(segmenter.task.labels)
            colours = ["white", *map(hexadecimal, class_colours(len(names) - 1))]
            for name, colour in zip(names, colours):
                points = self.choices.viewer.add_points(
                    ndim=labels.ndim,
                    name=f"clicks: {name}",
                    size=SIZES[segmenter.task.image_dims],
                    face_color=colour,
                    **self.choices.placement(),
                )
                self.points[name] = points
                points.events.data.connect(partial(self._clicked, points))
                points.mode = "add"
            self._segmenter, self._labels, self._leading = segmenter, labels, leading
            self._image = self.choices.require_image()
            self._prepared: tuple[tuple[int, ...], MetaTensor] | None = None

    def _clicked(self, points: Points, event: Any) -> None:
        if event.action == ActionType.ADDED:
            with shown_errors():
                self._correct(list(self.points.values()).index(points), points.data[-1])

    def _correct(self, code: int, point: np.ndarray) -> None:
        segmenter, labels, leading = self._segmenter, self._labels, self._leading
        voxels = {name: np.rint(points.data).astype(int) for name, points in self.points.items()}
        clicked = np.rint(point).astype(int)
        plane, place = tuple(clicked[:leading].tolist()), clicked[leading:]
        if self.choices.require_labels() is not labels or self.choices.require_image() is not self._image:
            raise InputError(f"the clicks are those of '{labels.name}'; begin again with this image")
        if self._prepared is None or self._prepared[0] != plane:
            image = segmenter.prepare(self.choices.array(plane), self.choices.require_image().rgb, self.choices.scale)
            self._prepared = plane, image
        clicks = {name: one[(one[:, :leading] == plane).all(1), leading:] for name, one in voxels.items()}
        box, new = labels_around(segmenter, self._prepared[1], clicks, place)
        old = np.asarray(labels.data[plane][box])
        inner = tuple(place - [span.start for span in box])
        single = len(segmenter.task.labels.names) == 1
        corrected = correct(old, new, inner, code, single, int(labels.data.max()) + 1)
        changed = np.nonzero(corrected != old)
        if not len(changed[0]):
            show_info("this click changes nothing")
            return
        planes = [np.full(len(changed[0]), index) for index in plane]
        within = [places + span.start for places, span in zip(changed, box)]
        labels.data_setitem((*planes, *within), corrected[changed])
