"""What an importer consists of, and what it returns."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import one_line

__all__ = ["ImportSummary", "Importer"]


@dataclass
class ImportSummary:
    """
    The result of an importer.

    Args:
        written: number of images that were written with their masks.
        kept: number of images that an earlier run had written.
        left_out: number of images that cannot be used.
        notes: one line for each problem, and for what else the user should know.
    """

    written: int = 0
    kept: int = 0
    left_out: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a line to the notes."""
        self.notes.append(one_line(text))

    def __str__(self) -> str:
        counts = f"{self.written} images written, {self.kept} already there, {self.left_out} left out"
        return "\n".join([*self.notes, counts])


class Importer(NamedTuple):
    """
    A public dataset, or a kind of dataset, that the command ``prepare`` converts.

    Args:
        name: its name on the command line.
        help: one line that describes it.
        run: converts the dataset ``args.source``, and writes it to the folder ``args.output``.
        add_options: declares other options than these two. None: there are no others.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], ImportSummary]
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
