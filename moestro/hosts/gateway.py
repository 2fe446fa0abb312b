"""The gateway of a service: an nginx of its own on a host, changed without losing a request."""

import io
import re
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from moestro.errors import CommandFailed, HostError
from moestro.hosts import layout
from moestro.hosts.connection import HostConnection
from moestro.hosts.converge import carry_out, converge
from moestro.hosts.facts import Facts, gather
from moestro.hosts.scripts import script
from moestro.hosts.ssh import Host, connect
from moestro.hosts.steps import Step
from moestro.hosts.steps.firewall import keep_out, let_in
from moestro.hosts.steps.nginx import GatewayLook, as_wanted, install_nginx, parse_look, quiet_stock_site
from moestro.serving.nginx import (
    ConfigFile,
    GatewayPaths,
    GatewaySpec,
    Tls,
    Upstream,
    config_digest,
    gateway_files,
    generation_state,
    replica_state,
)
from moestro.serving.systemd import gateway_unit
from moestro.waiting import Wait

__all__ = [
    "GatewaySpec",
    "GatewayState",
    "Tls",
    "Upstream",
    "drain",
    "ensure_gateway",
    "read_gateway",
    "remove_gateway",
    "restore",
]

_APPLY_SECONDS = 180.0
_CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class GatewayState:
    """How a gateway is.

    Attributes:
        url: base address for clients, without ``/v1``.
        config_digest: of the configuration; "changed" where it is not what the spec says or nginx runs another one.
        state: what systemd says ("active" is well).
        drained: replicas that get no requests now.
    """

    url: str
    config_digest: str
    state: str
    drained: tuple[str, ...] = ()


def ensure_gateway(connection: HostConnection, spec: GatewaySpec, wait: Wait) -> GatewayState:
    """Bring the gateway to the spec. Running requests are finished by the old configuration.

    The new configuration is tested by nginx on the host before anything is changed; where it is refused, or does not
    come to life, the old one goes on. No replica needs to be ready. Drained replicas stay drained.

    Raises:
        InvalidInput: a value that cannot stand in the configuration.
        HostError: nginx refuses the configuration, or the host could not be worked on.
    """
    paths = _paths(spec.service)
    release, digest = _release(spec, paths), config_digest(spec, paths)
    host = connect(connection, wait)
    look, facts = _look(host, spec.service), gather(host)
    if not as_wanted(look, _texts(release), digest):
        _prepare(host, look, facts, wait)
        wait.report(f"{_unit(spec.service)}: new configuration")
        _apply(host, spec, release)
        look = _look(host, spec.service)
    # Not before nginx runs so: where it cannot, the port of the configuration that goes on stays the open one.
    carry_out(host, let_in(facts, _unit(spec.service), spec.listen_port), wait)
    return _state(host, spec, look, release, digest)


def read_gateway(connection: HostConnection, spec: GatewaySpec, wait: Wait) -> GatewayState | None:
    """How the gateway is now; None where its unit is not there."""
    host = connect(connection, wait)
    look = _look(host, spec.service)
    if not look.exists:
        return None
    paths = _paths(spec.service)
    return _state(host, spec, look, _release(spec, paths), config_digest(spec, paths))


def remove_gateway(connection: HostConnection, spec: GatewaySpec, wait: Wait) -> None:
    """Stop the gateway and remove its files. Quiet where there is none."""
    service = spec.service
    line = script(
        "gateway_remove", _directory(service), _unit(service), _unit_file(service), _rotate_file(service), service
    )
    host = connect(connection, wait)
    host.run(line, timeout=90)
    carry_out(host, keep_out(gather(host), _unit(service)), wait)


def drain(connection: HostConnection, service: str, replica: str, wait: Wait) -> bool:
    """Send a replica no more requests, from now until :func:`restore`, also after a new configuration or a reboot.

    Returns once nginx runs so; requests that the replica has already are not waited for.

    Returns:
        Whether the gateway knows the replica; False also where there is no gateway yet.

    Raises:
        HostError: the host could not be worked on, or nginx did not take the change.
    """
    return _mark(connect(connection, wait), service, replica, taking_requests=False)


def restore(connection: HostConnection, service: str, replica: str, wait: Wait) -> bool:
    """Send a replica requests again; as :func:`drain` otherwise."""
    return _mark(connect(connection, wait), service, replica, taking_requests=True)


