"""
The command line: ``python -m dpsau2net_monai COMMAND``.

torch and MONAI take seconds to import. So each command imports what it needs when it runs, and ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from . import __version__
from .errors import InputError, root_input_error
from .files import whole_file

__all__ = ["main"]


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="folder with images/ and masks/ or with a dataset.json, or a datalist .json")
    parser.add_argument("--csvfile", help="CSV with the split, as `split` writes it (default: a random split)")
    text = "classes in YAML or JSON, such as '{background: 0, liver: 1, tumour: 2}' (default: those of the dataset)"
    parser.add_argument("--labels", help=text)
    _split_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def _check(args: argparse.Namespace) -> int:
    import yaml

    from .data import Labels, check_dataset

    try:
        labels = None if args.labels is None else Labels(yaml.safe_load(args.labels))
    except yaml.YAMLError as error:
        raise InputError(f"--labels '{args.labels}' is not YAML; write it as '{{background: 0, liver: 1}}'") from error
    check = check_dataset(args.dataset, args.csvfile, args.train_share, args.seed, labels)
    print(json.dumps(check.to_dict(), indent=1) if args.json else check.text())
    return 1 if check.errors else 0


def _split_options(parser: argparse.ArgumentParser) -> None:
    """The options of a random split."""
    parser.add_argument(
        "--train_share", "--size", type=float, default=0.9, help="share of the images that train (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=42, help="seed of the random split (default: %(default)s)")


def _write_split_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, help="folder with images/ and masks/ or with a dataset.json")
    _split_options(parser)
    text = "share of the images that validate (default: 0; then training validates on a fold of the training images)"
    parser.add_argument("--validation", type=float, default=0, help=text)
    parser.add_argument("--output", help="CSV to write (default: DATASET/split.csv)")


def _write_split(args: argparse.Namespace) -> None:
    from .data import find_pairs, name_of, read_split, split, write_split

    output = args.output or Path(args.dataset) / "split.csv"
    names = [name_of(pair["image"]) for pair in find_pairs(args.dataset)]
    categories = split(names, args.train_share, args.seed, args.validation)
    if Path(output).is_file() and read_split(output, categories) != categories:
        raise InputError(f"{output}: already has another split; remove it, or write to another file with --output")
    write_split(output, categories)
    counts = Counter(categories.values())
    validating = f"{counts['validation']} validate, " if args.validation else ""
    print(f"{counts['train']} images train, {validating}{counts['test']} test: {output}")


def _synthesize_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="folder to write to")
    parser.add_argument("--number", type=int, default=24, help="number of images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images (default: %(default)s)")
    text = "2: microscopy pictures; 3: volumes that look like magnetic resonance images (default: %(default)s)"
    parser.add_argument("--dims", type=int, choices=(2, 3), default=2, help=text)
    text = "number of classes in the masks; dataset.json names them (default: %(default)s)"
    parser.add_argument("--classes", type=int, choices=(1, 2, 3), default=1, help=text)


def _synthesize(args: argparse.Namespace) -> None:
    from .data import synthesize

    synthesize(args.output, args.number, seed=args.seed, spatial_dims=args.dims, classes=args.classes)
    print(f"{args.number} images with their masks: {args.output}")


def _prepare_options(parser: argparse.ArgumentParser) -> None:
    from .importers import IMPORTERS

    layouts = parser.add_subparsers(metavar="LAYOUT", required=True)
    for importer in IMPORTERS:
        sub = layouts.add_parser(importer.name, help=importer.help, description=importer.help)
        sub.set_defaults(importer=importer)
        sub.add_argument("source", metavar="SRC", help="folder, or zip or tar archive")
        sub.add_argument("output", metavar="OUT", help="folder to write to")
        if importer.add_options:
            importer.add_options(sub)


def _prepare(args: argparse.Namespace) -> None:
    summary = args.importer.run(args)
    print(f"{summary}: {args.output}")


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_a", metavar="RUN_A", help="folder that `evaluating` wrote to")
    parser.add_argument("run_b", metavar="RUN_B", help="another such folder, of the same images")


def _compare(args: argparse.Namespace) -> None:
    from .report import compare_evaluations

    print(compare_evaluations(args.run_a, args.run_b))


def _package_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, help="folder to write the package to")
    parser.add_argument("--name", required=True, help="name of the package")
    text = "monai: a bundle for MONAI; bioimageio: a zip for QuPath, Fiji, ilastik and napari (default: %(default)s)"
    parser.add_argument("--format", choices=("monai", "bioimageio"), default="monai", help=text)
    text = "what the packaged weights segment: nuclei, or a folder of BUNDLE_ROOT/tasks (default: %(default)s)"
    parser.add_argument("--task", default="nuclei", help=text)
    text = "bundle with the configs, docs and weights to package (default: %(default)s)"
    parser.add_argument("--bundle_root", default="bundle", help=text)


def _package(args: argparse.Namespace) -> None:
    from .zoo import package_bundle, write_bioimageio

    write = {"monai": package_bundle, "bioimageio": write_bioimageio}[args.format]
    print(write(args.bundle_root, args.output, args.name, args.task))


def _convert_weights_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="file of torch.save with the published weights")
    parser.add_argument("target", help="file to write")


def _convert_weights(args: argparse.Namespace) -> None:
    import torch

    from .networks import convert_weights, read_weights

    if Path(args.target).exists():
        raise InputError(f"{args.target}: exists; name another file or remove it")
    weights = convert_weights(read_weights(args.source))
    with whole_file(args.target) as part:
        torch.save(weights, part)
    print(f"{len(weights)} tensors: {args.target}")


def _annotate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", help="folder of pictures, or of NIfTI volumes with weights for volumes")
    parser.add_argument("--output", required=True, help="folder of the dataset to write; a later call goes on with it")
    text = "weights to segment with: a model.pt, or the folder of a run (default: %(default)s)"
    parser.add_argument("--weights", default="bundle/models/model.pt", help=text)


def _annotate(args: argparse.Namespace) -> None:
    from .napari import annotate

    annotate(args.images, args.output, args.weights)


class Command(NamedTuple):
    """A command: its name, one line of help, and its functions. ``run`` may return an exit status."""

    name: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


COMMANDS = (
    Command(
        "check", "read every image and mask of a dataset, and list its contents and problems", _check_options, _check
    ),
    Command("split", "write which images train, validate and test to a CSV", _write_split_options, _write_split),
    Command("synthesize", "make a small dataset of synthetic images", _synthesize_options, _synthesize),
    Command(
        "prepare",
        "convert or unpack a public dataset for training; a second run writes only what is missing",
        _prepare_options,
        _prepare,
    ),
    Command(
        "annotate",
        "correct the masks of a folder's images in napari, the least certain first",
        _annotate_options,
        _annotate,
    ),
    Command("compare", "compare two evaluations of the same images", _compare_options, _compare),
    Command(
        "package",
        "package the bundle for programs without dpsau2net_monai, such as MONAI Label",
        _package_options,
        _package,
    ),
    Command(
        "convert-weights",
        "convert the weights of the published DPSAU2-Net to those of DPSAU2Net",
        _convert_weights_options,
        _convert_weights,
    ),
)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser for these arguments. It has the options of a command only if ``argv`` names the command."""
    parser = argparse.ArgumentParser(
        prog="dpsau2net",
        description="Medical image segmentation with DPSAU2-Net. `python -m monai.bundle run` trains, evaluates and "
        "segments.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        sub.set_defaults(run=command.run)
        if command.name in argv:  # to add the options of the importers takes seconds
            command.add_options(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        argv: the arguments. None: those of the process.

    Returns:
        The exit status: 0, 1 after a one-line message about the input, or 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(argv).parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file name may have characters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        cause = root_input_error(error)
        if cause is None:
            raise
    print(f"error: {cause}", file=sys.stderr)
    return 1
