"""``moestro:cloud:Instance``: the one resource that bills."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from moestro.clouds import ordering
from moestro.clouds.base import Cloud, InstanceState, OfferQuery, Purchase
from moestro.clouds.base import Instance as Machine
from moestro.clouds.order_log import OrderLog
from moestro.errors import AmbiguousOutcome, Cancelled, CloudError, DeadlineExceeded, MoestroError, NotFound
from moestro.waiting import Wait
from provider.cloud_access import CloudOpener, open_cloud
from provider.models import Mark, Model, Stored, defaults, marked
from provider.resource import Context, Found, Incomplete, Resource, Timeouts
from provider.wire import has_unknowns

HostKeyLearner = Callable[[str, int, Wait], str]

_ORDERED: Final = "order:"
"""Starts the id of a machine whose order got no clear answer: it is known by its name alone."""

_LOOK_AGAIN_SECONDS: Final = 15.0


def _learn_host_key(address: str, port: int, wait: Wait) -> str:
    from moestro.hosts.transport import learn_host_key

    return learn_host_key(address, port, wait)


class InstanceInputs(Model):
    """A machine to rent."""

    cloud: Annotated[str, Mark.REPLACES] = Field(description="Name of the cloud, such as `spheron`.", min_length=1)
    name: str = Field(
        description="Its name before the hash of what replaces it.", pattern="^[a-z]([a-z0-9-]*[a-z0-9])?$"
    )
    gpu_type: Annotated[str, Mark.REPLACES] = Field(description="The cloud's name of the GPU; `CPU` on the sandbox.")
    gpu_count: Annotated[int, Mark.REPLACES] = Field(description="GPUs of the machine.", ge=1)
    purchase: Annotated[Literal["on-demand", "spot"], Mark.REPLACES] = Field(description="How it is rented.")
    regions: Annotated[list[str], Mark.REPLACES] = Field(
        default=[], description="Regions to take offers from; empty: any."
    )
    providers: Annotated[list[str], Mark.REPLACES] = Field(
        default=[], description="Providers behind the cloud to take offers from; empty: any."
    )
    image: Annotated[str | None, Mark.REPLACES] = Field(
        default=None, description="Operating system image; left out: any."
    )
    max_usd_per_hour: Annotated[float | None, Mark.QUIET] = Field(
        default=None,
        description="Most that an offer may cost when renting, USD/hour of the whole machine.",
        gt=0,
    )
    ssh_key_id: Annotated[str, Mark.QUIET] = Field(
        description="The cloud's id of the key that may log in; used when renting.", min_length=1
    )
    public_key: Annotated[str, Mark.REPLACES] = Field(
        description="That key: a machine keeps the key it was rented with, whatever the cloud forgets.", min_length=1
    )

    def query(self) -> OfferQuery:
        """What an acceptable offer looks like."""
        return OfferQuery(
            gpu_type=self.gpu_type,
            gpu_count=self.gpu_count,
            purchase=Purchase(self.purchase),
            regions=self.regions,
            providers=self.providers,
            image=self.image,
            max_usd_per_hour=self.max_usd_per_hour,
        )


class InstanceOutputs(Stored):
    """A rented machine. What the cloud has not said yet is missing."""

    name: str = Field(description="Its real, unique name.")
    state: Annotated[str, Mark.VOLATILE] = Field(description="`pending`, `running`, `stopped`, or how it ended.")
    address: str | None = Field(default=None, description="IP address or name.")
    ssh_port: int | None = Field(default=None, description="TCP port of its SSH server.")
    ssh_user: str | None = Field(default=None, description="Login name.")
    host_key: str | None = Field(
        default=None,
        description='Its SSH host key, "algorithm base64": learned once, over the network, right after the cloud '
        "reported the machine running, and verified at every connection ever after.",
    )
    region: str | None = Field(default=None, description="Where it is.")
    provider: str | None = Field(default=None, description="Who runs it.")
    image: str | None = Field(default=None, description="Operating system image that it was made from.")
    usd_per_hour: float | None = Field(default=None, description="Price in USD/hour of the whole machine, as rented.")
    created_at: str | None = Field(default=None, description="When the cloud made it (ISO 8601).")


class Instance(Resource[InstanceInputs, InstanceOutputs]):
    """A rented machine.

    Its real name is ``name`` and a hash of all inputs that replace it. An order is found again by that name when it got
    no clear answer or when an earlier run was killed before it could write it down. A replacement has another name, so
    that the old machine, which is deleted last, is never taken for the new one.
    """

    token = "moestro:cloud:Instance"
    inputs = InstanceInputs
    outputs = InstanceOutputs
    timeouts = Timeouts(create=45 * 60.0, update=45 * 60.0, delete=60 * 60.0)

    def __init__(
        self,
        opener: CloudOpener = open_cloud,
        learn_host_key: HostKeyLearner = _learn_host_key,
        order_log: Callable[[], OrderLog] = OrderLog.current,
    ) -> None:
        self._open = opener
        self._learn_host_key = learn_host_key
        self._order_log = order_log
        self._handed_out: set[str] = set()

    def create(self, context: Context, inputs: InstanceInputs) -> tuple[str, InstanceOutputs]:
        """Rent it, or find it again; wait until it runs; learn its host key."""
        cloud, name = self._open(inputs.cloud), unique_name(inputs.wire())
        machine = _rented(cloud, inputs, name, self._order_log(), context.wait)
        self._handed_out.add(machine.id)
        return machine.id, self._finished(cloud, machine, machine.id, None, context)

    def update(
        self, context: Context, resource_id: str, inputs: InstanceInputs, state: InstanceOutputs
    ) -> InstanceOutputs:
        """Give it its new name, and finish what an earlier run began."""
        cloud, name = self._open(inputs.cloud), unique_name(inputs.wire())
        if resource_id.startswith(_ORDERED):
            machine = _rented(cloud, inputs, resource_id.removeprefix(_ORDERED), self._order_log(), context.wait)
        else:
            machine = _existing(cloud, resource_id, state, context.wait)
        if machine.name != name:
            machine = cloud.rename_instance(machine.id, name, context.wait)
        return self._finished(cloud, machine, resource_id, state.host_key, context)

    def read(
        self, context: Context, resource_id: str, inputs: InstanceInputs, state: InstanceOutputs
    ) -> Found[InstanceOutputs] | None:
        """As the cloud sees it; a machine that ended in any way is gone."""
        machine = _looked_up(self._open(inputs.cloud), resource_id, context.wait)
        if machine is None or machine.state in ordering.ENDED:
            return None
        return Found(_outputs(machine, state.host_key), _drift(machine, state, unique_name(inputs.wire())))

    def delete(self, context: Context, resource_id: str, inputs: InstanceInputs, state: InstanceOutputs) -> None:
        """Terminate it and see it gone.

        A replacement forced from outside (``--replace``, ``taint``) reaches Create with unchanged inputs, which finds
        the machine by its unchanged name: it is then the replacement itself and must stay.
        """
        if resource_id in self._handed_out:
            context.warn(
                f"machine {resource_id} is kept: its replacement has the same declaration and so is the same machine. "
                "For a new one change what replaces it, or set deleteBeforeReplace"
            )
            return
        cloud = self._open(inputs.cloud)
        machine = _still_there(cloud, resource_id, context.wait)
        if machine is not None:
            ordering.terminate(cloud, machine.id, context.wait)
            _end_doubles(cloud, machine, context)

    def foresee(self, inputs: InstanceInputs, state: InstanceOutputs | None) -> Mapping[str, Any]:
        """The name follows from the inputs."""
        return {"name": unique_name(inputs.wire())}

    def stale(self, state: InstanceOutputs) -> str | None:
        """A machine that ended while it was being made is replaced."""
        return "state" if state.state in ordering.ENDED else None

    def collides(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """With the same unique name, the replacement would find and adopt the machine that is about to be deleted."""
        return not has_unknowns(new) and unique_name(old) == unique_name(new)

    def _finished(
        self, cloud: Cloud, machine: Machine, resource_id: str, host_key: str | None, context: Context
    ) -> InstanceOutputs:
        """The outputs once it runs, is known by its host key and is alone; a known key is never learned again."""
        try:
            machine = ordering.await_running(cloud, machine.id, context.wait)
            if host_key is None:
                context.wait.report(f"learning the host key of {machine.name} ({machine.address})")
                host_key = self._learn_host_key(machine.address or "", machine.ssh_port, context.wait)
            _end_doubles(cloud, machine, context)
        except MoestroError as error:
            machine = _seen_after(error, cloud, machine)
            raise Incomplete(resource_id, _outputs(machine, host_key), _explained(error, machine)) from error
        return _outputs(machine, host_key)


def unique_name(inputs: Mapping[str, Any]) -> str:
    """The machine's name in the cloud: the declared one and a hash of every input that replaces it."""
    usual = defaults(InstanceInputs)
    decisive = {key: inputs.get(key, usual.get(key)) for key in sorted(marked(InstanceInputs, Mark.REPLACES))}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return f"{inputs['name']}-{digest[:8]}"