def _mark(host: Host, service: str, replica: str, taking_requests: bool) -> bool:
    generation = _token()
    text = replica_state(replica, taking_requests)
    line = _script(
        "gateway_mark", _directory(service), _unit(service), replica, generation, generation_state(generation)
    )
    return host.run(line, input=text, timeout=_APPLY_SECONDS).stdout.strip() != "unknown"


def _prepare(host: Host, look: GatewayLook, facts: Facts, wait: Wait) -> None:
    if not look.nginx:
        converge(host, install_nginx, facts, wait)
    elif not look.exists:
        carry_out(host, Step("nginx", (quiet_stock_site(),)), wait)


def _apply(host: Host, spec: GatewaySpec, release: Mapping[str, ConfigFile]) -> None:
    generation = _token()
    state = {f"state/{each.name}.conf": ConfigFile(replica_state(each.name, True)) for each in spec.upstreams}
    state["state/generation.inc"] = ConfigFile(generation_state(generation))
    archive = _archive({**release, **state})
    service = spec.service
    line = _script(
        "gateway_apply",
        *(_directory(service), _unit(service), _unit_file(service), _rotate_file(service)),
        *(service, generation, len(archive)),
    )
    try:
        host.run(line, input=archive, timeout=_APPLY_SECONDS)
    except CommandFailed as error:
        said = _without_secrets(error.output, spec)
        raise HostError(
            f"{host}: nginx does not take the new configuration; what ran before still runs: {said}"
        ) from None


def _state(
    host: Host, spec: GatewaySpec, look: GatewayLook, release: Mapping[str, ConfigFile], digest: str
) -> GatewayState:
    scheme = "https" if spec.tls else "http"
    address = host.connection.address
    shown = digest if as_wanted(look, _texts(release), digest) else _CHANGED
    named = f"[{address}]" if ":" in address else address
    return GatewayState(f"{scheme}://{named}:{spec.listen_port}", shown, look.active, look.drained)


def _look(host: Host, service: str) -> GatewayLook:
    line = _script("gateway_look", _directory(service), _unit(service), _unit_file(service))
    return parse_look(host.run(line).stdout)


def _release(spec: GatewaySpec, paths: GatewayPaths) -> dict[str, ConfigFile]:
    """The rendered files, and what systemd and logrotate are to be told."""
    directory = _directory(spec.service)
    return {
        **gateway_files(spec, paths),
        "unit.service": ConfigFile(gateway_unit(spec.service, f"{directory}/current/nginx.conf")),
        "logrotate.conf": ConfigFile(_rotation(spec.service, paths)),
    }


def _rotation(service: str, paths: GatewayPaths) -> str:
    return (
        f"{paths.access_log} {paths.error_log} {{\n"
        "    daily\n    maxsize 200M\n    rotate 7\n    missingok\n    notifempty\n    compress\n    delaycompress\n"
        f"    sharedscripts\n    postrotate\n        systemctl kill --kill-who=main --signal=USR1 {_unit(service)}\n"
        "    endscript\n}\n"
    )


def _paths(service: str) -> GatewayPaths:
    logs = f"/var/log/moestro/{service}/gateway"
    return GatewayPaths(
        runtime=f"/var/cache/moestro/{service}/gateway",
        state=f"{_directory(service)}/state",
        access_log=f"{logs}/access.log",
        error_log=f"{logs}/error.log",
    )


def _directory(service: str) -> str:
    return f"{layout.service_directory(service)}/gateway"


def _unit(service: str) -> str:
    return f"moestro-gateway-{service}.service"


def _unit_file(service: str) -> str:
    return f"/etc/systemd/system/{_unit(service)}"


def _rotate_file(service: str) -> str:
    return f"/etc/logrotate.d/moestro-gateway-{service}"


def _script(name: str, *parameters: str | int) -> str:
    return f"{script('gateway_common')}\n{script(name, *parameters)}"


def _texts(release: Mapping[str, ConfigFile]) -> dict[str, str]:
    return {path: file.text for path, file in release.items()}


def _archive(files: Mapping[str, ConfigFile]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, file in sorted(files.items()):
            content = file.text.encode()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), file.mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _token() -> str:
    return secrets.token_hex(8)


def _without_secrets(text: str, spec: GatewaySpec) -> str:
    keys = (*spec.api_keys.values(), spec.engine_api_key)
    hidden = {form for key in keys for form in (key, re.escape(key))}
    for form in sorted(hidden, key=len, reverse=True):
        text = text.replace(form, "***")
    return text
