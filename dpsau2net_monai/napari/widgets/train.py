"""Training on what was saved, and its curves."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QFormLayout, QHBoxLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from ...errors import InputError
from ..training import Training, read_curves
from .choices import Choices, shown_errors

__all__ = ["TrainPart"]

CURVES = {"train_loss": "training loss", "val_mean_dice": "validation Dice"}
PERIOD = 1000  # ms, between looks at the curves


class TrainPart(QWidget):
    """The part of the panel that trains on the dataset, from the chosen weights on."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self.choices = choices
        self.training: Training | None = None
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 10_000)
        self.epochs.setValue(50)
        self.start_button, self.stop_button = QPushButton("Train"), QPushButton("Stop")
        self.use_button = QPushButton("Use new weights")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.figure = Figure(figsize=(3, 2), layout="constrained")
        self.canvas = FigureCanvasQTAgg(self.figure)
        form, buttons, layout = QFormLayout(), QHBoxLayout(), QVBoxLayout(self)
        form.addRow("epochs", self.epochs)
        for button in (self.start_button, self.stop_button, self.use_button):
            buttons.addWidget(button)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
        layout.addWidget(self.canvas, 1)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.use_button.clicked.connect(self.use)
        self._timer = QTimer(self, interval=PERIOD)
        self._timer.timeout.connect(self.look)
        QApplication.instance().aboutToQuit.connect(self.stop)
        self._set_buttons()

    def start(self) -> None:
        """Start the training."""
        with shown_errors():
            dataset = Path(self.choices.dataset.value)
            if dataset == Path():
                raise InputError("name the folder of the dataset first")
            self.training = Training(dataset, self.choices.settings.ckpt_path, self.epochs.value(), self)
            self.training.finished.connect(self._finish)
            self.status.setText("starting")
            self._timer.start()
        self._set_buttons()

    def stop(self) -> None:
        """Stop the training. The weights of its best epoch are kept."""
        if self.training is not None:
            self.training.stop()

    def use(self) -> None:
        """Choose the weights of the training."""
        if self.training is not None:
            self.choices.weights.value = self.training.run / "model.pt"

    def look(self) -> None:
        """Show the curves as they are now."""
        if self.training is None:
            return
        history = read_curves(self.training.run)
        self.figure.clear()
        axes = self.figure.subplots()
        for name, label in CURVES.items():
            if name in history:
                axes.plot(history["epoch"], history[name], marker=".", label=label)
        if history:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
            self.status.setText(f"epoch {len(history['epoch'])} of {self.training.epochs}")
        self.canvas.draw_idle()
        self._set_buttons()

    def _finish(self) -> None:
        self._timer.stop()
        self.look()
        if self.training is not None:
            self.status.setText(f"{self.training.run.name}: {self.training.outcome}")

    def _set_buttons(self) -> None:
        training = self.training
        running = training is not None and training.running
        self.start_button.setEnabled(not running)
        self.stop_button.setEnabled(running)
        self.use_button.setEnabled(training is not None and (training.run / "model.pt").is_file())
