"""What a probe says of an operator that is killed in the middle of its answer: nobody answers."""

import socket
import threading
from pathlib import Path

from tests.support.processes.operator import OperatorProcess


def test_an_answer_that_breaks_off_is_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def break_off() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        log = tmp_path / "log"
        log.write_text(f"probes are served on 127.0.0.1:{server.getsockname()[1]}\n")
        answering = threading.Thread(target=break_off)
        answering.start()
        assert OperatorProcess(tmp_path / "kubeconfig", log).probe("/metrics") == (0, "")
        answering.join()
