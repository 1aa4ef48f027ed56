"""The command line: ``python -m dpsau2net_monai COMMAND``."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from . import __version__
from .data import (
    DSB2018_URL,
    Report,
    check_dataset,
    download,
    find_pairs,
    name_of,
    prepare_clinicdb,
    prepare_dsb2018,
    prepare_tree,
    split,
    synthesize,
    write_split,
)
from .errors import InputError, one_line
from .files import whole_file
from .networks import convert_weights, read_weights
from .report import compare_evaluations
from .zoo import package_bundle, write_bioimageio

__all__ = ["main"]


def _split(args: argparse.Namespace) -> None:
    output = args.output or Path(args.dataset) / "split.csv"
    names = [name_of(pair["image"]) for pair in find_pairs(args.dataset)]
    categories = split(names, args.size, args.seed, args.validation)
    write_split(output, categories)
    counts = Counter(categories.values())
    validating = f"{counts['validation']} validate, " if args.validation else ""
    print(f"{counts['train']} images train, {validating}{counts['test']} test: {output}")


def _check(args: argparse.Namespace) -> int:
    report = check_dataset(args.dataset, args.csvfile, args.size, args.seed)
    print(json.dumps(report.to_dict(), indent=1) if args.json else report.text())
    return 1 if report.errors else 0


def _synthesize(args: argparse.Namespace) -> None:
    synthesize(args.output, args.number, seed=args.seed)
    print(f"{args.number} images with their masks: {args.output}")


def _show(report: Report, output: str) -> None:
    print(f"{report}: {output}")


def _prepare_dsb2018(args: argparse.Namespace) -> None:
    if args.sha256 and not args.download:
        raise InputError("--sha256 is for --download")
    if args.download:
        sha256 = download(DSB2018_URL, args.source, args.sha256)
        print(f"{args.source}: SHA-256 {sha256} ({'as given' if args.sha256 else 'not compared, as none was given'})")
    _show(prepare_dsb2018(args.source, args.output), args.output)


def _prepare_clinicdb(args: argparse.Namespace) -> None:
    _show(prepare_clinicdb(args.source, args.output), args.output)


def _prepare_tree(args: argparse.Namespace) -> None:
    _show(prepare_tree(args.source, args.output, args.dry_run), args.output)


def _compare(args: argparse.Namespace) -> None:
    print(compare_evaluations(args.run_a, args.run_b))


def _package(args: argparse.Namespace) -> None:
    write = {"monai": package_bundle, "bioimageio": write_bioimageio}[args.format]
    print(write(args.bundle_root, args.output, args.name))


def _convert_weights(args: argparse.Namespace) -> None:
    if Path(args.target).exists():
        raise InputError(f"{args.target}: is there already; name another file or remove it")
    weights = convert_weights(read_weights(args.source))
    with whole_file(args.target) as part:
        torch.save(weights, part)
    print(f"{len(weights)} tensors: {args.target}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dpsau2net",
        description="Medical image segmentation with DPSAU2-Net; training, evaluation and segmentation run through "
        "`python -m monai.bundle run`.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, text: str, among=commands) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        sub = among.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=run)
        return sub

    sub = command("check", _check, "read every image and mask, and tell what is there and what is wrong with it")
    sub.add_argument("dataset", help="folder with images/ and masks/, or a datalist .json")
    sub.add_argument("--csvfile", help="the split, as `split` writes it (default: drawn)", default=argparse.SUPPRESS)
    sub.add_argument("--size", type=float, default=0.9, help="share of the images that train")
    sub.add_argument("--seed", type=int, default=42, help="of the draw")
    sub.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    sub.set_defaults(csvfile=None)

    sub = command("split", _split, "write which images train, validate and test to a CSV")
    sub.add_argument("--dataset", required=True, help="folder with images/ and masks/")
    sub.add_argument("--size", type=float, default=0.9, help="share of the images that train")
    sub.add_argument(
        "--validation",
        type=float,
        default=0,
        help="share that validates (default: none; a fold of the training images)",
    )
    sub.add_argument("--seed", type=int, default=42, help="of the draw")
    sub.add_argument("--output", help="CSV to write (default: DATASET/split.csv)", default=argparse.SUPPRESS)
    sub.set_defaults(output=None)

    sub = command("synthesize", _synthesize, "make a small data set of nuclei-like images")
    sub.add_argument("output", help="folder to make")
    sub.add_argument("--number", type=int, default=24, help="of images")
    sub.add_argument("--seed", type=int, default=0, help="of the images")

    text = "turn a data set as it is shipped into images/ and masks/; a second run does what is missing"
    layouts = command("prepare", None, text).add_subparsers(metavar="LAYOUT", required=True)
    for name, run, text in (
        ("dsb2018", _prepare_dsb2018, "nuclei of the Data Science Bowl 2018: Kaggle's stage1_train.zip"),
        ("clinicdb", _prepare_clinicdb, "CVC-ClinicDB, and a split.csv that parts no video sequence"),
        ("tree", _prepare_tree, "any images and masks whose names differ by a folder or a suffix"),
    ):
        sub = command(name, run, text, layouts)
        sub.add_argument("source", metavar="SRC", help="folder, or zip or tar archive")
        sub.add_argument("output", metavar="OUT", help="folder to write to")
        if name == "dsb2018":
            sub.add_argument(
                "--download", action="store_true", help=f"fetch SRC first from {DSB2018_URL}, if it is not there"
            )
            sub.add_argument("--sha256", help="that the fetched archive must have", default=argparse.SUPPRESS)
            sub.set_defaults(sha256=None)
        if name == "tree":
            sub.add_argument("--dry_run", action="store_true", help="show the rule that pairs them, and stop")

    sub = command("compare", _compare, "set two evaluations of the same images side by side, image by image")
    sub.add_argument("run_a", metavar="RUN_A", help="folder that `evaluating` wrote to")
    sub.add_argument("run_b", metavar="RUN_B", help="another, of the same images")

    sub = command("package", _package, "pack the bundle to run where this package is not installed, as in MONAI Label")
    sub.add_argument("--output", required=True, help="folder to make it in", default=argparse.SUPPRESS)
    sub.add_argument("--name", required=True, help="of the package", default=argparse.SUPPRESS)
    sub.add_argument(
        "--format", choices=("monai", "bioimageio"), default="monai",
        help="monai: a bundle's folder, for MONAI's programs; bioimageio: a zip for QuPath, Fiji, ilastik and napari",
    )  # fmt: skip
    sub.add_argument("--bundle_root", default="bundle", help="the bundle to take configs, docs and weights from")

    sub = command("convert-weights", _convert_weights, "turn weights with the published names into ours")
    sub.add_argument("source", help="state dictionary with the published names, as torch.save writes it")
    sub.add_argument("target", help="file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit status: 0, or 1 after a one-line message on what is wrong with the input.
    """
    args = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal's encoding lacks
    try:
        return args.run(args) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {one_line(f'{place}{error.strerror or error}')}", file=sys.stderr)
        return 1
