"""What a stack may declare, in ``stacks/Pulumi.<stack>.yaml`` under the project's namespace ``moe:``.

Every mistake is refused with its key, its value and the fix, all of them in one message, before anything is rented.
Keys are camelCase on the wire. USD per hour is always of a whole instance.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from moestro.errors import InvalidInput

NAMESPACE = "moe"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$")]


def _not_empty(value: Any) -> Any:
    if value == {}:
        raise ValueError("is empty; leave the key out, or name at least one user with a key")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)


class CloudSettings(_Section):
    """Where machines are rented, and which offers are acceptable there."""

    name: Literal["sandbox", "spheron"]
    regions: tuple[str, ...] = Field(default=(), strict=False, description="regions to rent in; empty: any")
    providers: tuple[str, ...] = Field(default=(), strict=False, description="providers to rent from; empty: any")
    image: str | None = Field(default=None, description="the operating system image, exactly as the offer names it")
    max_usd_per_hour: float | None = Field(default=None, gt=0, strict=False, description="of one whole instance")


class ModelSettings(_Section):
    """Which model is served: a repository (``repo``) or a directory of the operator's machine (``directory``)."""

    repo: str | None = Field(default=None, min_length=1, description="Hugging Face repository id or catalog name")
    revision: str | None = Field(default=None, description="commit, tag or branch of the repository")
    directory: str | None = Field(
        default=None, min_length=1, description="a local checkpoint; 'cache:NAME' is models/NAME in Moestro's cache"
    )
    served_name: str | None = Field(default=None, description="the name clients use; the repository's by default")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.repo is None) == (self.directory is None):
            raise ValueError("set exactly one of 'repo' (Hugging Face id) and 'directory' (local checkpoint)")
        if self.revision is not None and self.repo is None:
            raise ValueError("'revision' belongs to 'repo'; a directory is pinned by its content")
        return self


class GpuSettings(_Section):
    """The machine of one replica."""

    type: str = Field(description="the cloud's GPU token such as H200_SXM5; 'cpu' on the sandbox; 'auto': see --pin")
    count: int = Field(default=1, ge=1, le=64, description="GPUs per replica")
    purchase: Literal["on-demand", "spot"] = "on-demand"

    @model_validator(mode="after")
    def _resolved(self) -> Self:
        if self.type == "auto":
            raise ValueError("'type: auto' is resolved once by `moestro plan --pin`, so that previews stay the same")
        return self


class LayoutSettings(_Section):
    """An exact layout in place of the planner's choice."""

    tp: int = Field(default=1, ge=1, le=64, description="tensor parallel size")
    pp: int = Field(default=1, ge=1, le=16, description="pipeline parallel size")
    dp: int = Field(default=1, ge=1, le=64, description="data parallel size")
    ep: bool = Field(default=False, description="expert parallelism over tp x dp")


class EngineSettings(_Section):
    """How the engine is started."""

    name: Literal["vllm", "sglang"] = "vllm"
    version: str | None = Field(default=None, pattern=r"^\d+\.\d+\.\d+(\.post\d+)?$", description="pinned by default")
    layout: LayoutSettings | None = None
    memory_utilization: float | None = Field(default=None, gt=0.1, lt=1.0, strict=False)
    kv_cache_dtype: str | None = Field(default=None, description="such as fp8; the model's own by default")
    max_num_seqs: int | None = Field(default=None, ge=1, description="sequences in flight at most")
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    enforce_eager: bool = False
    port: int = Field(default=8000, ge=1024, le=65535)
    ready_timeout_minutes: float = Field(default=30, gt=0, le=240, strict=False)
    shutdown_timeout_seconds: int = Field(default=120, ge=0, le=3600, description="in-flight requests may run so long")
    max_unavailable: int = Field(default=1, ge=1, description="replicas down at once during an update")


class TlsSettings(_Section):
    """The gateway's public certificate, PEM texts; set them with ``pulumi config set --secret --path``."""

    certificate: str = Field(pattern=r"-----BEGIN CERTIFICATE-----")
    private_key: SecretStr