def _rented(cloud: Cloud, inputs: InstanceInputs, name: str, log: OrderLog, wait: Wait) -> Machine:
    """The machine called ``name``; an order that may have been accepted goes into the state under its name."""
    try:
        return ordering.rent(cloud, inputs.query(), name, inputs.ssh_key_id, wait, log)
    except (AmbiguousOutcome, Cancelled, DeadlineExceeded) as error:
        unclear = InstanceOutputs(name=name, state=InstanceState.PENDING.value)
        raise Incomplete(_ORDERED + name, unclear, error) from error


def _existing(cloud: Cloud, resource_id: str, state: InstanceOutputs, wait: Wait) -> Machine:
    machine = _looked_up(cloud, resource_id, wait)
    if machine is not None and machine.state not in ordering.ENDED:
        return machine
    ended = machine.state if machine is not None else InstanceState.GONE
    error = CloudError(
        f"{cloud.name}: machine {state.name} ({resource_id}) is {ended}: the next `pulumi up` replaces it"
    )
    raise Incomplete(resource_id, state.model_copy(update={"state": ended.value}), error)


def _still_there(cloud: Cloud, resource_id: str, wait: Wait) -> Machine | None:
    """The machine; one whose order got no clear answer is looked for: it may be late in the cloud's list."""
    until = wait.monotonic() + (cloud.settle_seconds if resource_id.startswith(_ORDERED) else 0.0)
    for _ in wait.backoff(first=1.0):
        machine = _looked_up(cloud, resource_id, wait)
        if machine is not None or wait.monotonic() >= until:
            return machine
    return None


