"""Errors without MONAI's log of them."""

from __future__ import annotations

from ignite.engine import Engine, Events

__all__ = ["RaiseErrors"]


class RaiseErrors:
    """
    Ignite handler of an evaluator that raises its errors, and Ctrl-C, at once. ``monai.handlers.StatsHandler`` logs the
    whole traceback first, also of an error that is one line for the person.

    Put it before every other handler: the first handler of an error decides what becomes of it.
    """

    def attach(self, engine: Engine) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedEvaluator``.
        """
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.raise_error)

    def raise_error(self, engine: Engine, error: BaseException) -> None:
        raise error
