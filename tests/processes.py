"""``python ARGUMENTS`` in a process of its own, but without the seconds that the import of MONAI takes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

SERVER = Path(__file__).with_name("fork_server.py")


class ForkServer:
    """
    A process that has imported MONAI and forks others. It ends when this process does.

    Args:
        python: the interpreter.
        env: its environment; those of the forked processes have the same ``OMP_NUM_THREADS`` and ``PYTHONWARNINGS``.
    """

    def __init__(self, python: str | Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, SERVER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, **request: object) -> int:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        assert line, f"{SERVER.name} has ended"
        return int(line)

    def start(
        self, arguments: Sequence[object], cwd: Path, env: Mapping[str, str], files: Sequence[str] = [os.devnull] * 2
    ) -> int:
        """Start ``python ARGUMENTS``, with ``-m`` or ``-c`` first. Return its process ID, for :meth:`wait`."""
        words = [str(argument) for argument in arguments]
        return self._ask(arguments=words, cwd=str(cwd), env=dict(env), files=list(files))

    def wait(self, process: int) -> int:
        """Wait for a process. Return its exit status, as :class:`subprocess.Popen` has it."""
        return self._ask(wait=process)

    def run_together(
        self, arguments: Sequence[object], cwd: Path, environments: Sequence[Mapping[str, str]]
    ) -> list[subprocess.CompletedProcess]:
        """Run ``python ARGUMENTS`` to its end, in one process for each environment, all at the same time."""
        with tempfile.TemporaryDirectory() as folder:
            files = [[f"{folder}/{name}{number}" for name in ("out", "err")] for number in range(len(environments))]
            processes = [self.start(arguments, cwd, env, paths) for env, paths in zip(environments, files)]
            return [
                subprocess.CompletedProcess(arguments, self.wait(process), *(Path(path).read_text() for path in paths))
                for process, paths in zip(processes, files)
            ]

    def run(self, arguments: Sequence[object], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess:
        """Run ``python ARGUMENTS`` to its end, as :func:`subprocess.run` does."""
        (result,) = self.run_together(arguments, cwd, [env])
        return result


def ranks(number: int) -> list[dict[str, str]]:
    """Return what torchrun adds to the environment of each of so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(number)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]


@cache
def fork_server() -> ForkServer:
    """Return the server of this interpreter."""
    return ForkServer(sys.executable, {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"})
