from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from dpsau2net_monai.errors import InputError, root_input_error


@pytest.mark.parametrize(
    "error, line",
    [
        (PermissionError(13, "Permission denied", "a.png"), "a.png: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("two\nlines"), r"two\nlines"),
        (TimeoutError(), "TimeoutError"),
        (AttributeError("wrong", obj=object()), None),
    ],
)
@pytest.mark.parametrize("behind", [None, AttributeError("wrong", obj=object()), ValueError()])
def test_an_error_of_the_operating_system_is_one_line(error, line, behind):
    """In the command line and in the bundle alike, also where another error was on the way."""
    error.__context__ = behind
    cause = root_input_error(error)
    assert (str(cause) if isinstance(cause, InputError) else cause) == line


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "ValueError from KeyboardInterrupt()"])
def test_ctrl_c_ends_in_one_line(raised):
    """What is to be tidied up is, a second Ctrl-C does not wait for it, and a shell sees what ended the process."""
    program = f"""
import atexit, signal
from dpsau2net_monai.errors import one_line_errors
one_line_errors()
atexit.register(lambda: print(signal.getsignal(signal.SIGINT) == signal.SIG_DFL))
raise {raised}
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "True\n", "interrupted\n")
