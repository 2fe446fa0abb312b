"""nginx in front of a service's engines: a pure renderer of every file that the gateway needs.

The gateway is an nginx of its own (own main configuration, process, pid and logs), so that other sites of the same host
are neither read nor touched and so that ``worker_shutdown_timeout`` can be set. Inside the configuration, paths are
relative to its own directory: the same files can be tested in one place and run from another.

Whether a replica takes requests is not part of the rendered files: the upstream includes one state file per replica
from ``GatewayPaths.state``, whose text comes from :func:`replica_state`.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from moestro.errors import InvalidInput
from moestro.serving.names import STATUS_PORT, engine_name

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")  # RFC 6750, section 2.1
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")
_PUBLIC, _SECRET = 0o644, 0o600

_FILES = {
    "user_keys": "keys.conf",
    "engine_key": "engine-key.conf",
    "client_certificate": "client.crt",
    "client_private_key": "client.key",
    "authority": "ca.crt",
    "certificate": "tls.crt",
    "private_key": "tls.key",
}

# Name in the template -> message, type and code of the OpenAI error object.
_ERRORS = {
    "no_key": ("no API key: send the header Authorization: Bearer KEY", "invalid_request_error", "missing_api_key"),
    "wrong_key": ("this API key is not accepted", "invalid_request_error", "invalid_api_key"),
    "not_found": ("there is nothing here: the API is under /v1/", "invalid_request_error", "not_found"),
    "plain": ("this port speaks TLS: use https", "invalid_request_error", "tls_required"),
}

_MALFORMED = ("the request is malformed or its headers are too large", "invalid_request_error", "bad_request")
# The same by the status of what nginx itself answers. 494 (headers too large) is told to clients as 400.
_STATUS_ERRORS = {
    400: _MALFORMED,
    404: _ERRORS["not_found"],
    405: ("this method is not for this API", "invalid_request_error", "method_not_allowed"),
    413: ("the request body is larger than this service takes", "invalid_request_error", "body_too_large"),
    414: ("the path of the request is too long", "invalid_request_error", "path_too_long"),
    429: ("too many requests with this API key: wait, then try again", "requests", "rate_limit_exceeded"),
    494: _MALFORMED,
    500: ("the gateway could not work on this request", "server_error", "gateway_error"),
    501: ("this transfer encoding is not supported", "invalid_request_error", "not_supported"),
    503: ("no replica can answer now: try again in some seconds", "server_error", "unavailable"),
    504: ("the replica did not answer in time", "server_error", "timeout"),
    505: ("this HTTP version is not supported: use 1.1", "invalid_request_error", "not_supported"),
}

# Field -> nginx variable. No header and no query is logged: a key never is. Lists ("a, b") are attempts in their order.
_LOG = {
    "time": "$time_iso8601",
    "request_id": "$request_id",
    "user": "$moestro_user",
    "client": "$remote_addr",
    "method": "$moestro_method",
    "path": "$moestro_path",
    "status": "$status",
    "request_bytes": "$request_length",
    "response_bytes": "$bytes_sent",
    "seconds": "$request_time",
    "replica": "$moestro_replica",
    "upstream": "$upstream_addr",
    "upstream_status": "$upstream_status",
    "upstream_connect_seconds": "$upstream_connect_time",
    "upstream_header_seconds": "$upstream_header_time",
    "upstream_seconds": "$upstream_response_time",
}
_NUMBERS = {"status", "request_bytes", "response_bytes", "seconds"}  # always present, always a number


@dataclass(frozen=True, slots=True)
class Upstream:
    """One replica as the gateway reaches it."""

    name: str
    address: str
    port: int

    @property
    def socket(self) -> str:
        """``address:port`` as nginx writes it."""
        bare = self.address.strip("[]")
        return f"[{bare}]:{self.port}" if ":" in bare else f"{bare}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate that the gateway shows to its users."""

    certificate_pem: str
    private_key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """What the gateway of a service is to be.

    Attributes:
        api_keys: user name -> key. Users appear in the access log, keys nowhere.
        engine_api_key: what replaces the user's key on the way to an engine.
        certificate_pem: the gateway's client certificate, of the authority that the engines trust.
        authority_pem: the authority of the engines' certificates; each names ``names.engine_name(service)``.
        tls: None listens in the clear.
        read_timeout_seconds: longest silence of an engine; a reply that is not streamed is silent until its end.
        max_body_mb: largest request body, MiB.
        requests_per_second_per_key: None is without limit.
        connections_per_key: requests of one key at a time; None is without limit.
        status_port: loopback port of nginx's own status page (``/status``).
    """

    service: str
    served_name: str
    upstreams: tuple[Upstream, ...]
    api_keys: Mapping[str, str] = field(repr=False)
    engine_api_key: str = field(repr=False)
    certificate_pem: str
    private_key_pem: str = field(repr=False)
    authority_pem: str
    listen_port: int
    tls: Tls | None = None
    read_timeout_seconds: int = 3600
    max_body_mb: int = 64
    requests_per_second_per_key: float | None = None
    connections_per_key: int | None = None
    status_port: int = STATUS_PORT


