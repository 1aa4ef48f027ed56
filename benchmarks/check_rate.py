"""
Time the check of 1,000 and of 10,000 pairs of 256 x 256, and see whether its memory grows:

    python benchmarks/check_rate.py

It prints a line for each number: pairs a second, and the peak memory of the process that asks and of the largest of
those that read. The pairs are 50 synthetic ones with their number written into each copy's pixels, so that no two are
the same, in a temporary folder (about 1 GB) that is removed afterwards.
"""

from __future__ import annotations

import datetime
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dpsau2net_monai.data import check_dataset, synthesize

DIFFERENT = 50
NUMBERS = (1_000, 10_000)


def make_pairs(folder: Path, first: int, last: int, patterns: list[tuple[np.ndarray, Path]]) -> None:
    """Add the pairs ``first`` to ``last`` to ``folder``; the masks are hard links."""
    for index in tqdm(range(first, last), desc="make", unit="pair", disable=None):
        pixels, mask = patterns[index % DIFFERENT]
        pixels = pixels.copy()
        pixels.flat[:4] = np.frombuffer(np.uint32(index).tobytes(), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png", compress_level=1)
        os.link(mask, folder / "masks" / f"{index}.png")


def mebibytes(whose: int) -> int:
    return resource.getrusage(whose).ru_maxrss // 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "source", Path(name) / "data"
        synthesize(source, DIFFERENT)
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        patterns = [(np.asarray(Image.open(path)), source / "masks" / path.name) for path in source.glob("images/*")]
        made = 0
        for number in NUMBERS:
            make_pairs(folder, made, number, patterns)
            made = number
            start = time.perf_counter()
            report = check_dataset(folder)
            seconds = time.perf_counter() - start
            assert sum(report.parts.values()) == number and not report.problems
            print(
                f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores: {number} pairs in {seconds:.1f} s, "
                f"{number / seconds:.0f} pairs/s; peak memory {mebibytes(resource.RUSAGE_SELF)} MiB, "
                f"of a reading process {mebibytes(resource.RUSAGE_CHILDREN)} MiB"
            )