class GatewaySettings(_Section):
    """The nginx in front of the replicas."""

    placement: Literal["with-replica", "own-host"] = "with-replica"
    gpu_type: str | None = Field(default=None, description="with own-host: the machine to rent; 'cpu' on the sandbox")
    port: int | None = Field(default=None, ge=1, le=65535, description="443 with TLS, else 80")
    tls: TlsSettings | None = None
    api_keys: Annotated[dict[Name, SecretStr], BeforeValidator(_not_empty)] | None = Field(
        default=None, description="user -> key, secrets; one key is generated where none is given"
    )
    read_timeout_seconds: int = Field(default=1800, ge=1, le=86400, description="between two reads from an engine")
    max_body_mb: int = Field(default=64, ge=1, le=4096)
    requests_per_second_per_key: int | None = Field(default=None, ge=1)
    connections_per_key: int | None = Field(default=None, ge=1)

    @property
    def listen_port(self) -> int:
        """The port nginx listens on."""
        return self.port or (443 if self.tls else 80)


class LoadSettings(_Section):
    """What the plan is made for."""

    context: int | None = Field(default=None, ge=1, description="tokens of prompt and answer; the model's own maximum")
    concurrency: int | None = Field(default=None, ge=1, description="requests in flight per replica")


class Settings(_Section):
    """One stack's whole declaration."""

    name: Name = Field(default="moe", description="the service's name; part of every machine's name")
    cloud: CloudSettings
    model: ModelSettings
    gpu: GpuSettings
    replicas: int = Field(default=1, ge=1, le=64)
    load: LoadSettings = LoadSettings()
    engine: EngineSettings = EngineSettings()
    gateway: GatewaySettings = GatewaySettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        mistakes = list(_contradictions(self))
        if mistakes:
            raise ValueError("\n  ".join(mistakes))
        return self


def _contradictions(settings: Settings) -> Iterator[str]:
    cpu = settings.gpu.type.lower() == "cpu"
    if cpu != (settings.cloud.name == "sandbox"):
        fix = "'cpu' is what the sandbox rents" if cpu else "the sandbox rents 'cpu' only"
        yield f"gpu.type '{settings.gpu.type}' is not to be had from cloud.name '{settings.cloud.name}': {fix}"
    if cpu and settings.engine.name == "sglang":
        yield "engine.name 'sglang' needs CUDA GPUs, and gpu.type is 'cpu': use 'vllm'"
    gateway = settings.gateway
    if gateway.placement == "own-host" and gateway.gpu_type is None:
        yield "gateway.gpuType is missing: with placement 'own-host' name the machine to rent for nginx"
    if gateway.placement == "with-replica" and gateway.gpu_type is not None:
        yield "gateway.gpuType means nothing with placement 'with-replica': remove it or use 'own-host'"
    if settings.engine.max_unavailable > settings.replicas:
        yield f"engine.maxUnavailable {settings.engine.max_unavailable} is more than replicas {settings.replicas}"
    if gateway.placement == "with-replica" and gateway.listen_port == settings.engine.port:
        yield f"gateway.port {gateway.listen_port} is engine.port too, on the same host: choose another"


def parse_settings(config: Mapping[str, str]) -> Settings:
    """Read the stack's configuration as Pulumi hands it over: ``moe:key`` -> text or JSON text.

    Raises:
        InvalidInput: with one line for each mistake.
    """
    raw = {key.removeprefix(f"{NAMESPACE}:"): _value(text) for key, text in config.items() if _ours(key)}
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = [_line(mistake) for mistake in error.errors(include_url=False)]
        raise InvalidInput("\n".join(["the stack's configuration has mistakes:", *lines])) from None


def _ours(key: str) -> bool:
    return key.startswith(f"{NAMESPACE}:")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _line(mistake: ErrorDetails) -> str:
    path = ".".join(str(part) for part in mistake["loc"])
    return f"  {NAMESPACE}:{path}: {_reason(mistake)}" if path else f"  {_reason(mistake)}"


def _reason(mistake: ErrorDetails) -> str:
    kind, value = mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        return f"is not a key that Moestro knows{_nearest(mistake)}"
    if kind == "missing":
        return "is missing; add it to stacks/Pulumi.<stack>.yaml"
    message = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error" or isinstance(value, dict | SecretStr):
        return message
    return f"{_shown(mistake)} {message}"


def _shown(mistake: ErrorDetails) -> str:
    secret = {"apiKeys", "privateKey"} & {str(part) for part in mistake["loc"]}
    return "(secret)" if secret else repr(mistake["input"])


def _nearest(mistake: ErrorDetails) -> str:
    section: Any = Settings
    for part in mistake["loc"][:-1]:
        section = _section_at(section, str(part))
    if section is None:
        return "; remove it"
    names = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(mistake["loc"][-1]), names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(names)}"


def _section_at(section: Any, key: str) -> Any:
    if section is None:
        return None
    found = next((f.annotation for n, f in section.model_fields.items() if key in (n, f.alias)), None)
    choices = (found, *get_args(found))
    return next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)
