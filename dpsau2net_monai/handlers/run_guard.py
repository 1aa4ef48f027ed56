"""Ending a training run before it goes wrong."""

from __future__ import annotations

import logging
import time
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from ..errors import InputError, root_input_error

__all__ = ["RunGuard"]


class RunGuard:
    """
    Ignite handler of a trainer. It ends the run with one line that says what to do

    - if the loss is not finite. ``ignite.handlers.TerminateOnNan`` ends it after the step changed the weights, and does
      not name the images.
    - if GPU memory runs out.
    - if a DataLoader's worker cannot read an image. Ignite logs the worker's whole traceback.

    It also ends the run after ``max_minutes``, at the end of an epoch, so that no epoch is lost.
    ``ignite.handlers.TimeLimit`` ends it in the middle of one. Of several processes, the first one's clock decides for
    all. The minutes are in ``engine.state``, and ``RunKeeper`` saves them, so those of a resumed run are counted too.

    Put it before every other handler: the first handler of an error decides what becomes of it.

    Args:
        max_minutes: an epoch that would end later than this is not begun. None: no limit.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self.max_minutes = max_minutes
        self.since = 0.0  # until when the minutes are counted
        self.epoch_started = 0.0

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedTrainer``.
        """
        engine.logger.addFilter(_shorten)
        engine.state_dict_user_keys.extend(("minutes", "epoch_minutes"))
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.check_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_time)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.explain)

    def start(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite's types allow only for its own names
        state.minutes = state.epoch_minutes = 0.0
        self.since = time.monotonic()

    def start_epoch(self, engine: Engine) -> None:
        self.epoch_started = time.monotonic()
        self._end_in_time(engine, engine.state.epoch - 1)  # a run that is resumed may have no time left

    def check_loss(self, engine: Engine) -> None:
        state: Any = engine.state
        loss = state.output["loss"]
        if not torch.isfinite(loss):
            images = ", ".join(state.batch["image_path"])
            raise InputError(
                f"the loss is {loss.item()} in epoch {state.epoch}; the weights of the epochs before are kept; "
                f"lower learning_rate, or look at this batch's images: {images}"
            )

    def check_time(self, engine: Engine) -> None:
        now = time.monotonic()
        state: Any = engine.state
        state.minutes += idist.broadcast((now - self.since) / 60, src=0)
        state.epoch_minutes = idist.broadcast((now - self.epoch_started) / 60, src=0)
        self.since = now
        self._end_in_time(engine, state.epoch)

    def _end_in_time(self, engine: Engine, epoch: int) -> None:
        state: Any = engine.state
        if self.max_minutes is not None and state.minutes + state.epoch_minutes > self.max_minutes:
            engine.logger.info(f"another epoch would exceed max_minutes: stopping after epoch {epoch}")
            engine.terminate()

    def explain(self, engine: Engine, error: Exception) -> None:
        if isinstance(error, torch.OutOfMemoryError):
            raise InputError(
                "out of GPU memory; lower batch_size, then roi_size, or set amp to true; "
                "--resume true continues after the last complete epoch"
            ) from error
        raise error


def _shorten(record: logging.LogRecord) -> bool:
    """Leave only the line of an :class:`InputError` of a DataLoader's worker, which has its traceback as text."""
    cause = root_input_error(RuntimeError(record.msg))
    if cause is not None:
        record.msg = f"{record.msg.partition('Caught ')[0]}{cause}"
    return True
