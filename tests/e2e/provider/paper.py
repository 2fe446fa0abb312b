"""A real stack whose machines exist on paper only."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moestro.clouds import sandbox
from moestro.clouds.base import Instance
from moestro.clouds.sandbox.cloud import client_of
from moestro.clouds.sandbox.faults import Faults
from moestro.clouds.sandbox.home import Home
from moestro.waiting import Wait
from tests.e2e.stack import Stack

HERE = Path(__file__).parent


class PaperStack(Stack):
    """``pulumi`` on a contract-only sandbox, with the provider's own plugin process."""

    def __init__(self, home: Path, **settings: Any) -> None:
        super().__init__(home, _keys(settings), HERE / "program.py")
        (self.project / "provider").unlink()
        (self.project / "provider").symlink_to(HERE / "plugin")
        self.env["MOESTRO_CACHE"] = str(home / "cache")
        self.paper = Home(self.sandbox)
        sandbox.configure(self.paper, sandbox.Settings(contract_only=True))
        self.faults = Faults(self.paper)

    def declare(self, **settings: Any) -> None:
        """Change the declaration."""
        self.configure(_keys(settings))

    def slow_machines(self, seconds: float) -> None:
        """Let machines stay pending for a while."""
        sandbox.configure(self.paper, sandbox.Settings(contract_only=True, deploy_seconds=seconds))

    def machines(self) -> list[Instance]:
        """What the cloud has that may bill."""
        return client_of(self.paper).list_instances(Wait.of(30))

    def instances(self) -> dict[str, dict[str, Any]]:
        """The machines in the state, by resource name."""
        found = (it for it in self.resources() if it["type"] == "moestro:cloud:Instance")
        return {it["urn"].rsplit("::", 1)[1]: it for it in found}

    def processes(self) -> dict[int, str]:
        """Every process of a ``pulumi`` command of this stack that still runs: id and command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"MOESTRO_SANDBOX_HOME={self.sandbox}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def kill(self, *names: str) -> None:
        """``kill -9`` of this stack's processes whose command line contains one of ``names``."""
        for process, line in self.processes().items():
            if any(name in line for name in names):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def delete_behind(self, machine: Instance) -> None:
        """Take a machine away without Pulumi's knowledge."""
        client_of(self.paper).delete_instance(machine.id, Wait.of(30))

    def delete_key_behind(self) -> None:
        """Take the registered keys away without Pulumi's knowledge."""
        cloud = client_of(self.paper)
        for key in cloud.list_ssh_keys(Wait.of(30)):
            cloud.delete_ssh_key(key.id, Wait.of(30))


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def _keys(settings: dict[str, Any]) -> dict[str, Any]:
    return {f"moe:{name}": value for name, value in ({"machines": 2} | settings).items()}
