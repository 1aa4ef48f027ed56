"""The panel that napari docks."""

from __future__ import annotations

from napari.viewer import Viewer
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from .choices import Choices
from .click import ClickPart
from .save import SavePart
from .segment import SegmentPart
from .train import TrainPart

__all__ = ["Panel"]


class Panel(QWidget):
    """
    Settings and layers at the top, and below a tab for each step: segment, correct by clicks, save, train.

    Args:
        napari_viewer: the viewer. By this name, napari knows that a widget wants it.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.choices = Choices(napari_viewer)
        self.segment = SegmentPart(self.choices)
        self.click = ClickPart(self.choices)
        self.save = SavePart(self.choices, self.segment)
        self.train = TrainPart(self.choices)
        self.tabs = QTabWidget()
        for name, part in {
            "Segment": self.segment, "Clicks": self.click, "Save": self.save, "Train": self.train
        }.items():  # fmt: skip
            self.tabs.addTab(part, name)
        layout = QVBoxLayout(self)
        layout.addWidget(self.choices.container.native)
        layout.addWidget(self.tabs, 1)

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now. napari calls this when they change."""
        self.choices.container.reset_choices()
