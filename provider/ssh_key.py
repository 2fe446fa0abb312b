"""``moestro:cloud:SshKey``."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from moestro.clouds import ordering
from moestro.clouds.base import Cloud
from moestro.clouds.base import Instance as Machine
from moestro.clouds.order_log import OrderLog
from moestro.errors import CloudError
from provider.cloud_access import CloudOpener, open_cloud
from provider.models import Mark, Model, Stored
from provider.resource import Context, Found, Resource


class SshKeyInputs(Model):
    """A key to register."""

    cloud: Annotated[str, Mark.REPLACES] = Field(description="Name of the cloud, such as `spheron`.", min_length=1)
    name: Annotated[str, Mark.QUIET] = Field(
        description="The name it gets when it is registered; clouds rename no keys.", min_length=1
    )
    public_key: Annotated[str, Mark.REPLACES] = Field(description='"algorithm base64", with or without a comment.')


class SshKeyOutputs(Stored):
    """A registered key."""

    key_id: str = Field(description="The cloud's id of the key.")
    owned: bool = Field(description="Whether the key carries our name: a key that was there before is never deleted.")


class SshKey(Resource[SshKeyInputs, SshKeyOutputs]):
    """A public key registered with a cloud, found by its body when it is there already."""

    token = "moestro:cloud:SshKey"
    inputs = SshKeyInputs
    outputs = SshKeyOutputs

    def __init__(self, opener: CloudOpener = open_cloud, order_log: Callable[[], OrderLog] = OrderLog.current) -> None:
        self._open = opener
        self._order_log = order_log

    def create(self, context: Context, inputs: SshKeyInputs) -> tuple[str, SshKeyOutputs]:
        """Register it, once."""
        key = ordering.ensure_ssh_key(self._open(inputs.cloud), inputs.name, inputs.public_key, context.wait)
        return key.id, SshKeyOutputs(key_id=key.id, owned=key.name == inputs.name)

    def update(self, context: Context, resource_id: str, inputs: SshKeyInputs, state: SshKeyOutputs) -> SshKeyOutputs:
        """Nothing to do: every change but that of the name replaces it."""
        return state

    def read(
        self, context: Context, resource_id: str, inputs: SshKeyInputs, state: SshKeyOutputs
    ) -> Found[SshKeyOutputs] | None:
        """Whether the cloud still knows it."""
        keys = self._open(inputs.cloud).list_ssh_keys(context.wait)
        return Found(state) if any(key.id == resource_id for key in keys) else None

    def delete(self, context: Context, resource_id: str, inputs: SshKeyInputs, state: SshKeyOutputs) -> None:
        """Remove it from the cloud, if we put it there.

        Raises:
            CloudError: machines that were ordered with it still bill. All that the state knows of are gone by now, so
                these are of a run that was killed before it could write them down.
        """
        if not state.owned:
            return
        cloud = self._open(inputs.cloud)
        left = ordering.machines_with_key(cloud, resource_id, context.wait, self._order_log())
        if left:
            raise CloudError(_still_used(cloud, inputs.name, left))
        cloud.delete_ssh_key(resource_id, context.wait)


def _still_used(cloud: Cloud, name: str, machines: list[Machine]) -> str:
    listed = ", ".join(f"{machine.name} ({machine.id}, {machine.usd_per_hour:.2f} USD/h)" for machine in machines)
    return (
        f"{cloud.name}: machines outside the state were ordered with the key {name} and bill: {listed}; an earlier run "
        f"was killed right after ordering them. Run `pulumi up`, which finds them again, and then `pulumi destroy`; or "
        f"end them in the cloud's console"
    )
