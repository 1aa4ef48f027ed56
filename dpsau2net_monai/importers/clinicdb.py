"""CVC-ClinicDB: frames of colonoscopy videos, as they are distributed."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from monai.config import PathLike

from ..data.split import read_split, write_split
from ..errors import InputError
from .archive import list_files, unpacked
from .importer import Importer, ImportSummary
from .writing import Item, is_image, write_pairs, written_names

__all__ = ["CLINICDB", "prepare_clinicdb"]

BLOCKS = 10
SEED = 42
TEST_SHARE = 0.1


def prepare_clinicdb(source: PathLike, output_dir: PathLike) -> ImportSummary:
    """
    Convert ``Original/`` and ``Ground Truth/`` to ``images/`` and ``masks/`` (0 and 255), and write ``split.csv``.

    The training frames and the test frames of the split share no video sequence. The frames of one sequence are so
    similar that the network would be tested on images it has seen in training. ``metadata.csv``, which is part of
    Kaggle's copy, gives the sequences. Without it, blocks of consecutive frames are used instead. About a tenth of the
    frames are test frames, drawn with seed 42.

    Frames that already have a mask in ``output_dir`` are not written again. A ``split.csv`` with another split is kept.

    Args:
        source: folder or archive that has the two folders. In Kaggle's copy, ``PNG/`` and ``TIF/`` each have them, and
            ``PNG/`` is used.
        output_dir: folder to write to.

    Returns:
        What was written, and the problems.

    Raises:
        InputError: ``source`` does not exist, cannot be unpacked, or has no such folders, or ``metadata.csv`` lacks a
            column.
    """
    summary = ImportSummary()
    names = list_files(source)
    items = _frames(source, names, summary)
    sequences = _sequences(source, names)
    write_pairs(source, output_dir, items, summary)
    _split(Path(output_dir), items, sequences, summary)
    return summary


def _frames(source: PathLike, names: Sequence[str], summary: ImportSummary) -> dict[str, Item]:
    """Pair the frames with their masks. Return the pairs in the order of the frames' numbers."""
    frames, masks = _one_copy(source, names, summary)
    items = {}
    for frame in sorted({*frames, *masks}, key=_order):
        if frame not in frames:
            summary.note(f"{masks[frame]}: is a mask without a frame; left out")
        elif frame not in masks:
            summary.note(f"{frames[frame]}: has no mask; left out")
            summary.left_out += 1
        else:
            items[frame] = Item(frames[frame], [masks[frame]])
    return items


