"""The curves that a training run leaves beside its weights."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["read_history"]


def read_history(path: Path) -> list[dict[str, str]]:
    """Return the rows of a run's ``history.csv``, one for each epoch. Empty: there is no such file, or no epoch."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
