"""A launch: the argv and environment of one engine process, and where it listens."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and under which name an engine serves on its host. Paths are on the host.

    TLS: with ``certificate`` and ``authority`` set, clients must present a certificate of that authority.
    The API key is never here: it reaches the engine through a file (see moestro.serving.engines).
    """

    model_path: str  # a directory on the host, or a repository id
    served_name: str
    host: str = "0.0.0.0"
    port: int = 8000
    certificate: str | None = None
    private_key: str | None = None
    authority: str | None = None
    shutdown_timeout_seconds: int = 120


@dataclass(frozen=True, slots=True)
class Node:
    """Which node of a multi-node replica a launch line is for."""

    rank: int = 0
    count: int = 1
    leader_address: str = "127.0.0.1"
    own_address: str = "127.0.0.1"
    network_interface: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """One engine process: ``argv`` starts with the program, ``env`` holds no secrets."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
