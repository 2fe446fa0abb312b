"""Asking an engine on its own host, over its own HTTPS port, with a client certificate and the API key.

The requests are made by curl on the host; its configuration, which holds the key, travels on standard input.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from moestro.hosts.scripts import script
from moestro.hosts.ssh import Host
from moestro.hosts.steps.unit import EngineLook, parse_look

COMPLETION_SECONDS = 120  # the first one may compile kernels
METRICS_SECONDS = 10
LOG_LINES = 60


@dataclass(frozen=True, slots=True)
class Door:
    """How an engine is reached on its host: its verified name, where that is, and the files that open it."""

    name: str
    address: str
    port: int
    directory: str
    api_key: str = field(repr=False)

    def curl(self, path: str, seconds: int, body: Mapping[str, object] | None = None) -> str:
        """A curl configuration for one request; the answer is followed by a line with its HTTP status."""
        options = {
            "url": f"https://{self.name}:{self.port}{path}",
            "resolve": f"{self.name}:{self.port}:{self.address}",
            "cacert": f"{self.directory}/authority.crt",
            "cert": f"{self.directory}/engine.crt",
            "key": f"{self.directory}/engine.key",
            "noproxy": "*",
            "max-time": str(seconds),
            "write-out": "\n%{http_code}\n",
        }
        lines = [*(f"{name} = {_quoted(value)}" for name, value in options.items()), "silent", "show-error"]
        lines.append(f"header = {_quoted(f'Authorization: Bearer {self.api_key}')}")
        if body is not None:
            lines += ['header = "Content-Type: application/json"', f"data = {_quoted(json.dumps(body))}"]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one probe saw: the unit, the log's tail, and the answer (status "" where there was none)."""

    look: EngineLook
    log: str
    status: str
    body: str


def probe(host: Host, unit: str, tail_file: str, door: Door, model: str, replaced: str) -> Sighting:
    """Look at a starting engine and, once its new process runs, ask it for one token.

    Raises:
        ConnectionLost, HostUnreachable, Cancelled, DeadlineExceeded: as :meth:`moestro.hosts.ssh.Host.run`.
    """
    body = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    line = script("engine_probe", unit, LOG_LINES, tail_file, replaced)
    asked = door.curl("/v1/completions", COMPLETION_SECONDS, body)
    return parse_sighting(host.run(line, input=asked, timeout=COMPLETION_SECONDS + 30).stdout)


def parse_sighting(report: str) -> Sighting:
    """Read what ``engine_probe.sh`` printed."""
    head, _, rest = report.partition("==log==\n")
    log, _, answer = rest.rpartition("==http==\n")
    body, _, status = answer.strip().rpartition("\n")
    return Sighting(parse_look(head), log, status.strip(), body)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
