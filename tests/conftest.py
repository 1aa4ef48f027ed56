"""What the tests of several folders use."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import absl.logging
import pytest
from processes import ForkServer

# When MONAI configures the logging, absl's handler closes what was sys.stderr at its import: a file of pytest.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory) -> Callable[[], Callable[..., subprocess.CompletedProcess]]:
    """
    Makes a virtual environment that has all that is installed here except this package. Returns ``run``, which runs its
    Python: ``run(folder, *arguments)``, where ``folder`` is the working directory.
    """

    def make() -> Callable[..., subprocess.CompletedProcess]:
        root = tmp_path_factory.mktemp("environment")
        venv.create(root, with_pip=False, symlinks=True)
        site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(root)}))
        # Python searches a folder that a .pth file names for packages, but not for more .pth files. An editable
        # installation is one of those.
        (site_packages / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        python = root / ("Scripts" if sys.platform == "win32" else "bin") / "python"

        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        server = ForkServer(python, environment)
        return lambda folder, *arguments: server.run(arguments, folder, environment)

    return make
