"""What Spheron puts on the wire, as far as Moestro reads it. Unknown fields are let through, wrong types are not."""

from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from moestro.errors import CloudError

T = TypeVar("T")


class Wire(BaseModel):
    """A part of a reply: camelCase names, immutable, tolerant of additions."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class OfferWire(Wire):
    """One rentable machine type. ``price`` is USD/hour of the whole instance; ``clusters`` are region ids."""

    provider: str
    offer_id: str
    gpu_count: int
    instance_type: str
    vcpus: int | None = None
    memory: float | None = None
    storage: float | None = None
    gpu_memory: float | None = Field(default=None, alias="gpu_memory")
    price: float | None = None
    spot_price: float | None = Field(default=None, alias="spot_price")
    available: bool = True
    maintenance: bool | None = None
    clusters: list[str] | None = None
    region: str | None = None
    os_options: list[str] | None = Field(default=None, alias="os_options")
    interconnect_type: str | None = None
    minimum_runtime_minutes: int | None = None


class GroupWire(Wire):
    """All offers of one GPU type. They stay raw here, so that a bad offer of another GPU type disturbs nobody."""

    gpu_type: str
    offers: list[dict[str, Any]]


class OfferPageWire(Wire):
    """One page of the catalogue; ``limit`` counts groups."""

    data: list[GroupWire]
    limit: int | None = None
    total_pages: int | None = None


class DeploymentWire(Wire):
    """A rented machine. ``ip_address`` is set about a second after the order, long before the machine runs."""

    id: str
    name: str | None = None
    status: str
    provider: str | None = None
    provider_id: str | None = None
    gpu_type: str | None = None
    gpu_model_id: str | None = None
    gpu_count: int
    region: str | None = None
    operating_system: str | None = None
    instance_type: str
    ip_address: str | None = None
    user: str | None = None
    ssh_command: str | None = None
    ssh_port: int | None = None
    hourly_rate: float | None = None
    total_cost: float | None = None
    ssh_key_id: str | None = None
    created_at: str | None = None


class SshKeyWire(Wire):
    """A registered key. Its ``fingerprint`` is wrong on the real cloud and therefore not even read."""

    id: str = Field(validation_alias=AliasChoices("id", "_id"))
    name: str = ""
    public_key: str | None = None


class TeamBalanceWire(Wire):
    """One team and its money."""

    team_id: str
    balance: float
    is_current_team: bool = False


class BalanceWire(Wire):
    """The reply of ``GET /api/balance``."""

    teams: list[TeamBalanceWire]


class TeamWire(Wire):
    """The reply of ``GET /api/teams`` has these."""

    id: str
    name: str = ""


class RefusalWire(Wire):
    """An error body. Every field may be missing; nothing here is trusted beyond its message and these numbers."""

    error: str | None = None
    message: str | None = None
    can_terminate: bool | None = None
    time_remaining: float | None = None
    current_status: str | None = None
    retry_after: float | None = None


class CanTerminateWire(Wire):
    """Whether a machine may be terminated now; times are minutes."""

    can_terminate: bool
    time_remaining: float = 0


def parse(kind: type[T], body: object, source: str) -> T:
    """Validate ``body`` as ``kind``; raises :class:`CloudError` naming the field that breaks the contract."""
    try:
        return TypeAdapter(kind).validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the reply"
        raise CloudError(f"{source} answered outside its contract: {where}: {first['msg']}") from None


def rows(body: object, source: str, *names: str) -> list[object]:
    """The items of a list reply: a bare array, or an object that holds the array under one of ``names``."""
    if isinstance(body, list):
        return body
    if isinstance(body, dict):
        for name in names:
            if isinstance(body.get(name), list):
                return list(body[name])
    raise CloudError(f"{source} answered outside its contract: expected a list, or an object with {' or '.join(names)}")


def refusal(body: object) -> RefusalWire:
    """The error body, or an empty one where it is not what it should be."""
    try:
        return RefusalWire.model_validate(body)
    except ValidationError:
        message = body.get("message") or body.get("error") if isinstance(body, dict) else None
        return RefusalWire(message=str(message)) if message else RefusalWire()
