from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import pytest


@pytest.fixture(scope="session")
def serving() -> Callable:
    """``with serving(HANDLER) as url``: a server on 127.0.0.1 that answers as HANDLER does."""

    @contextmanager
    def serve(handler) -> Iterator[str]:
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    return serve
