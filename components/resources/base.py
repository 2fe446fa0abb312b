"""What every resource class shares: how it is declared and how its outputs are read."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import pulumi
from pulumi import Input, Output, ResourceOptions

T = TypeVar("T")


class Attribute(Generic[T]):
    """An output of a resource, read under its Python name and kept under its wire name."""

    def __init__(self, wire_name: str) -> None:
        self._wire_name = wire_name

    def __get__(self, resource: object, owner: type[object]) -> Output[T]:
        return cast(Output[T], resource.__dict__[self._wire_name])


class Resource(pulumi.CustomResource):
    """A resource of the package: declares its token, its outputs and which of them are secret."""

    token: str
    outputs: Sequence[str] = ()
    secret_outputs: Sequence[str] = ()

    def __init__(self, name: str, inputs: Mapping[str, Any], opts: ResourceOptions | None) -> None:
        secrets = ResourceOptions(additional_secret_outputs=list(self.secret_outputs))
        props = dict.fromkeys(self.outputs) | dict(inputs)
        super().__init__(self.token, name, props, ResourceOptions.merge(opts, secrets))


def connection(
    *,
    address: Input[str],
    port: Input[int],
    user: Input[str],
    private_key: Input[str],
    host_key: Input[str],
) -> dict[str, Input[Any]]:
    """The ``host`` argument of every host resource. The private key stays a secret of its own inside it."""
    return {
        "address": address,
        "port": port,
        "user": user,
        "privateKey": Output.secret(private_key),
        "hostKey": host_key,
    }
