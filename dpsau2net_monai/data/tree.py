"""Any folder of images and masks, paired by a rule that is found from their names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from ..errors import InputError
from .archive import list_files
from .datalist import name_of
from .prepare import Item, Report, is_image, prepare_pairs

__all__ = ["prepare_tree"]

SHOWN = 3

SEPARATORS = r"[\s_.-]*"
# A word on its own, with what separates it: in x_mask, mask1, labelsTr and JPEGImages, but not in unmasked.
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
    """What an image and its mask have in common: the path without what tells them apart."""

    folders: tuple[str, ...]
    name: str


Rule = Callable[[PurePosixPath], tuple[bool, Key]]  # whether a file is a mask, and its key


class Pairing(NamedTuple):
    """What a rule makes of a tree."""

    rule: str
    images: dict[Key, list[PurePosixPath]]
    masks: dict[Key, list[PurePosixPath]]

    def pairs(self) -> list[Key]:
        """The keys of one image and one mask."""
        return [key for key, images in self.images.items() if len(images) == len(self.masks.get(key, ())) == 1]


def prepare_tree(source: str | os.PathLike, output_dir: str | os.PathLike, dry_run: bool = False) -> Report:
    """
    Turn images and masks whose paths differ by a folder (``imgs/x.jpg``, ``labels/x.png``), by the name (``x.jpg``,
    ``x_mask.png``) or by both into ``images/`` and ``masks/`` (0 and 255). The rule is found from the paths and printed
    with examples before it is used. Images that are there already with their mask are not made again.

    An image in folders besides those of the rule gets their names before its own: beside ``val/images/x.png``,
    ``train/images/x.png`` is ``train_x``.

    Args:
        source: folder or archive.
        output_dir: folder to write to.
        dry_run: stop when the rule was printed.

    Returns:
        What was done, and what was not as it should be.

    Raises:
        InputError: ``source`` is not there or cannot be unpacked, or no rule pairs its images.
    """
    report = Report()
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
            report.note(f"{name}: is no image; left out")
    items = _items(pairing, base, report)
    if not dry_run:
        prepare_pairs(source, output_dir, items, report)
    return report


def _find_rule(paths: Sequence[PurePosixPath]) -> Pairing | None:
    """What the rule that finds most pairs makes of the paths, the plainer one of two that find as many."""
    rules: list[tuple[str, Rule]] = [
        ("a mask has its image's name and lies in a folder of masks", _by_folder),
        ("a mask lies in a folder of masks and has its image's name but for words such as 'mask'", _by_folder_and_name),
        ("a mask has its image's name but for words such as 'mask'", _by_name),
    ]
    suffix = _common_suffix(paths)
    if suffix is not None:
        rules.append((f"a mask has its image's name and '{suffix}'", _by_suffix(suffix)))
    best = max((_pair(text, rule, paths) for text, rule in rules), key=lambda pairing: len(pairing.pairs()))
    return best if best.pairs() else None


def _pair(text: str, rule: Rule, paths: Iterable[PurePosixPath]) -> Pairing:
    pairing = Pairing(text, {}, {})
    for path in paths:
        is_mask, key = rule(path)
        (pairing.masks if is_mask else pairing.images).setdefault(key, []).append(path)
    return pairing


def _by_folder(path: PurePosixPath) -> tuple[bool, Key]:
    """By the innermost folder that has a word for images or for masks; what lies in none is an image."""
    folders = path.parts[:-1]
    for index in reversed(range(len(folders))):
        is_mask = bool(MASK.search(folders[index]))
        if is_mask or IMAGE.search(folders[index]):
            return is_mask, Key(folders[:index] + folders[index + 1 :], name_of(path))
    return False, Key(folders, name_of(path))


def _by_folder_and_name(path: PurePosixPath) -> tuple[bool, Key]:
    """By the folder; words for masks and for images are no part of the key."""
    is_mask, (folders, name) = _by_folder(path)
    for word in (MASK, IMAGE):
        if word.search(name):
            name = word.sub("_", name).strip("_")
    return is_mask, Key(folders, name)


def _by_name(path: PurePosixPath) -> tuple[bool, Key]:
    """By a word for masks in the name, else by the folder; words for masks and for images are no part of the key."""
    in_folder_of_masks, key = _by_folder_and_name(path)
    return in_folder_of_masks or bool(MASK.search(name_of(path))), key


def _common_suffix(paths: Sequence[PurePosixPath]) -> str | None:
    """The suffix of letters, such as ``_lesion``, that makes pairs of at least half of the files; None if none does."""
    stems = {(path.parent, name_of(path)) for path in paths}
    counts: Counter[str] = Counter()
    for folder, name in stems:
        for match in re.finditer(r"[\s_.-]+(?=[A-Za-z]\D*$)", name):
            counts[name[match.start() :]] += (folder, name[: match.start()]) in stems
    suffix, number = max(counts.items(), key=lambda count: (count[1], count[0]), default=("", 0))
    return suffix if number and 4 * number >= len(stems) else None


def _by_suffix(suffix: str) -> Rule:
    def rule(path: PurePosixPath) -> tuple[bool, Key]:
        name = name_of(path)
        return name.endswith(suffix), Key(path.parts[:-1], name.removesuffix(suffix))

    return rule


def _description(pairing: Pairing) -> str:
    """The rule in words, the patterns of the paths that it pairs, and examples."""

    def pattern(path: PurePosixPath, key: Key) -> str:
        return str(path.parent / (path.name.replace(key.name, "NAME", 1) if key.name else path.name))

    pairs = pairing.pairs()
    paths = {key: (pairing.images[key][0], pairing.masks[key][0]) for key in pairs}
    patterns = Counter(" + ".join(pattern(path, key) for path in both) for key, both in paths.items())
    lines = [f"rule: {pairing.rule}"]
    lines += [f"  {text}: {number} pairs" for text, number in patterns.most_common(SHOWN)]
    if len(patterns) > SHOWN:
        lines.append(f"  and {len(patterns) - SHOWN} more such patterns")
    lines += [f"  for example {image} + {mask}" for image, mask in list(paths.values())[:SHOWN]]
    n_images, n_masks = (sum(map(len, files.values())) - len(pairs) for files in (pairing.images, pairing.masks))
    lines.append(f"{len(pairs)} pairs, {n_images} images without a mask, {n_masks} masks without an image")
    return "\n".join(lines)


def _items(pairing: Pairing, base: PurePosixPath, report: Report) -> dict[str, Item]:
    items: dict[str, Item] = {}
    pairs = set(pairing.pairs())
    for key, images in pairing.images.items():
        name = "_".join([*key.folders, name_of(images[0])])
        if key in pairs and name not in items:
            items[name] = Item(str(base / images[0]), [str(base / pairing.masks[key][0])])
            continue
        if key in pairs:
            report.note(f"{base / images[0]}: has the same name as {items[name].image}; left out")
        elif key in pairing.masks:
            several = images if len(images) > 1 else pairing.masks[key]
            there_are = " and ".join(str(base / path) for path in several)
            report.note(f"{base / images[0]}: cannot be paired, as there are {there_are}; left out")
        report.left_out += len(images)
    _note_lone(pairing.images, pairing.masks, base, "an image without a mask", "images without masks", report)
    _note_lone(pairing.masks, pairing.images, base, "a mask without an image", "masks without images", report)
    return items


def _note_lone(
    files: Mapping[Key, list[PurePosixPath]],
    partners: Mapping[Key, list[PurePosixPath]],
    base: PurePosixPath,
    one: str,
    many: str,
    report: Report,
) -> None:
    """Report the files without a partner by name, but a folder that has only such ones in one line."""
    lone: dict[PurePosixPath, list[PurePosixPath]] = {}
    with_partners = set()
    for key, paths in files.items():
        for path in paths:
            if key in partners:
                with_partners.add(path.parent)
            else:
                lone.setdefault(path.parent, []).append(path)
    for folder, paths in lone.items():
        if len(paths) > 1 and folder not in with_partners:
            report.note(f"{base / folder}: has {len(paths)} {many}; left out")
        else:
            for path in paths:
                report.note(f"{base / path}: is {one}; left out")