def _one_copy(source: PathLike, names: Sequence[str], summary: ImportSummary) -> tuple[dict[str, str], dict[str, str]]:
    """Return the paths of the frames and of the masks by the frames' names, of one copy of the dataset."""
    copies: dict[PurePosixPath, dict[str, dict[str, str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        kind = "".join(filter(str.isalpha, path.parent.name.lower()))
        if kind in ("original", "groundtruth") and is_image(name):
            copy = copies.setdefault(path.parent.parent, {"original": {}, "groundtruth": {}})
            first = copy[kind].setdefault(path.stem, name)
            if first != name:
                summary.note(f"{name}: has the same name as {first}; left out")
        elif path.name not in ("metadata.csv", "class_dict.csv"):  # the tables of Kaggle's copy
            summary.note(f"{name}: is not part of the dataset; left out")
    roots = [root for root, kinds in copies.items() if all(kinds.values())]
    if not roots:
        raise InputError(f"{source}: has no folders 'Original' and 'Ground Truth' with images, as CVC-ClinicDB has")
    root = next((root for root in roots if root.name.lower() == "png"), min(roots))
    for other in roots:
        if other != root:
            if other.parent != root.parent:
                raise InputError(f"{source}: has several copies, in {root} and {other}; name one of them")
            summary.note(f"{other}: is another copy of {root}; not used")
    return copies[root]["original"], copies[root]["groundtruth"]


def _order(frame: str) -> tuple[int, int, str]:
    """Return a sort key that puts 10 after 9."""
    return (0, int(frame), frame) if frame.isdecimal() else (1, 0, frame)


def _sequences(source: PathLike, names: Sequence[str]) -> dict[str, str] | None:
    """Return the sequence of each frame from the outermost ``metadata.csv``. None: there is no such file."""
    paths = sorted((PurePosixPath(name) for name in names), key=lambda path: len(path.parts))
    path = next((path for path in paths if path.name == "metadata.csv"), None)
    if path is None:
        return None
    with unpacked(source, [str(path)]) as folder:
        try:
            with open(folder / path, newline="", encoding="utf-8-sig") as file:
                rows = [(row["frame_id"].strip(), row["sequence_id"].strip()) for row in csv.DictReader(file)]
        except (KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{source}: {path} is not a table with the columns frame_id and sequence_id") from error
    return dict(rows)


def _split(
    output_dir: Path, items: Mapping[str, Item], known: Mapping[str, str] | None, summary: ImportSummary
) -> None:
    """Write ``split.csv``, unless there is one with another split."""
    sequence_of = _blocks(list(items), summary) if known is None else _of_frames(items, known, summary)
    test = _draw(list(sequence_of.values()))
    if not test:
        summary.note("all frames are from one sequence, which cannot be split; no split.csv is written")
        return
    done = written_names(output_dir)
    categories = {
        frame: "test" if sequence in test else "train" for frame, sequence in sequence_of.items() if frame in done
    }
    path = output_dir / "split.csv"
    former = read_split(path) if path.exists() else {}
    if not former.items() <= categories.items():
        summary.note(f"{path}: exists and differs from the split by sequence; kept as it is")
        return
    if former != categories:
        write_split(path, categories)
    n_test = list(categories.values()).count("test")
    summary.note(
        f"{path}: {len(categories) - n_test} frames train and {n_test} test; no "
        f"{'block' if known is None else 'sequence'} is in both parts; pass it to training as --csvfile"
    )


def _blocks(frames: Sequence[str], summary: ImportSummary) -> dict[str, str]:
    """Return a block of consecutive frames for each frame, in place of its sequence."""
    block_of = {frame: str(index * BLOCKS // len(frames)) for index, frame in enumerate(frames)}
    summary.note(
        f"no metadata.csv gives the video sequences; {len(set(block_of.values()))} blocks of consecutive frames are "
        "used instead, so a sequence that crosses the border of two blocks may be in both parts"
    )
    return block_of


def _of_frames(items: Mapping[str, Item], known: Mapping[str, str], summary: ImportSummary) -> dict[str, str]:
    """Return the known sequence of each frame. Note the frames that have none."""
    for frame, item in items.items():
        if frame not in known:
            summary.note(f"{item.image}: is not in metadata.csv; left out of split.csv")
    return {frame: known[frame] for frame in items if frame in known}


def _draw(sequence_of_frames: Sequence[str]) -> set[str]:
    """Draw test sequences until no other sequence brings the number of their frames closer to TEST_SHARE."""
    sequences, counts = np.unique(sequence_of_frames, return_counts=True)
    if len(sequences) < 2:
        return set()
    wanted = TEST_SHARE * len(sequence_of_frames)
    test, number = set(), 0
    # RandomState draws the same numbers in every version of NumPy: a user's test frames must stay test frames.
    for index in np.random.RandomState(SEED).permutation(len(sequences)):
        if abs(number + counts[index] - wanted) < abs(number - wanted):
            test.add(str(sequences[index]))
            number += counts[index]
    return test or {str(sequences[counts.argmin()])}


def _run(args: argparse.Namespace) -> ImportSummary:
    return prepare_clinicdb(args.source, args.output)


CLINICDB = Importer("clinicdb", "CVC-ClinicDB, with a split.csv that keeps each video sequence in one part", _run)
