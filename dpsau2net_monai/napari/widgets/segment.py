"""Segmenting the image, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.qt.threading import thread_worker
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from ...errors import InputError
from ..segmenting import Settings, Stopped, open_segmenter, planes
from .choices import Choices, show_problem, shown_errors

__all__ = ["SegmentPart"]


class _FailedError(Exception):
    """The segmentation ended with a RuntimeError."""


@thread_worker(ignore_errors=True)  # they go to show_problem
def _segment(
    settings: Settings, data: Any, rgb: bool, channels: bool, scale: list[float], stopped: Callable[[], bool]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield the indices and the labels of one plane after the other."""
    try:
        segmenter = open_segmenter(settings)
        for plane, array in planes(data, segmenter.task.image_dims, rgb, channels):
            image = segmenter.prepare(array, rgb, scale)
            yield plane, segmenter.labels(image, segmenter.logits(image, stopped))
    except Stopped:
        return
    except RuntimeError as error:  # napari's workers take one for the end of their window, and never finish
        raise _FailedError(str(error)) from error


class SegmentPart(QWidget):
    """The part of the panel that makes a layer of labels from the image."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self.choices = choices
        self.start_button = QPushButton("Segment")
        self.cancel_button = QPushButton("Cancel")
        self.bar = QProgressBar()
        layout = QVBoxLayout(self)
        for widget in (self.start_button, self.bar, self.cancel_button):
            layout.addWidget(widget)
        layout.addStretch()
        self.start_button.clicked.connect(self.start)
        self.cancel_button.clicked.connect(self.cancel)
        self._worker: Any = None
        self._done()

    @property
    def running(self) -> bool:
        """Whether an image is being segmented."""
        return self._worker is not None

    def require_idle(self) -> None:
        """
        Raises:
            InputError: an image is being segmented.
        """
        if self.running:
            raise InputError("the image is still being segmented; wait for its labels, or cancel")

    def start(self) -> None:
        """Segment the image. Its labels appear as a new layer, a stack's one plane after the other."""
        with shown_errors():
            choices = self.choices
            image = choices.require_image()
            worker: Any = _segment(
                choices.settings, choices.data, image.rgb, choices.channels.value, choices.scale,
                lambda: worker.abort_requested,  # also where napari is closed
            )  # fmt: skip
            self._image = image
            self._layer: Labels | None = None
            self._shape = choices.shape
            self._options = {"name": f"{image.name} labels", **choices.placement()}
            worker.yielded.connect(self._show)
            worker.errored.connect(show_problem)
            worker.finished.connect(self._done)
            self.start_button.setEnabled(False)
            self.cancel_button.setEnabled(True)
            self.bar.setRange(0, 0)  # busy
            self._worker = worker
            worker.start()

    def cancel(self) -> None:
        """Stop before the next batch of windows. Planes that are done keep their labels."""
        if self._worker is not None:
            self._worker.quit()

    def _show(self, result: tuple[tuple[int, ...], np.ndarray]) -> None:
        plane, labels = result
        if self._layer is None:
            self.bar.setRange(0, prod(self._shape[: len(plane)]))
            self.bar.setValue(0)
            self._layer = Labels(np.zeros(self._shape, np.int32), **self._options)
            self.choices.add_labels(self._layer, self._image)
            self._layer.editable = False  # what is painted on a plane would be lost with its result
        self._layer.data[plane] = labels
        self._layer.refresh()
        self.bar.setValue(self.bar.value() + 1)

    def _done(self) -> None:
        if self._worker is not None and self._layer is not None:
            self._layer.editable = True
        self._worker = None
        self.start_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
        if self.bar.maximum() == 0:  # nothing came
            self.bar.setRange(0, 1)
            self.bar.reset()
