"""Every custom resource of the package."""

from typing import Any

from provider.engine import Engine
from provider.gateway import Gateway
from provider.identity import Authority, Certificate, KeyPair, Token
from provider.instance import Instance
from provider.resource import Resource
from provider.runtime import Runtime
from provider.ssh_key import SshKey
from provider.weights import Weights


def resources() -> list[Resource[Any, Any]]:
    """One of each, as they reach the real clouds and hosts."""
    identity: list[Resource[Any, Any]] = [Token(), KeyPair(), Authority(), Certificate()]
    return [*identity, SshKey(), Instance(), Runtime(), Weights(), Engine(), Gateway()]
