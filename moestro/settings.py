"""What a stack may declare, in ``stacks/Pulumi.<stack>.yaml`` under the project's namespace ``moe:``.

Every mistake is refused with its key, its value and the fix, all of them in one message, before anything is rented.
Keys are camelCase on the wire. USD per hour is always of a whole instance.
"""

import copy
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from moestro.errors import InvalidInput
from moestro.mistakes import described
from moestro.serving.names import STATUS_PORT

NAMESPACE = "moe"


def _like(pattern: str, words: str) -> AfterValidator:
    def check(value: str) -> str:
        if re.search(pattern, value) is None:
            raise ValueError(f"should be {words}")
        return value

    return AfterValidator(check)


Name = Annotated[
    str,
    _like(
        r"^[a-z][a-z0-9-]{0,38}[a-z0-9]\Z",
        "2 to 40 lower-case letters, digits and hyphens, with a letter first and no hyphen last",
    ),
]
Version = Annotated[str, _like(r"^\d+\.\d+\.\d+(\.post\d+)?\Z", "a full version such as 0.32.0")]
ServedName = Annotated[str, _like(r"^[A-Za-z0-9._/:-]+\Z", "letters, digits and . _ / : - only")]
Certificate = Annotated[str, _like("-----BEGIN CERTIFICATE-----", "a PEM text with -----BEGIN CERTIFICATE-----")]