@dataclass(frozen=True, slots=True)
class GatewayPaths:
    """Where the gateway keeps what is no configuration.

    Attributes:
        runtime: an existing directory for the pid and request bodies.
        state: the directory of the replicas' state files and of ``generation.inc``.
        user: the system user of nginx's workers.
    """

    runtime: str
    state: str
    access_log: str
    error_log: str
    user: str = "www-data"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One rendered file; secret ones have mode 0600 and stay out of ``repr``."""

    text: str = field(repr=False)
    mode: int = _PUBLIC


def gateway_files(spec: GatewaySpec, paths: GatewayPaths) -> dict[str, ConfigFile]:
    """Every file of the configuration, by its path relative to the configuration's directory.

    Raises:
        InvalidInput: a value that cannot stand in the configuration.
    """
    return _files(spec, paths, config_digest(spec, paths))


def config_digest(spec: GatewaySpec, paths: GatewayPaths) -> str:
    """A digest of everything that :func:`gateway_files` renders.

    It may be shown: guessing a key from it would need the private key, which is part of it, as well.
    """
    digest = hashlib.sha256()
    for path, file in sorted(_files(spec, paths, "").items()):
        digest.update(f"{path}\0{file.mode:o}\0{file.text}\0".encode())
    return digest.hexdigest()


def replica_state(name: str, taking_requests: bool) -> str:
    """The text of a replica's state file, ``<name>.conf`` in ``GatewayPaths.state``."""
    return f"include servers/{_name(name)}.{'up' if taking_requests else 'down'}.conf;\n"


def generation_state(token: str) -> str:
    """The text of ``generation.inc``: nginx answers the token on the status port once it runs this configuration."""
    return f'return 200 "{token}\\n";\n'


def _files(spec: GatewaySpec, paths: GatewayPaths, digest: str) -> dict[str, ConfigFile]:
    _check(spec)
    files = {
        "nginx.conf": ConfigFile(_main(spec, paths, digest)),
        _FILES["user_keys"]: ConfigFile("".join(_key_lines(spec.api_keys)), _SECRET),
        _FILES["engine_key"]: ConfigFile(_engine_key(spec.engine_api_key), _SECRET),
        _FILES["client_certificate"]: ConfigFile(spec.certificate_pem),
        _FILES["client_private_key"]: ConfigFile(spec.private_key_pem, _SECRET),
        _FILES["authority"]: ConfigFile(spec.authority_pem),
    }
    if spec.tls:
        files[_FILES["certificate"]] = ConfigFile(spec.tls.certificate_pem)
        files[_FILES["private_key"]] = ConfigFile(spec.tls.private_key_pem, _SECRET)
    return files | dict(_server_files(spec.upstreams))


