"""The built site, for tests that open its pages in a browser."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from docs._build.site import build as builder


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server that prints no line for each request."""

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="session")
def site() -> Path:
    """Build the site as `make docs` does, and return its folder."""
    assert builder.build(builder.read_address()) == []
    return builder.ROOT / "site"


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Serve the site, and return the address of its root."""
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