def _end_doubles(cloud: Cloud, kept: Machine, context: Context) -> None:
    for double in ordering.end_doubles(cloud, kept, context.wait):
        context.warn(f"{double.id}, a second machine called {kept.name}, was ordered by a run that was killed: ended")


def _explained(error: MoestroError, machine: Machine) -> MoestroError:
    """``error``; where time ran out while the machine was on its way, with what that costs and what to do."""
    if not isinstance(error, DeadlineExceeded):
        return error
    return DeadlineExceeded(
        f"machine {machine.name} ({machine.id}) is {machine.state} and not usable within this operation's time limit; "
        f"it may bill {machine.usd_per_hour:.2f} USD/h: `pulumi up` waits for it again, `pulumi destroy` gives it back"
    )


def _seen_after(error: MoestroError, cloud: Cloud, machine: Machine) -> Machine:
    """The machine as it is after ``error``: one that ended has to be replaced, not waited for."""
    if not isinstance(error, CloudError | DeadlineExceeded):
        return machine
    with contextlib.suppress(MoestroError):
        return cloud.get_instance(machine.id, Wait.of(_LOOK_AGAIN_SECONDS))
    return machine


def _looked_up(cloud: Cloud, resource_id: str, wait: Wait) -> Machine | None:
    if resource_id.startswith(_ORDERED):
        return ordering.oldest(cloud, resource_id.removeprefix(_ORDERED), wait)
    try:
        return cloud.get_instance(resource_id, wait)
    except NotFound:
        return None


def _outputs(machine: Machine, host_key: str | None) -> InstanceOutputs:
    return InstanceOutputs(
        name=machine.name,
        state=machine.state.value,
        address=machine.address,
        ssh_port=machine.ssh_port,
        ssh_user=machine.ssh_user,
        host_key=host_key,
        region=machine.region,
        provider=machine.provider,
        image=machine.image,
        usd_per_hour=float(machine.usd_per_hour),
        created_at=machine.created_at,
    )


def _drift(machine: Machine, state: InstanceOutputs, name: str) -> str | None:
    if state.host_key is None:
        return "an earlier run did not see it running"
    if machine.name != name:
        return f"it is called {machine.name}"
    return None if machine.state is InstanceState.RUNNING else f"it is {machine.state.value}"
