"""How to reach a host: the value that passes through Pulumi between the cloud's resources and the host's."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostConnection:
    """SSH coordinates of one host.

    Attributes:
        address: IP address or name.
        port: TCP port of sshd.
        user: login name; when it is not root, commands that need it run under passwordless ``sudo``.
        private_key: OpenSSH private key text; a secret, kept out of ``repr``.
        host_key: the pinned host key, "algorithm base64", as learned once when the machine was created.
    """

    address: str
    port: int
    user: str
    private_key: str
    host_key: str

    def __repr__(self) -> str:
        return f"{self.user}@{self.address}:{self.port}"
