"""The curves that a training run leaves beside its weights."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["read_history"]


def read_history(path: Path) -> list[dict[str, str]]:
    """
    Return the rows of a run's ``history.csv``, one for each epoch. Empty: there is no such file, no epoch, or another
    program wrote the file.
    """
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            float(row["epoch"])
            for value in row.values():
                float(value or "nan")
    except (KeyError, TypeError, ValueError, csv.Error):
        return []
    return rows