def _main(spec: GatewaySpec, paths: GatewayPaths, digest: str) -> str:
    # The text is nginx configuration, not HTML: nothing is to be escaped, and every value was checked.
    templates = Environment(
        loader=PackageLoader("moestro.serving"),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    return templates.get_template("nginx.conf.j2").render(
        service=spec.service,
        upstream_name=f"moestro_{spec.service}",
        upstreams=[{"name": each.name, "pattern": _last_attempt(each)} for each in spec.upstreams],
        engine_name=engine_name(spec.service),
        listen_port=spec.listen_port,
        status_port=spec.status_port,
        tls=spec.tls is not None,
        max_body_mb=spec.max_body_mb,
        read_timeout_seconds=spec.read_timeout_seconds,
        shutdown_seconds=max(3600, spec.read_timeout_seconds),
        limits=_limits(spec),
        errors={name: _error(*parts) for name, parts in _ERRORS.items()},
        status_errors={status: _error(*parts) for status, parts in _STATUS_ERRORS.items()},
        log_format=_log_format(spec.served_name),
        files=_FILES,
        paths=paths,
        digest=digest,
    )


def _limits(spec: GatewaySpec) -> dict[str, str | int | None]:
    rate = spec.requests_per_second_per_key
    if rate is None:
        return {"rate": None, "burst": None, "connections": spec.connections_per_key}
    # nginx takes whole numbers only, so the rate is given per minute.
    return {
        "rate": f"{max(1, round(rate * 60))}r/m",
        "burst": max(1, math.ceil(rate)),
        "connections": spec.connections_per_key,
    }


def _server_files(upstreams: tuple[Upstream, ...]) -> Iterator[tuple[str, ConfigFile]]:
    for each in upstreams:
        line = f"server {each.socket} max_fails=2 fail_timeout=10s"
        yield f"servers/{each.name}.up.conf", ConfigFile(f"{line};\n")
        yield f"servers/{each.name}.down.conf", ConfigFile(f"{line} down;\n")


def _key_lines(api_keys: Mapping[str, str]) -> Iterator[str]:
    # Plain strings in a map are compared without regard to case; a regular expression is exact.
    for user, key in sorted(api_keys.items()):
        yield f'"~^(?i:Bearer) +{re.escape(key)}$" "{user}";\n'


def _engine_key(key: str) -> str:
    return f'proxy_set_header Authorization "Bearer {key}";\n'


def _last_attempt(upstream: Upstream) -> str:
    # After a retry, $upstream_addr lists every attempt; the last one answered.
    return f'"~(^|, ){re.escape(upstream.socket)}$"'


def _error(message: str, kind: str, code: str) -> str:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return f"'{json.dumps(body)}'"


def _log_format(served_name: str) -> str:
    fields = [f'"{name}":{variable if name in _NUMBERS else json.dumps(variable)}' for name, variable in _LOG.items()]
    return f"""'{{"model":{json.dumps(served_name)},{",".join(fields)}}}'"""


def _check(spec: GatewaySpec) -> None:
    _name(spec.service)
    if not re.fullmatch(r"[A-Za-z0-9._/:-]+", spec.served_name):
        raise InvalidInput(f"servedName {spec.served_name!r}: use letters, digits and . _ / : - only")
    if not spec.upstreams:
        raise InvalidInput(f"gateway of {spec.service}: upstreams is empty; a gateway needs at least one replica")
    _check_upstreams(spec.upstreams)
    _check_keys(spec)
    for name, port in (("listenPort", spec.listen_port), ("statusPort", spec.status_port)):
        _port(name, port)
    for name, number in (("readTimeoutSeconds", spec.read_timeout_seconds), ("maxBodyMb", spec.max_body_mb)):
        _positive(name, number)
    _positive("requestsPerSecondPerKey", spec.requests_per_second_per_key)
    _positive("connectionsPerKey", spec.connections_per_key)


def _check_upstreams(upstreams: tuple[Upstream, ...]) -> None:
    for each in upstreams:
        _name(each.name)
        _port(f"port of upstream {each.name}", each.port)
        if not _ADDRESS.fullmatch(each.address):
            raise InvalidInput(f"upstream {each.name}: {each.address!r} is neither an IP address nor a host name")
    for what in ("name", "socket"):
        values = [getattr(each, what) for each in upstreams]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise InvalidInput(f"upstreams: {what} {', '.join(twice)} is there twice; each replica needs its own")


def _check_keys(spec: GatewaySpec) -> None:
    for user, key in (*spec.api_keys.items(), ("engine", spec.engine_api_key)):
        if not _USER.fullmatch(user):
            raise InvalidInput(f"apiKeys: user {user!r}: use up to 64 letters, digits and . _ @ -")
        if not _KEY.fullmatch(key):
            raise InvalidInput(f"the API key of {user} must be 16 to 512 of letters, digits and . _ ~ + / = -")
    if len(set(spec.api_keys.values())) < len(spec.api_keys):
        raise InvalidInput("apiKeys: two users have the same key; give each one of their own")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r}: use up to 63 of a-z, 0-9 and -, neither first nor last a -")
    return name


def _port(name: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise InvalidInput(f"{name} {port} is no TCP port: use 1 to 65535")


def _positive(name: str, number: float | None) -> None:
    if number is not None and number <= 0:
        raise InvalidInput(f"{name} {number} must be more than 0")
