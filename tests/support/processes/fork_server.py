"""Fork server that `process_start.py` forks `trainingjob` from: `python -m tests.support.processes.fork_server FD`.

It has imported what the commands import, and serves one request after the other on that socket.
It has one thread, no event loop and no open file but the socket: a fork begins like a new process.
"""

import ctypes
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any

_IMPORTED = (
    "trainingjob_cli.main",
    "trainingjob_operator.runtime",
    "trainingjob_records.command",
    "trainingjob_console.command",
)
_MESSAGE_BYTES = 2**18
_PR_SET_PDEATHSIG = 1


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Serve until the other side is closed (None); in a fork, return the command to run."""
    while True:
        message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
        if not message:
            return None
        request = json.loads(message)
        if (pid := request.get("exit_code_of")) is not None:
            answer = _code(pid)
        else:
            if (child := os.fork()) == 0:
                control.close()
                _become(request, files)
                return dict(request)
            for each in files:
                os.close(each)
            answer = str(child)
        control.send(f"={answer}".encode())


def _code(pid: int) -> str:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return str(os.waitstatus_to_exitcode(status)) if ended else ""


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Set up the environment, folder, output and signals that a new process would have."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, each in enumerate(files, start=1):
        os.dup2(each, number)
        os.close(each)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["trainingjob", *request["arguments"]]


if __name__ == "__main__":
    for _name in _IMPORTED:
        importlib.import_module(_name)
    # Only the tests handle Ctrl-C, and then close this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if serve(socket.socket(fileno=int(sys.argv[1]))) is not None:
        runpy.run_module("trainingjob_cli", run_name="__main__", alter_sys=True)
