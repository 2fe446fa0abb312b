"""A real nginx on loopback, running what the renderer wrote, in a directory of its own."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx

from moestro.serving.nginx import GatewayPaths, GatewaySpec, gateway_files, generation_state, replica_state

UNPACKED = Path(os.environ.get("MOESTRO_CACHE", "")) / "toolchain/nginx/usr/sbin"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:{UNPACKED}")


class Nginx:
    def __init__(self, directory: Path, spec: GatewaySpec) -> None:
        assert NGINX, "nginx is not installed: run scripts/setup nginx"
        self.directory = directory
        self.spec = replace(spec, listen_port=free_port(), status_port=free_port())
        self.paths = GatewayPaths(
            runtime=str(directory / "run"),
            state=str(directory / "state"),
            access_log=str(directory / "access.log"),
            error_log=str(directory / "error.log"),
        )
        self.configuration = directory / "current"
        for each in ("run", "state"):
            (directory / each).mkdir()
        for upstream in spec.upstreams:
            self.set_taking_requests(upstream.name, True)
        self._write()
        self._generation = self._new_generation()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.spec.tls else 'http'}://127.0.0.1:{self.spec.listen_port}"

    def test(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command(), "-t"], capture_output=True, text=True, check=False)

    def start(self) -> None:
        tested = self.test()
        assert tested.returncode == 0, tested.stderr
        self.process = subprocess.Popen([*self._command(), "-g", "daemon off;"], stderr=subprocess.DEVNULL)
        self._await_generation()

    def update(self, spec: GatewaySpec) -> None:
        """Render anew on the same ports, and reload."""
        self.spec = replace(spec, listen_port=self.spec.listen_port, status_port=self.spec.status_port)
        self._write()
        self.reload()

    def set_taking_requests(self, name: str, taking: bool) -> None:
        (self.directory / "state" / f"{name}.conf").write_text(replica_state(name, taking))

    def reload(self) -> None:
        assert self.process
        self._generation, old = self._new_generation(), self._workers()
        self.process.send_signal(signal.SIGHUP)
        self._await_generation(old)

    def status(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.spec.status_port}/{path}").text.strip()

    def access_log(self, lines: int) -> list[str]:
        """The access log once it has so many lines; nginx writes a line after the client has its answer."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            found = Path(self.paths.access_log).read_text().splitlines()
            if len(found) >= lines:
                return found
            time.sleep(0.02)
        raise AssertionError(f"expected {lines} lines in the access log, found {found}")

    def close(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)

    def _command(self) -> list[str]:
        assert NGINX
        return [NGINX, "-c", str(self.configuration / "nginx.conf")]

    def _write(self) -> None:
        for name, file in gateway_files(self.spec, self.paths).items():
            path = self.configuration / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)
            path.chmod(file.mode)

    def _new_generation(self) -> str:
        token = secrets.token_hex(8)
        (self.directory / "state" / "generation.inc").write_text(generation_state(token))
        return token

    def _workers(self) -> list[Path]:
        """The processes that take requests."""
        assert self.process
        parent = re.compile(rf"^PPid:\s*{self.process.pid}$", re.MULTILINE)
        found = [path.parent for path in Path("/proc").glob("[0-9]*/status") if parent.search(_text(path))]
        return [each for each in found if "shutting down" not in _text(each / "cmdline")]

    def _await_generation(self, old_workers: Sequence[Path] = ()) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                if self.status("generation") == self._generation and not set(old_workers) & set(self._workers()):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"nginx does not run the new configuration: {Path(self.paths.error_log).read_text()}")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # the process has ended
        return ""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
