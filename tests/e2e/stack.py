"""One real stack of the real program, run by the real Pulumi engine, with a backend and a sandbox of its own."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml

from moestro.clouds.sandbox.home import Home

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "__main__.py"
LOCAL: dict[str, Any] = yaml.safe_load((CHECKOUT / "stacks" / "Pulumi.local.yaml").read_text())["config"]


@dataclass(frozen=True)
class Finished:
    """What a Pulumi command answered."""

    code: int
    output: str
    seconds: float


class Stack:
    """``pulumi`` commands on one stack; its state, its settings and its sandbox live under ``home``."""

    def __init__(self, home: Path, settings: Mapping[str, Any], program: Path = PROGRAM, name: str = "test") -> None:
        self.home, self.name, self._program = home, name, program
        self.sandbox = home / "sandbox"
        self.project = home / "project"
        self.config_file = self.project / "stacks" / f"Pulumi.{name}.yaml"
        (home / "state").mkdir(parents=True, exist_ok=True)
        self._lay_out_project()
        self.env = os.environ | {
            "PULUMI_BACKEND_URL": f"file://{home}/state",
            "PULUMI_HOME": str(home / "pulumi"),
            "PULUMI_CONFIG_PASSPHRASE": "only for this test",
            "MOESTRO_SANDBOX_HOME": str(self.sandbox),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_PARALLEL": "64",
        }
        self.env.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
        self.configure(settings)
        self.pulumi("stack", "init", name)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Replace the stack's settings, keeping what Pulumi itself wrote into the file."""
        known = yaml.safe_load(self.config_file.read_text()) if self.config_file.exists() else {}
        self.config_file.write_text(yaml.safe_dump(known | {"config": dict(settings)}))

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``pulumi`` with these arguments."""
        program = shutil.which("pulumi")
        assert program, "pulumi is not on PATH: source scripts/env"
        options = ["--non-interactive", "--cwd", str(self.project)]
        return [program, *arguments, *options, *([] if arguments[:2] == ("stack", "init") else ["--stack", self.name])]

    def pulumi(self, *arguments: str, check: bool = True, timeout: float = 900) -> Finished:
        """Run one command to its end; with ``check`` a failure fails the test and shows the output."""
        started = time.monotonic()
        done = subprocess.run(
            self.command(*arguments),
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        finished = Finished(done.returncode, done.stdout, time.monotonic() - started)
        assert not check or finished.code == 0, f"pulumi {' '.join(arguments)}:\n{finished.output}"
        return finished

    def up(self, check: bool = True) -> Finished:
        return self.pulumi("up", "--yes", "--skip-preview", check=check)

    def preview(self, *options: str, check: bool = True) -> Finished:
        return self.pulumi("preview", *options, check=check)

    def refresh(self) -> Finished:
        return self.pulumi("refresh", "--yes", "--skip-preview")

    def destroy(self, check: bool = True) -> Finished:
        return self.pulumi("destroy", "--yes", "--skip-preview", check=check)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in the clear."""
        done = subprocess.run(
            self.command("stack", "output", "--json", "--show-secrets"), env=self.env, capture_output=True, check=True
        )
        outputs: dict[str, Any] = json.loads(done.stdout)
        return outputs

    def resources(self) -> list[dict[str, Any]]:
        """What the state holds, secrets in the clear."""
        done = subprocess.run(
            self.command("stack", "export", "--show-secrets"), env=self.env, capture_output=True, check=True
        )
        resources: list[dict[str, Any]] = json.loads(done.stdout)["deployment"].get("resources", [])
        return resources

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command in a process group of its own, output to ``home/running.log``."""
        log = (self.home / "running.log").open("wb")
        return subprocess.Popen(
            self.command(*arguments), env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def log(self) -> str:
        """What the command started last has printed."""
        return (self.home / "running.log").read_text(errors="replace")

    def containers(self) -> list[str]:
        """The names of the hosts that this stack's sandbox runs now."""
        found = docker.from_env().containers.list(filters={"label": f"moestro.sandbox={self.sandbox_id()}"})
        return sorted(container.name or "" for container in found)

    def unlock(self) -> None:
        """What Pulumi asks for after its own death: a backend in files keeps the lock of a process that was killed."""
        self.pulumi("cancel", "--yes", check=False)

    def wipe(self) -> None:
        """Remove the hosts of this stack's sandbox, whatever state its resources are in."""
        from moestro.clouds import sandbox

        sandbox.destroy(Home(self.sandbox))

    def sandbox_id(self) -> str:
        """The sandbox's id in Docker's labels."""
        return Home(self.sandbox).id

    def _lay_out_project(self) -> None:
        """The checkout's program under a ``stacks`` folder of our own: Pulumi writes into a stack's settings file."""
        (self.project / "stacks").mkdir(parents=True, exist_ok=True)
        parts = {part: CHECKOUT / part for part in ("Pulumi.yaml", "components", "provider", ".venv")}
        for name, target in (parts | {"__main__.py": self._program}).items():
            (self.project / name).symlink_to(target)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """``kill -9`` of a command and everything it started that stayed in its group, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
