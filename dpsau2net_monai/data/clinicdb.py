"""CVC-ClinicDB, frames of colonoscopy videos, as it is distributed."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import InputError
from .archive import list_files, unpacked
from .datalist import read_split, write_split
from .prepare import Item, Report, is_image, prepare_pairs, prepared_names

__all__ = ["prepare_clinicdb"]

BLOCKS = 10
SEED = 42
TEST_SHARE = 0.1


def prepare_clinicdb(source: str | os.PathLike, output_dir: str | os.PathLike) -> Report:
    """
    Turn ``Original/`` and ``Ground Truth/`` into ``images/`` and ``masks/`` (0 and 255), and write ``split.csv``, whose
    parts share no video sequence: frames of one sequence are so alike that a test on them would be none.

    The sequences are those of ``metadata.csv``, which the copy on Kaggle has. Without it, blocks of consecutive frames
    stand in for them. About a tenth of the frames are test frames, drawn with seed 42. Frames that are there already
    with their mask are not made again, and a ``split.csv`` that says otherwise is kept.

    Args:
        source: folder or archive with the two folders of ``.tif`` (the challenge's), or with ``PNG/`` and ``TIF/`` that
            have them (Kaggle's), of which ``PNG/`` is taken.
        output_dir: folder to write to.

    Returns:
        What was done, and what was not as it should be.

    Raises:
        InputError: ``source`` is not there, cannot be unpacked, or has no such folders; ``metadata.csv`` is no such
            table.
    """
    report = Report()
    names = list_files(source)
    items = _frames(source, names, report)
    sequences = _sequences(source, names)
    prepare_pairs(source, output_dir, items, report)
    _split(Path(output_dir), items, sequences, report)
    return report


def _frames(source: str | os.PathLike, names: Sequence[str], report: Report) -> dict[str, Item]:
    roots: dict[PurePosixPath, dict[str, dict[str, str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        kind = "".join(filter(str.isalpha, path.parent.name.lower()))
        if kind in ("original", "groundtruth") and is_image(name):
            root = roots.setdefault(path.parent.parent, {"original": {}, "groundtruth": {}})
            other = root[kind].setdefault(path.stem, name)
            if other != name:
                report.note(f"{name}: has the same name as {other}; left out")
        elif path.name not in ("metadata.csv", "class_dict.csv"):  # these are Kaggle's
            report.note(f"{name}: is a stray file; left out")
    roots = {root: kinds for root, kinds in roots.items() if all(kinds.values())}
    if not roots:
        raise InputError(f"{source}: has no folders 'Original' and 'Ground Truth' with images, as CVC-ClinicDB has")
    root = next((root for root in roots if root.name.lower() == "png"), min(roots))
    for other in roots:
        if other != root:
            if other.parent != root.parent:
                raise InputError(f"{source}: has several copies, in {root} and {other}; name one of them")
            report.note(f"{other}: is another copy of {root}; not used")

    frames, masks = roots[root]["original"], roots[root]["groundtruth"]
    for frame in sorted({*frames, *masks}, key=_order):
        if frame not in frames:
            report.note(f"{masks[frame]}: is a mask without a frame; left out")
        elif frame not in masks:
            report.note(f"{frames[frame]}: has no mask; left out")
            report.left_out += 1
    return {frame: Item(frames[frame], [masks[frame]]) for frame in sorted(frames, key=_order) if frame in masks}


def _order(frame: str) -> tuple[int, int, str]:
    """For sorting 10 after 9."""
    return (0, int(frame), frame) if frame.isdecimal() else (1, 0, frame)


def _sequences(source: str | os.PathLike, names: Sequence[str]) -> dict[str, str] | None:
    """The sequence of each frame by ``metadata.csv``, the outermost one; None where there is none."""
    paths = sorted((PurePosixPath(name) for name in names), key=lambda path: len(path.parts))
    path = next((path for path in paths if path.name == "metadata.csv"), None)
    if path is None:
        return None
    with unpacked(source, [str(path)]) as folder:
        try:
            with open(folder / path, newline="", encoding="utf-8-sig") as file:
                rows = [(row["frame_id"].strip(), row["sequence_id"].strip()) for row in csv.DictReader(file)]
        except (KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{source}: {path} is no table of the columns frame_id and sequence_id") from error
    return dict(rows)


def _split(output_dir: Path, items: Mapping[str, Item], known: Mapping[str, str] | None, report: Report) -> None:
    frames = list(items)
    if known is None:
        sequence_of = {frame: str(index * BLOCKS // len(frames)) for index, frame in enumerate(frames)}
        report.note(
            f"there is no metadata.csv that names the video sequences, so that {len(set(sequence_of.values()))} blocks "
            "of consecutive frames stand in for them: a sequence across the border of a block may be in both parts"
        )
    else:
        sequence_of = {frame: known[frame] for frame in frames if frame in known}
        for frame in frames:
            if frame not in known:
                report.note(f"{items[frame].image}: is not in metadata.csv; in neither part of split.csv")
    test = _draw(list(sequence_of.values()))
    if not test:
        report.note("the frames are of one sequence, which cannot be split; there is no split.csv")
        return
    done = prepared_names(output_dir)
    categories = {
        frame: "test" if sequence in test else "train" for frame, sequence in sequence_of.items() if frame in done
    }
    path = output_dir / "split.csv"
    former = read_split(path) if path.exists() else {}
    if not former.items() <= categories.items():
        report.note(f"{path}: is there already and differs from the split by sequence; kept as it is")
        return
    if former != categories:
        write_split(path, categories)
    n_test = list(categories.values()).count("test")
    report.note(
        f"{path}: {len(categories) - n_test} frames train and {n_test} test, none of one "
        f"{'block' if known is None else 'sequence'} in both; give it to training as --csvfile"
    )


def _draw(sequence_of_frames: Sequence[str]) -> set[str]:
    """Draw sequences for the test until no other brings their frames nearer to their share; one at least."""
    sequences, counts = np.unique(sequence_of_frames, return_counts=True)
    if len(sequences) < 2:
        return set()
    wanted = TEST_SHARE * len(sequence_of_frames)
    test, number = set(), 0
    # RandomState's stream stays the same in every version of NumPy: a user's test frames must stay test frames
    for index in np.random.RandomState(SEED).permutation(len(sequences)):
        if abs(number + counts[index] - wanted) < abs(number - wanted):
            test.add(str(sequences[index]))
            number += counts[index]
    return test or {str(sequences[counts.argmin()])}
