"""Every command of the documentation names subcommands, options, files and keys that exist."""

from __future__ import annotations

import inspect
import re
import shlex
from ast import literal_eval
from pathlib import Path

import monai.bundle
import pytest
from monai.bundle import ConfigParser

from dpsau2net_monai.cli import _parser

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for pages in ("docs/*.md", "bundle/docs/*.md", "bundle/tasks/*/README.md") for page in ROOT.glob(pages)),
]


def commands(module: str) -> list:
    """The arguments of every ``python -m MODULE`` in the pages' shell blocks."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                _, here, arguments = line.partition(f" -m {module} ")
                if here:
                    found.append(pytest.param(shlex.split(arguments, comments=True), id=f"{page.name}-{len(found)}"))
    return found


@pytest.mark.parametrize("arguments", commands("dpsau2net_monai"))
def test_command_of_the_package(arguments):
    assert _parser(arguments).parse_args(arguments).run  # it exits if it does not know them


@pytest.mark.parametrize("arguments", commands("monai.bundle"))
def test_command_of_the_bundle(arguments):
    verb, name, *words = arguments
    options = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    files = options["config_file"]
    files = literal_eval(files) if files.startswith("[") else [files]
    folder = ROOT / "bundle" if files[0].startswith("configs/") else ROOT  # the model card's run in the bundle's folder
    config = ConfigParser()
    # a recorded config has the keys of train.yaml
    config.read_config([folder / file.replace("runs/DATE-TIME/config", "configs/train") for file in files])
    assert name in config
    known = {"tracking", *inspect.signature(getattr(monai.bundle, verb)).parameters}
    assert not [key for key in options if key not in known and key not in config]
