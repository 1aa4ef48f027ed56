"""
Python that has imported MONAI and what its runs use, in some seconds, and forks processes.

Each line of its input is JSON. With ``arguments``, ``cwd``, ``env`` and ``files``, the paths of the output and of the
errors, it starts a process, which goes on as ``python ARGUMENTS`` does: it imports this package itself. The answer is
its process ID. With ``wait``, the ID of such a process, the answer is its exit status.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys

import highdicom  # noqa: F401
import monai.bundle  # noqa: F401
import torch._dynamo  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

SECONDS = 600  # limit for one process, so that a hang fails the test


def answer_requests() -> dict:
    """Return only in a new process, with the request for it."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                return request
        print(answer, flush=True)
    os._exit(0)


request = answer_requests()
signal.alarm(SECONDS)
os.setsid()
os.chdir(request["cwd"])
os.environ.clear()
os.environ.update(request["env"])
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for number, path in enumerate(request["files"], start=1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
kind, program, *sys.argv[1:] = request["arguments"]
sys.path[:1] = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
if kind == "-m":
    runpy.run_module(program, run_name="__main__", alter_sys=True)
else:
    sys.argv[0] = kind
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
