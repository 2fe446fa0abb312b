"""A host that records what it is asked and answers from a script."""

from collections.abc import Callable

from moestro.hosts.connection import HostConnection
from moestro.hosts.pool import Link
from moestro.hosts.ssh import Completed, Host
from moestro.waiting import Wait

Answer = str | Completed | Exception

CONNECTION = HostConnection("192.0.2.1", 22, "ubuntu", "a private key", "ssh-ed25519 AAAA")


class FakeHost(Host):
    """``answer`` decides by the command; ``commands`` and ``inputs`` keep what came."""

    def __init__(self, answer: Callable[[str], Answer], wait: Wait | None = None) -> None:
        super().__init__(Link(CONNECTION), wait or Wait())
        self.answer = answer
        self.commands: list[str] = []
        self.inputs: list[bytes] = []

    def within(self, wait: Wait) -> "FakeHost":
        self.wait = wait
        return self

    def run(
        self,
        command: str,
        *,
        timeout: float = 60,
        sudo: bool = True,
        input: str | bytes | None = None,
        check: bool = True,
    ) -> Completed:
        del timeout, sudo, check
        self.commands.append(command)
        self.inputs.append(input.encode() if isinstance(input, str) else input or b"")
        answer = self.answer(command)
        if isinstance(answer, Exception):
            raise answer
        return Completed(0, answer) if isinstance(answer, str) else answer

    def disconnect(self) -> None:
        self.commands.append("(disconnect)")
