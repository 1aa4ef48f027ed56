"""Any folder of images and masks. The rule that pairs them is found from their names."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from monai.config import PathLike

from ..data.reading import stem_of
from ..errors import InputError
from .archive import list_files
from .importer import Importer, ImportSummary
from .writing import Item, is_image, write_pairs

__all__ = ["TREE", "prepare_tree"]

SHOWN = 3  # examples that are printed at most

SEPARATORS = r"[\s_.-]*"
# A separate word and its separators: words such as "mask" are found in x_mask, mask1, labelsTr and JPEGImages, but not
# in unmasked.
WORD = (
    rf"{SEPARATORS}(?:(?<![A-Za-z])|(?<=[A-Za-z])(?=[A-Z][a-z]))" r"(?i:{words})" rf"(?![a-z]){SEPARATORS}"
)  # fmt: skip
MASK = re.compile(
    WORD.format(
        words=r"masks?|labels?|segs?|segmentations?|segmented|ground[\s_-]?truths?|gts?|annotations?|targets?|manual"
    )
)
IMAGE = re.compile(WORD.format(words="images?|imgs?|originals?|inputs?|photos?|pictures?|raw|scans?|frames?"))


class Key(NamedTuple):
    """The part of the path that an image and its mask have in common."""

    folders: tuple[str, ...]
    name: str


Rule = Callable[[PurePosixPath], tuple[bool, Key]]  # whether a file is a mask, and its key


class Pairing(NamedTuple):
    """The images and masks that a rule finds in a tree."""

    rule: str
    images: dict[Key, list[PurePosixPath]]
    masks: dict[Key, list[PurePosixPath]]

    def pairs(self) -> list[Key]:
        """Return the keys that belong to exactly one image and one mask."""
        return [key for key, images in self.images.items() if len(images) == len(self.masks.get(key, ())) == 1]


def prepare_tree(source: PathLike, output_dir: PathLike, dry_run: bool = False) -> ImportSummary:
    """
    Convert a tree of images and masks to ``images/`` and ``masks/`` (0 and 255).

    The path of a mask must differ from the path of its image by a folder (``imgs/x.jpg``, ``labels/x.png``), by the
    name (``x.jpg``, ``x_mask.png``), or by both. The rule is found from the paths, and printed with examples before it
    is used. Images that already have a mask in ``output_dir`` are not written again.

    If an image has folders besides those of the rule, their names become part of its name: ``train/images/x.png``
    becomes ``train_x`` if there is ``val/images/x.png`` too.

    Args:
        source: folder or archive.
        output_dir: folder to write to.
        dry_run: print the rule and stop.

    Returns:
        What was written, and the problems.

    Raises:
        InputError: ``source`` does not exist or cannot be unpacked, or no rule pairs its images.
    """
    summary = ImportSummary()
    names = list_files(source)
    paths = [PurePosixPath(name) for name in names if is_image(name)]
    base = PurePosixPath(os.path.commonpath([path.parent for path in paths])) if paths else PurePosixPath()
    pairing = _find_rule([path.relative_to(base) for path in paths])
    if pairing is None:
        raise InputError(
            f"{source}: has {len(paths)} images, but no rule pairs them with masks; name them x.png and x_mask.png, or "
            "images/x.png and masks/x.png"
        )
    print(_description(pairing), flush=True)
    for name in names:
        if not is_image(name):
            summary.note(f"{name}: is not an image; left out")
    items = _items(pairing, base, summary)
    if not dry_run:
        write_pairs(source, output_dir, items, summary)
    return summary


def _find_rule(paths: Sequence[PurePosixPath]) -> Pairing | None:
    """Return the pairing of the rule that finds the most pairs. If several rules do, take the simplest."""
    rules: list[tuple[str, Rule]] = [
        ("a mask has its image's name and lies in a folder of masks", _by_folder),
        (
            "a mask lies in a folder of masks and has its image's name, except for words such as 'mask'",
            _by_folder_and_name,
        ),
        ("a mask has its image's name, except for words such as 'mask'", _by_name),
    ]
    suffix = _common_suffix(paths)
    if suffix is not None:
        rules.append((f"a mask has its image's name, plus '{suffix}'", _by_suffix(suffix)))
    best = max((_pair(text, rule, paths) for text, rule in rules), key=lambda pairing: len(pairing.pairs()))
    return best if best.pairs() else None


def _pair(text: str, rule: Rule, paths: Iterable[PurePosixPath]) -> Pairing:
    pairing = Pairing(text, {}, {})
    for path in paths:
        is_mask, key = rule(path)
        (pairing.masks if is_mask else pairing.images).setdefault(key, []).append(path)
    return pairing


def _by_folder(path: PurePosixPath) -> tuple[bool, Key]:
    """
    Decide by the innermost folder that has a word for images or masks in its name. Without such a folder, the file is
    an image.
    """
    folders = path.parts[:-1]
    for index in reversed(range(len(folders))):
        is_mask = bool(MASK.search(folders[index]))
        if is_mask or IMAGE.search(folders[index]):
            return is_mask, Key(folders[:index] + folders[index + 1 :], stem_of(path))
    return False, Key(folders, stem_of(path))


def _by_folder_and_name(path: PurePosixPath) -> tuple[bool, Key]:
    """Decide by the folder. Remove the words for images and masks from the name."""
    is_mask, (folders, name) = _by_folder(path)
    for word in (MASK, IMAGE):
        if word.search(name):
            name = word.sub("_", name).strip("_")
    return is_mask, Key(folders, name)


def _by_name(path: PurePosixPath) -> tuple[bool, Key]:
    """Decide by a word for masks in the name, else by the folder. Remove these words, and those for images."""
    in_folder_of_masks, key = _by_folder_and_name(path)
    return in_folder_of_masks or bool(MASK.search(stem_of(path))), key


def _common_suffix(paths: Sequence[PurePosixPath]) -> str | None:
    """Return the suffix, such as ``_lesion``, that pairs at least half of the files. None: there is none."""
    stems = {(path.parent, stem_of(path)) for path in paths}
    counts: Counter[str] = Counter()
    for folder, name in stems:
        for match in re.finditer(r"[\s_.-]+(?=[A-Za-z]\D*$)", name):
            counts[name[match.start() :]] += (folder, name[: match.start()]) in stems
    suffix, number = max(counts.items(), key=lambda count: (count[1], count[0]), default=("", 0))
    return suffix if number and 4 * number >= len(stems) else None


def _by_suffix(suffix: str) -> Rule:
    def rule(path: PurePosixPath) -> tuple[bool, Key]:
        name = stem_of(path)
        return name.endswith(suffix), Key(path.parts[:-1], name.removesuffix(suffix))

    return rule


def _description(pairing: Pairing) -> str:
    """Describe a pairing: the rule in words, the patterns of the paths that it pairs, and examples."""

    def pattern(path: PurePosixPath, key: Key) -> str:
        return str(path.parent / (path.name.replace(key.name, "NAME", 1) if key.name else path.name))

    pairs = pairing.pairs()
    paths = {key: (pairing.images[key][0], pairing.masks[key][0]) for key in pairs}
    patterns = Counter(" + ".join(pattern(path, key) for path in both) for key, both in paths.items())
    lines = [f"rule: {pairing.rule}"]
    lines += [f"  {text}: {number} pairs" for text, number in patterns.most_common(SHOWN)]
    if len(patterns) > SHOWN:
        lines.append(f"  and {len(patterns) - SHOWN} more patterns")
    lines += [f"  for example {image} + {mask}" for image, mask in list(paths.values())[:SHOWN]]
    n_images, n_masks = (sum(map(len, files.values())) - len(pairs) for files in (pairing.images, pairing.masks))
    lines.append(f"{len(pairs)} pairs, {n_images} images without a mask, {n_masks} masks without an image")
    return "\n".join(lines)


def _items(pairing: Pairing, base: PurePosixPath, summary: ImportSummary) -> dict[str, Item]:
    """Return the pairs by their new names. Note all other files."""
    items: dict[str, Item] = {}
    pairs = set(pairing.pairs())
    for key, images in pairing.images.items():
        name = "_".join([*key.folders, stem_of(images[0])])
        if key in pairs and name not in items:
            items[name] = Item(str(base / images[0]), [str(base / pairing.masks[key][0])])
            continue
        if key in pairs:
            summary.note(f"{base / images[0]}: has the same name as {items[name].image}; left out")
        elif key in pairing.masks:
            several = images if len(images) > 1 else pairing.masks[key]
            listed = " and ".join(str(base / path) for path in several)
            summary.note(f"{base / images[0]}: cannot be paired, because there are {listed}; left out")
        summary.left_out += len(images)
    _note_unpaired(pairing.images, pairing.masks, base, "an image without a mask", "images without masks", summary)
    _note_unpaired(pairing.masks, pairing.images, base, "a mask without an image", "masks without images", summary)
    return items


def _note_unpaired(
    files: Mapping[Key, list[PurePosixPath]],
    partners: Mapping[Key, list[PurePosixPath]],
    base: PurePosixPath,
    one: str,
    many: str,
    summary: ImportSummary,
) -> None:
    """Note each file without a partner. A folder that has only such files gets one line."""
    unpaired: dict[PurePosixPath, list[PurePosixPath]] = {}
    with_partners = set()
    for key, paths in files.items():
        for path in paths:
            if key in partners:
                with_partners.add(path.parent)
            else:
                unpaired.setdefault(path.parent, []).append(path)
    for folder, paths in unpaired.items():
        if len(paths) > 1 and folder not in with_partners:
            summary.note(f"{base / folder}: has {len(paths)} {many}; left out")
        else:
            for path in paths:
                summary.note(f"{base / path}: is {one}; left out")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry_run", action="store_true", help="print the rule that pairs images and masks, and stop")


def _run(args: argparse.Namespace) -> ImportSummary:
    return prepare_tree(args.source, args.output, args.dry_run)


TREE = Importer("tree", "any images and masks whose names differ by a folder or a suffix", _run, _add_options)
