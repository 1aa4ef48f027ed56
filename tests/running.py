"""How the tests run the bundle."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import torch
from processes import fork_server

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "bundle" / "configs"
# a run of seconds
QUICK = dict(
    bundle_root="bundle", max_epochs=2, batch_size=4, roi_size=[32, 32], size=0.75, num_workers=0, instances=False
)  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def bundle_arguments(run_id: str, *configs: str, launcher: tuple[str, ...] = (), **keys) -> list[str]:
    """The arguments of ``python -m monai.bundle run RUN_ID``, with each key as an ``--option``."""
    keys = {**({"config_file": str([str(CONFIGS / name) for name in configs])} if configs else {}), **keys}
    return [*launcher, "-m", "monai.bundle", "run", run_id] + [
        word for key, value in keys.items() for word in (f"--{key}", str(value))
    ]


def bundle_run(run_id: str, *configs: str, cwd: Path = ROOT, **keys) -> subprocess.CompletedProcess:
    """Run :func:`bundle_arguments` in a process of its own, as a user does."""
    return fork_server().run(bundle_arguments(run_id, *configs, **keys), cwd, environment())


def succeeded(result: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result


def verb(name: str, *arguments: str) -> None:
    """Run another of MONAI's commands, ``python -m monai.bundle NAME``."""
    succeeded(fork_server().run(["-m", "monai.bundle", name, *arguments], ROOT, environment()))


class NanInSecondEpoch(torch.nn.BCEWithLogitsLoss):
    """A loss that fails from its fourth call on: with three batches an epoch, in the second."""

    calls = 0

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(input, target) * (float("nan") if self.calls > 3 else 1)