def _api_key(value: SecretStr) -> SecretStr:
    if re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,512}", value.get_secret_value()) is None:  # RFC 6750, section 2.1
        raise ValueError("should be 16 to 512 of letters, digits and . _ ~ + / = -")
    return value


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
    served_name: ServedName | None = Field(
        default=None, description="the name clients use; the repository's by default"
    )

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
    version: Version | None = Field(default=None, description="pinned by default")
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

    certificate: Certificate
    private_key: SecretStr

    @model_validator(mode="after")
    def _pair(self) -> Self:
        from cryptography import x509  # only who declares TLS pays for loading it
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            certificate = x509.load_pem_x509_certificates(self.certificate.encode())[0]
            key = load_pem_private_key(self.private_key.get_secret_value().encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("needs PEM texts: a certificate chain and a private key without a passphrase") from None
        if key.public_key() != certificate.public_key():
            raise ValueError("'privateKey' is not the key of the first certificate in 'certificate'")
        return self


class GatewaySettings(_Section):
    """The nginx in front of the replicas."""

    placement: Literal["with-replica", "own-host"] = "with-replica"
    gpu_type: str | None = Field(default=None, description="with own-host: the machine to rent; 'cpu' on the sandbox")
    port: int | None = Field(default=None, ge=1, le=65535, description="443 with TLS, else 80")
    tls: TlsSettings | None = None
    api_keys: (
        Annotated[dict[Name, Annotated[SecretStr, AfterValidator(_api_key)]], BeforeValidator(_not_empty)] | None
    ) = Field(default=None, description="user -> key, secrets; one key is generated where none is given")
    read_timeout_seconds: int = Field(default=1800, ge=1, le=86400, description="between two reads from an engine")
    max_body_mb: int = Field(default=64, ge=1, le=4096)
    requests_per_second_per_key: int | None = Field(default=None, ge=1)
    connections_per_key: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _machine(self) -> Self:
        if self.placement == "own-host" and self.gpu_type is None:
            raise ValueError("'gpuType' is missing: with placement 'own-host' name the machine to rent for nginx")
        if self.placement == "with-replica" and self.gpu_type is not None:
            raise ValueError("'gpuType' means nothing with placement 'with-replica': remove it or use 'own-host'")
        return self

    @model_validator(mode="after")
    def _own_keys(self) -> Self:
        keys = [key.get_secret_value() for key in (self.api_keys or {}).values()]
        if len(set(keys)) < len(keys):
            raise ValueError("two users of 'apiKeys' have the same key: give each one of their own")
        return self

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


def parse_settings(config: Mapping[str, str]) -> Settings:
    """Read the stack's configuration as Pulumi hands it over: ``moe:key`` -> text or JSON text.

    Raises:
        InvalidInput: with one line for each mistake.
    """
    raw = {key.removeprefix(f"{NAMESPACE}:"): _value(text) for key, text in config.items() if _ours(key)}
    settings, mistakes = _read(raw)
    lines = [f"{key}: has another namespace than the program: write {NAMESPACE}:…" for key in config if _misplaced(key)]
    lines += [described(mistake, Settings, NAMESPACE) for mistake in mistakes]
    if settings is not None:
        lines += _contradictory(settings, {str(mistake["loc"][0]) for mistake in mistakes if mistake["loc"]})
    if settings is None or lines:
        raise InvalidInput("\n  ".join(["the stack's configuration has mistakes:", *lines]))
    return settings


def in_the_clear(settings: Settings, secret_keys: Collection[str]) -> list[str]:
    """Paths of secrets that stand readable in the stack's file; ``secret_keys`` are those that Pulumi has encrypted."""
    if f"{NAMESPACE}:gateway" in secret_keys:
        return []
    users = [f"gateway.apiKeys.{user}" for user in settings.gateway.api_keys or {}]
    return [f"{NAMESPACE}:{path}" for path in [*users, *(["gateway.tls.privateKey"] if settings.gateway.tls else [])]]


def _read(raw: Mapping[str, Any]) -> tuple[Settings | None, list[ErrorDetails]]:
    """The settings as far as they are right, ``None`` where too little is, and what is wrong."""
    try:
        return Settings.model_validate(raw), []
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
    try:
        return Settings.model_validate(_without(raw, mistakes)), mistakes
    except ValidationError:
        return None, mistakes


def _without(raw: Mapping[str, Any], mistakes: list[ErrorDetails]) -> dict[str, Any]:
    rest = dict(copy.deepcopy(raw))
    for mistake in mistakes:
        holder: Any = rest
        *parents, last = [part for part in mistake["loc"] if part != "[key]"]
        for part in parents:
            holder = holder.get(part, {}) if isinstance(holder, dict) else {}
        if isinstance(holder, dict):
            holder.pop(last, None)
    return rest


def _contradictory(settings: Settings, mistaken: set[str]) -> list[str]:
    """What of ``settings`` goes not together; a section with mistakes of its own is not judged any further."""
    found = _contradictions(settings)
    return [f"{NAMESPACE}:{text}" for sections, text in found if mistaken.isdisjoint(sections.split())]


def _contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each (sections that contradict each other, in what)."""
    cloud, gateway, engine = settings.cloud.name, settings.gateway, settings.engine
    for key, gpu in (("gpu.type", settings.gpu.type), ("gateway.gpuType", gateway.gpu_type)):
        if gpu is not None and (gpu.lower() == "cpu") != (cloud == "sandbox"):
            fix = "the sandbox rents 'cpu' only" if cloud == "sandbox" else "'cpu' is what the sandbox rents"
            yield f"{key.split('.')[0]} cloud", f"{key} '{gpu}' is not to be had from cloud.name '{cloud}': {fix}"
    if settings.gpu.type.lower() == "cpu" and engine.name == "sglang":
        yield "engine gpu", "engine.name 'sglang' needs CUDA GPUs, and gpu.type is 'cpu': use 'vllm'"
    if engine.max_unavailable > settings.replicas:
        words = f"engine.maxUnavailable {engine.max_unavailable} is more than replicas {settings.replicas}"
        yield "engine replicas", f"{words}: lower it"
    if gateway.placement == "with-replica" and gateway.listen_port == engine.port:
        yield "gateway engine", f"gateway.port {engine.port} is engine.port too, on the same host: choose another"
    if gateway.placement == "with-replica" and engine.port == STATUS_PORT:
        yield "gateway engine", f"engine.port {STATUS_PORT} is that of nginx's status, on the same host: choose another"


def _ours(key: str) -> bool:
    return key.startswith(f"{NAMESPACE}:")


def _misplaced(key: str) -> bool:
    return key.startswith("moestro:")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
