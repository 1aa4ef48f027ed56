"""Correcting labels by clicks in layers of points."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from napari.layers import Points
from napari.layers.base import ActionType
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from ...clicks import click_names
from ...errors import InputError
from ...visualize import class_colours, hexadecimal
from ..clicks import correct, labels_around, require_clicks
from ..segmenting import open_segmenter
from .choices import Choices, shown_errors

__all__ = ["ClickPart"]

HELP = "Select a layer 'clicks: NAME', and click where the labels miss what it names. Ctrl+Z in the labels undoes it."
SIZE = 6  # of the points, in pixels


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
            require_clicks(segmenter.task)
            labels = self.choices.require_labels()
            for former in self.points.values():
                if former in self.choices.viewer.layers:
                    self.choices.viewer.layers.remove(former)
            self.points = {}
            names = click_names(segmenter.task.labels)
            colours = ["white", *map(hexadecimal, class_colours(len(names) - 1))]
            for name, colour in zip(names, colours):
                points = self.choices.viewer.add_points(
                    ndim=labels.ndim, name=f"clicks: {name}", size=SIZE, face_color=colour, **self.choices.placement()
                )
                self.points[name] = points
                points.events.data.connect(partial(self._clicked, points))
                points.mode = "add"
            self._segmenter, self._labels = segmenter, labels
            self._prepared: tuple[tuple[int, ...], torch.Tensor] | None = None

    def _clicked(self, points: Points, event: Any) -> None:
        if event.action == ActionType.ADDED:
            with shown_errors():
                self._correct(list(self.points.values()).index(points), points.data[-1])

    def _correct(self, code: int, point: np.ndarray) -> None:
        segmenter, labels = self._segmenter, self._labels
        plane = tuple(int(round(index)) for index in point[:-2])
        if self.choices.require_labels() is not labels:
            raise InputError(f"the clicks are those of '{labels.name}'; begin again with this image")
        if self._prepared is None or self._prepared[0] != plane:
            image = segmenter.prepare(self.choices.array(plane), self.choices.require_image().rgb)
            self._prepared = plane, image
        clicks = {
            name: points.data[(np.rint(points.data[:, :-2]) == plane).all(1), -2:]
            for name, points in self.points.items()
        }
        place = [float(value) for value in point[-2:]]
        box, new = labels_around(segmenter, self._prepared[1], clicks, place)
        old = np.asarray(labels.data[plane][box])
        row, column = (round(value) - span.start for value, span in zip(place, box))
        single = len(segmenter.task.labels.names) == 1
        corrected = correct(old, new, (row, column), code, single, int(labels.data.max()) + 1)
        rows, columns = np.nonzero(corrected != old)
        if not len(rows):
            show_info("this click changes nothing")
            return
        places = [np.full(len(rows), index) for index in plane]
        labels.data_setitem((*places, rows + box[0].start, columns + box[1].start), corrected[rows, columns])
