"""The whole service: identity, replicas, gateway. One per stack."""

from pulumi import ComponentResource, Output, ResourceOptions

from components.gateway import Gateway, own_machine
from components.identity import Identity
from components.replica import Replica, served_name
from components.resources import Instance
from moestro.planning.plan import Plan
from moestro.settings import Settings


class InferenceService(ComponentResource):
    """A model served by ``settings.replicas`` machines behind one address.

    Attributes:
        endpoint: base address for clients; OpenAI's API is under ``/v1``.
        api_keys: user -> key; secret.
        replicas: name, address and states of each replica.
        usd_per_hour: what all machines of the stack cost together.
    """

    def __init__(self, name: str, settings: Settings, plan: Plan, opts: ResourceOptions | None = None) -> None:
        super().__init__("moestro:components:InferenceService", name, None, opts)
        child = ResourceOptions(parent=self)
        identity = Identity(name, settings, child)
        own = own_machine(f"{name}-gateway", settings, identity, child)
        replicas = _replicas(name, settings, plan, identity, own, child)
        machine = own or replicas[0].instance
        upstreams = [(replica.name, replica.instance) for replica in replicas]
        named = served_name(settings, plan)
        gateway = Gateway(f"{name}-gateway", settings, named, identity, machine, upstreams, child)
        self.endpoint = gateway.endpoint
        self.api_keys = identity.user_keys
        self.replicas = Output.all(*[replica.summary for replica in replicas])
        self.usd_per_hour = _total([*(replica.instance for replica in replicas), *([own] if own else [])])
        self.register_outputs({"endpoint": self.endpoint, "usdPerHour": self.usd_per_hour})


def _replicas(
    name: str, settings: Settings, plan: Plan, identity: Identity, own: Instance | None, opts: ResourceOptions
) -> list[Replica]:
    """All replicas drain at one gateway; without a machine of its own that is the first replica's."""
    replicas: list[Replica] = []
    for number in range(settings.replicas):
        gateway = own or (replicas[0].instance if replicas else None)
        replicas.append(Replica(f"{name}-{number}", settings, plan, identity, gateway, opts))
    return replicas


def _total(machines: list[Instance]) -> Output[float]:
    return Output.all(*[machine.usd_per_hour for machine in machines]).apply(lambda prices: float(sum(prices)))
