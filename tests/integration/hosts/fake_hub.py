"""A model hub that speaks what huggingface_hub asks for: one repository, read from memory."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """``files`` of ``repository``; with ``token``, only for who brings it. ``cut`` breaks off that many downloads."""

    repository: str
    files: dict[str, bytes]
    token: str | None = None
    cut: int = 0
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, with_body: bool) -> None:
        path = urlsplit(request.path).path
        self.requests.append(f"{request.command} {path}")
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted"}
            self._send(request, 403, b"{}", headers, with_body)
        elif path.startswith(f"/api/models/{self.repository}"):
            answer = self._tree() if "/tree/" in path else self._info()
            self._send(request, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, with_body)
        elif (name := path.removeprefix(f"/{self.repository}/resolve/{COMMIT}/")) in self.files:
            self._send_file(request, self.files[name], with_body)
        else:
            self._send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"}, with_body)

    def _info(self) -> dict[str, object]:
        siblings = [{"rfilename": name, "size": len(data), "blobId": _etag(data)} for name, data in self.files.items()]
        return {"_id": "1", "id": self.repository, "modelId": self.repository, "sha": COMMIT, "siblings": siblings}

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in self.files.items()
        ]

    def _send_file(self, request: BaseHTTPRequestHandler, data: bytes, with_body: bool) -> None:
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status, body = 200, data
        if (wanted := request.headers.get("Range")) and wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            status, body = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if with_body and self.cut and len(body) > 100_000:
            self.cut -= 1
            self._head(request, status, headers, len(body))
            request.wfile.write(body[: len(body) // 2])
            request.close_connection = True
            return
        self._send(request, status, body, headers, with_body)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], with_body: bool
    ) -> None:
        self._head(request, status, headers, len(body))
        if with_body:
            request.wfile.write(body)

    def _head(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], length: int) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(length))
        request.end_headers()


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
