"""What the parts of the panel share: the settings, the layers they work on, and how errors are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, FloatSlider, create_widget
from napari.layers import Image, Labels
from napari.utils.notifications import show_error
from napari.viewer import Viewer

from ...errors import InputError, root_input_error
from ..segmenting import SHIPPED, Settings, image_at, leading_axes

__all__ = ["Choices", "show_problem", "shown_errors"]


def show_problem(error: Exception) -> None:
    """Show an error that the input caused in one line; raise any other."""
    cause = root_input_error(error)
    if cause is None:
        raise error
    show_error(str(cause))


@contextmanager
def shown_errors() -> Iterator[None]:
    """Do :func:`show_problem` with an error of the code within."""
    try:
        yield
    except Exception as error:
        show_problem(error)


class Choices:
    """The settings of the segmentation, and the layers that it reads and writes."""

    def __init__(self, viewer: Viewer) -> None:
        shipped = SHIPPED if SHIPPED.is_file() else Path()
        self.viewer = viewer
        self._origins: WeakKeyDictionary[Labels, ReferenceType[Image]] = WeakKeyDictionary()
        self.weights = FileEdit(value=shipped, label="weights", filter="*.pt", tooltip="a model.pt, or a run's folder")
        self.threshold = FloatSlider(value=0.5, min=0.05, max=0.95, step=0.05, label="threshold")
        self.overlap = FloatSlider(value=0.25, min=0, max=0.9, step=0.05, label="overlap", tooltip="of the windows")
        self.tta = CheckBox(text="average over flips and turns", tooltip="takes ten times as long")
        self.runtime = ComboBox(choices=["torch", "onnx", "openvino"], label="runtime")
        self.image = create_widget(annotation=Image, name="image")
        self.channels = CheckBox(text="the first axis has channels", tooltip="else planes, one image after the other")
        self.labels = create_widget(annotation=Labels, name="labels")
        self.dataset = FileEdit(mode="d", label="dataset", tooltip="a folder for images and labels to train on")
        self.container = Container(
            widgets=[
                self.weights, self.threshold, self.overlap, self.tta, self.runtime, self.image, self.channels,
                self.labels, self.dataset,
            ],
        )  # fmt: skip
        viewer.layers.selection.events.active.connect(self._follow)

    def _follow(self) -> None:
        """Choose the layer that the user selects in napari's list, and what belongs to it."""
        layer = self.viewer.layers.selection.active
        for box in (self.image, self.labels):
            if layer in box.choices:
                box.value = layer
        if isinstance(layer, Labels) and (image := self._origin(layer)) in self.image.choices:
            self.image.value = image
        elif layer is self.image.value and self._are_of_another(self.labels.value):
            own = [labels for labels in self.labels.choices if self._origin(labels) is layer]
            if own:
                self.labels.value = own[-1]

    def _origin(self, labels: Labels) -> Image | None:
        made_of = self._origins.get(labels)
        return made_of and made_of()

    def _are_of_another(self, labels: Labels | None) -> bool:
        return labels is not None and labels in self._origins and self._origin(labels) is not self.image.value

    def add_labels(self, labels: Labels, image: Image) -> None:
        """Add labels to the viewer that were made of an image, and remember of which."""
        self._origins[labels] = ref(image)
        self.viewer.add_layer(labels)

    @property
    def settings(self) -> Settings:
        """How to segment."""
        return Settings(
            self.weights.value, self.threshold.value, self.overlap.value, self.tta.value, self.runtime.value
        )

    @property
    def axes(self) -> int:
        """Number of the axes that the image shares with its labels: all but those of channels and colours."""
        return self.require_image().ndim - self.channels.value

    @property
    def data(self) -> Any:
        """The array of the image, of a pyramid the one of the full resolution."""
        image = self.require_image()
        return image.data[0] if image.multiscale else image.data

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the labels of the image."""
        return tuple(self.data.shape[self.channels.value :][: self.axes])

    @property
    def scale(self) -> list[float]:
        """Size of the image's pixels or voxels along the last axes, at most three."""
        return [float(size) for size in self.require_image().scale[-3:]]

    def require_image(self) -> Image:
        """
        Raises:
            InputError: there is no image.
        """
        if self.image.value is None:
            raise InputError("there is no image; open one first")
        return self.image.value

    def require_labels(self) -> Labels:
        """
        Raises:
            InputError: there are no labels of the size of the image, they were made of another image, or they are a
                pyramid.
        """
        image, labels = self.require_image(), self.labels.value
        if labels is None:
            raise InputError("there are no labels; segment the image first")
        if labels.multiscale:
            raise InputError(f"the labels '{labels.name}' are a pyramid; choose labels of the image's own size")
        if labels.data.shape != self.shape:
            raise InputError(f"the labels '{labels.name}' have another size than the image '{image.name}'")
        if self._are_of_another(labels):
            raise InputError(
                f"the labels '{labels.name}' were made of another image than '{image.name}'; "
                "choose its own, or duplicate the layer to take them for it"
            )
        return labels

    def placement(self) -> dict[str, Any]:
        """Return the options of a layer that lies on the image."""
        image = self.require_image()
        axes = slice(-self.axes, None)
        return {
            "scale": image.scale[axes],
            "translate": image.translate[axes],
            "rotate": image.rotate[axes, axes],
            "shear": image.shear[(image.ndim - 1) * self.channels.value :],  # an upper triangle, row after row
            "affine": image.affine.set_slice(range(image.ndim)[axes]),
            "units": image.units[axes],
        }

    def plane(self, image_dims: int) -> tuple[int, ...]:
        """
        Return the indices of the image that napari shows, on the axes before the last ``image_dims`` ones.

        Raises:
            InputError: there is no image, or it has fewer axes.
        """
        leading = leading_axes(self.axes, image_dims)
        place = self.require_image().world_to_data(self.viewer.dims.point)[-self.axes :]
        return tuple(np.rint(place[:leading]).astype(int).tolist())

    def array(self, plane: tuple[int, ...]) -> np.ndarray:
        """
        Return an image, (row, column) or (z, y, x), with a first axis of channels or a last one of colours.

        Raises:
            InputError: there is none at these indices, as another layer has more.
        """
        if any(not 0 <= index < size for index, size in zip(plane, self.shape)):
            raise InputError(f"'{self.require_image().name}' shows no image here; move the slider to one of its own")
        return image_at(self.data, plane, self.channels.value)
