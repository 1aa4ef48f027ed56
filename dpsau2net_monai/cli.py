"""The command line: ``python -m dpsau2net_monai COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from . import __version__
from .data import find_pairs, name_of, split, synthesize, write_split
from .errors import InputError
from .files import whole_file
from .networks import convert_weights, read_weights

__all__ = ["main"]


def _split(args: argparse.Namespace) -> None:
    output = args.output or Path(args.dataset) / "split.csv"
    categories = split([name_of(pair["image"]) for pair in find_pairs(args.dataset)], args.size, args.seed)
    write_split(output, categories)
    n_train = list(categories.values()).count("train")
    print(f"{n_train} images train, {len(categories) - n_train} test: {output}")


def _synthesize(args: argparse.Namespace) -> None:
    synthesize(args.output, args.number, seed=args.seed)
    print(f"{args.number} images with their masks: {args.output}")


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

    def command(name: str, run, text: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=run)
        return sub

    sub = command("split", _split, "write which images train and which test to a CSV")
    sub.add_argument("--dataset", required=True, help="folder with images/ and masks/")
    sub.add_argument("--size", type=float, default=0.9, help="share of the images that train")
    sub.add_argument("--seed", type=int, default=42, help="of the draw")
    sub.add_argument("--output", help="CSV to write (default: DATASET/split.csv)", default=argparse.SUPPRESS)
    sub.set_defaults(output=None)

    sub = command("synthesize", _synthesize, "make a small data set of nuclei-like images")
    sub.add_argument("output", help="folder to make")
    sub.add_argument("--number", type=int, default=24, help="of images")
    sub.add_argument("--seed", type=int, default=0, help="of the images")

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
    try:
        args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
