"""The provider's custom resources as a program uses them: typed arguments in, :class:`pulumi.Output` attributes out.

What each resource means, its units and its errors are said once, in :mod:`provider`; ``docs/resources.md`` is made from
there. Arguments are snake_case here and camelCase on the wire.
"""

from components.resources.base import connection
from components.resources.cloud import Instance, SshKey
from components.resources.host import Runtime, Weights
from components.resources.identity import Authority, Certificate, KeyPair, Token
from components.resources.serve import Engine, Gateway

__all__ = [
    "Authority",
    "Certificate",
    "Engine",
    "Gateway",
    "Instance",
    "KeyPair",
    "Runtime",
    "SshKey",
    "Token",
    "Weights",
    "connection",
]
