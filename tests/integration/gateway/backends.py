"""Stand-ins for engines: small HTTPS servers on loopback that demand a client certificate. They are no engines."""

import json
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.integration.gateway.pki import Authority, Leaf

EVENTS = 5
EVENT_SECONDS = 0.2


class StandIn:
    """Answers every request with its own name, or as it is told; remembers what it was asked.

    Attributes:
        failure: the status to answer with instead.
        cut_requests: hang up on requests instead of answering.
        cut_streams: hang up after two events of a stream.
        location: where to redirect to.
        received: where set, an event of a stream follows once the client has released this for the event before.
        left: set when a client hung up during a stream.
        peers: the port that each request came from, one for each connection.
    """

    def __init__(self, name: str, directory: Path, leaf: Leaf, authority: Authority) -> None:
        self.name = name
        self.failure: int | None = None
        self.cut_requests = self.cut_streams = False
        self.location: str | None = None
        self.received: threading.Semaphore | None = None
        self.left = threading.Event()
        self.peers: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._server.socket = _context(directory, name, leaf, authority).wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def completions(self) -> int:
        return sum(method == "POST" for method, *_ in self.requests)

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A refused handshake is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        owner = self.server.owner
        owner.requests.append((self.command, self.path, dict(self.headers.items()), body))
        owner.peers.append(self.client_address[1])
        owner.hold.wait(30)
        if owner.cut_requests:
            self.close_connection = True
        elif owner.location:
            self._reply(307, {}, {"Location": owner.location})
        elif owner.failure:
            self._reply(owner.failure, {"error": "stand-in"})
        elif body and json.loads(body).get("stream"):
            self._stream()
        else:
            self._reply(200, {"served_by": owner.name})

    def _reply(self, status: int, value: dict[str, str], headers: Mapping[str, str] = MappingProxyType({})) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._events()
        except OSError:
            self.server.owner.left.set()
            raise

    def _events(self) -> None:
        for number in range(EVENTS):
            event = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            if not self._go_on():
                return
            if self.server.owner.cut_streams and number:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def _go_on(self) -> bool:
        """Whether the next event may follow."""
        received = self.server.owner.received
        if received is None:
            time.sleep(EVENT_SECONDS)
        self.close_connection = received is not None and not received.acquire(timeout=10)
        return not self.close_connection


def _context(directory: Path, name: str, leaf: Leaf, authority: Authority) -> ssl.SSLContext:
    certificate, key, trusted = (directory / f"{name}.{suffix}" for suffix in ("crt", "key", "ca"))
    certificate.write_text(leaf.certificate)
    key.write_text(leaf.key)
    trusted.write_text(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
