from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.utils import optional_import
from PIL import Image

from dpsau2net_monai import cli
from dpsau2net_monai.data import read_split
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.importers import IMPORTERS

COMMANDS = ["check", "split", "synthesize", "prepare", "compare", "package", "convert-weights"]


def exit_status(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as error:
        cli.main(arguments)
    return error.value.code


def test_the_help_lists_all_commands(capsys):
    assert exit_status(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] for line in lines), command


def test_the_help_of_prepare_lists_all_importers(capsys):
    assert exit_status(["prepare", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for importer in IMPORTERS:
        assert any(line.split()[:1] == [importer.name] for line in lines), importer.name


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help(command, capsys):
    assert exit_status([command, "--help"]) == 0
    assert f"usage: dpsau2net {command} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["package", "--help"], ["--version"]])
def test_help_does_not_import_torch_or_monai(arguments):
    code = (
        "import atexit, sys\n"
        "from dpsau2net_monai.cli import main\n"
        "atexit.register(lambda: print('imported', sorted({'monai', 'numpy', 'torch'} & sys.modules.keys())))\n"
        f"main({arguments})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "imported []"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment"],
        ["--fast"],
        ["check"],
        ["check", "DATA", "--fast"],
        ["check", "DATA", "--seed", "high"],
        ["prepare", "kaggle", "SRC", "OUT"],
        ["prepare", "clinicdb", "SRC", "OUT", "--download"],
    ],
)
def test_unknown_arguments_are_refused(arguments, capsys):
    assert exit_status(arguments) == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def dataset(tmp_path) -> Path:
    for i in range(20):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / folder / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("option", ["--size", "--train_share"])
def test_both_names_of_the_train_share(option, dataset, capsys):
    assert cli.main(["split", "--dataset", str(dataset), option, "0.7"]) == 0
    assert list(read_split(dataset / "split.csv").values()).count("train") == 14
    capsys.readouterr()
    cli.main(["check", str(dataset), option, "0.7"])
    assert "split         train (14), test (6)" in capsys.readouterr().out


def test_a_split_is_not_lost(dataset, capsys):
    split = ["split", "--dataset", str(dataset), "--seed"]
    assert cli.main([*split, "1"]) == cli.main([*split, "1"]) == 0
    before = (dataset / "split.csv").read_bytes()
    assert cli.main([*split, "2"]) == 1
    assert "split.csv: already has another split; remove it" in capsys.readouterr().err
    assert (dataset / "split.csv").read_bytes() == before
    assert cli.main([*split, "-1"]) == 1
    assert "seed is -1; give a whole number" in capsys.readouterr().err
    assert cli.main([*split, "1", "--output", str(dataset / "images")]) == 1
    assert f"error: {dataset / 'images'}: Is a directory" in capsys.readouterr().err


def raising(error: type[BaseException], *values: object):
    def run(args):
        raise error(*values)

    return run


def using_a_missing_package(args):
    module, _ = optional_import("not_installed", descriptor="{} failed; pip install not_installed")
    module.run()


@pytest.mark.parametrize(
    "run, line, status",
    [
        (raising(InputError, "a.png: no such\nfile"), r"error: a.png: no such\nfile", 1),
        (raising(PermissionError, 13, "Permission denied", "a.png"), "error: a.png: Permission denied", 1),
        (using_a_missing_package, "error: import not_installed failed; pip install not_installed", 1),
        (raising(KeyboardInterrupt), "interrupted", 130),
        (raising(ZeroDivisionError), None, None),
    ],
)
def test_only_ctrl_c_and_errors_of_the_input_become_one_line(run, line, status, monkeypatch, capsys):
    monkeypatch.setattr(cli, "COMMANDS", (cli.Command("run", "run", lambda parser: None, run),))
    if line is None:
        with pytest.raises(ZeroDivisionError):
            cli.main(["run"])
        return
    assert cli.main(["run"]) == status
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(line) and printed.err.count("\n") == 1
