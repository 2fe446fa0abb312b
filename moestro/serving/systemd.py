"""systemd units of engines and gateways, and secret environment files: pure text.

Reference: systemd.exec(5), systemd.service(5), systemd.syntax(7); every directive used exists since systemd 246.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from moestro.errors import InvalidInput
from moestro.serving.launch import Launch

ENGINE_USER = "moestro-engine"
START_LIMIT_SECONDS = 600
START_LIMIT_BURST = 5
TAIL_LINES = 300

_BARE = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_PROGRAM = re.compile(r"/[A-Za-z0-9_@+=:,./-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

# NoNewPrivileges keeps the setuid nvidia-modprobe from making the GPUs' device nodes after a boot: root does it first.
_DEVICE_NODES = "command -v nvidia-smi >/dev/null || exit 0; nvidia-smi -L; nvidia-modprobe -u -c=0"

_GATEWAY = """\
[Unit]
Description=Moestro gateway of {service}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/usr/sbin/nginx -c {configuration} -g "daemon off;"
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
KillMode=mixed
KillSignal=SIGQUIT
TimeoutStopSec=30
LimitNOFILE=65535
CacheDirectory=moestro/{service}/gateway
LogsDirectory=moestro/{service}/gateway
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectHome=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class EngineUnit:
    """What the unit of an engine says.

    Attributes:
        name: the unit's name, with its suffix.
        service: the service's name, already checked to be a plain name.
        version: the engine's version; another one makes another unit, so that an upgrade restarts the engine.
        launch: the process; its environment holds no secrets.
        environment_file: the secret environment, which systemd reads before it drops privileges; None: there is none.
        shutdown_timeout_seconds: how long running requests may take to finish after SIGTERM.
        stop_grace_seconds: how long the engine may take to end after that, before it is killed.
        user: system user to run as; None runs as root.
    """

    name: str
    service: str
    version: str
    launch: Launch
    environment_file: str | None
    shutdown_timeout_seconds: int
    stop_grace_seconds: int = 30
    user: str | None = ENGINE_USER


def engine_unit(unit: EngineUnit) -> str:
    """The unit file's text.

    Raises:
        InvalidInput: an argument or variable that no systemd unit can hold.
    """
    sections = (("Unit", _about(unit)), ("Service", _service(unit)), ("Install", ["WantedBy=multi-user.target"]))
    return "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections)


def gateway_unit(service: str, configuration: str) -> str:
    """The unit of a service's nginx, which runs beside the distribution's own and shares nothing with it."""
    return _GATEWAY.format(service=service, configuration=configuration)


def tail_file(service: str) -> str:
    """Where a stopped engine's last log lines are kept, beyond the journal's own rotation."""
    return f"/var/log/moestro/{service}/engine/tail.log"


def command_line(argv: tuple[str, ...]) -> str:
    """``ExecStart`` syntax of an argv: every argument reaches the process as it is.

    Raises:
        InvalidInput: the program is no plain absolute path, or an argument holds NUL or is no text.
    """
    if not argv or not _PROGRAM.fullmatch(argv[0]):
        raise InvalidInput(f"argv[0] {argv[:1]!r} must be the program's plain absolute path")
    # ":" switches environment substitution off, so a "$" stays a "$".
    return ":" + " ".join(map(quote, argv))


def quote(text: str) -> str:
    """One word in systemd's syntax.

    Raises:
        InvalidInput: the text holds NUL or cannot be encoded as UTF-8.
    """
    if "\0" in text or not _is_utf8(text):
        raise InvalidInput(f"{text!r} cannot stand in a systemd unit: it holds NUL or is not valid Unicode")
    return text if _BARE.fullmatch(text) else f'"{"".join(map(_escaped, text))}"'


def environment_text(variables: Mapping[str, str]) -> str:
    """The text of an ``EnvironmentFile``; each value reaches the process as it is.

    Raises:
        InvalidInput: a name that is no variable name, or a value of more than one line (the value is not shown).
    """
    return "".join(f'{name}="{_file_value(name, value)}"\n' for name, value in sorted(variables.items()))


def _about(unit: EngineUnit) -> list[str]:
    return [
        f"Description=Moestro engine of {unit.service}",
        "Wants=network-online.target",
        "After=network-online.target",
        f"StartLimitIntervalSec={START_LIMIT_SECONDS}",
        f"StartLimitBurst={START_LIMIT_BURST}",
    ]


def _service(unit: EngineUnit) -> list[str]:
    return [
        "Type=exec",
        *([f"User={unit.user}", f"Group={unit.user}"] if unit.user else []),
        *_environment(unit),
        *([f"EnvironmentFile={unit.environment_file}"] if unit.environment_file else []),
        f"ExecStartPre=-+/bin/sh -c {quote(_DEVICE_NODES)}",
        f"ExecStart={command_line(unit.launch.argv)}",
        f"ExecStopPost=-+/bin/sh -c {quote(_keep_tail(unit))}",
        *_life(unit.shutdown_timeout_seconds + unit.stop_grace_seconds),
        *_surroundings(unit.service),
    ]


def _environment(unit: EngineUnit) -> Iterable[str]:
    home = f"/var/cache/{_directory(unit.service)}"
    defaults = {
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "PYTHONUNBUFFERED": "1",
        "MOESTRO_ENGINE_VERSION": unit.version,
    }
    for name, value in sorted((defaults | unit.launch.env).items()):
        if not _VARIABLE.fullmatch(name):
            raise InvalidInput(f"env {name!r} is no variable name: use letters, digits and _")
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value):
            raise InvalidInput(f"env {name} holds a control character, which systemd refuses: remove it")
        yield f"Environment={quote(f'{name}={value}')}"


def _life(stop_seconds: int) -> list[str]:
    return [
        # vLLM ends with status 0 when its engine process died, so on-failure would leave the replica down.
        "Restart=always",
        "RestartSec=5",
        # 2 is the argument parser's verdict on the launch line: no restart makes it right.
        "RestartPreventExitStatus=2",
        # SIGTERM goes to the server alone; its workers must live until the running requests are answered.
        "KillMode=mixed",
        # vLLM ends its drain by itself (--shutdown-timeout); SGLang waits for the last request however long it takes.
        f"TimeoutStopSec={stop_seconds}",
    ]


def _surroundings(service: str) -> list[str]:
    directory = _directory(service)
    return [
        "LimitNOFILE=65535",
        "LimitMEMLOCK=infinity",
        "TasksMax=infinity",
        "StandardOutput=journal",
        "StandardError=journal",
        "LogRateLimitIntervalSec=0",
        f"CacheDirectory={directory}",
        f"LogsDirectory={directory}",
        f"WorkingDirectory=/var/cache/{directory}",
        "UMask=0077",
        # No limits on devices, memory protection or system calls: GPUs, RDMA and run-time compilers need them.
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=full",
        "ProtectHome=read-only",
        "ProtectControlGroups=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "LockPersonality=yes",
        "RestrictSUIDSGID=yes",
        "RestrictRealtime=yes",
    ]


def _directory(service: str) -> str:
    return f"moestro/{service}/engine"


def _keep_tail(unit: EngineUnit) -> str:
    return f"journalctl --unit={unit.name} --lines={TAIL_LINES} --output=cat --no-pager > {tail_file(unit.service)}"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\x{ord(character):02x}" if ord(character) < 0x20 or ord(character) == 0x7F else character


def _is_utf8(text: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _file_value(name: str, value: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise InvalidInput(f"{name!r} is no variable name: use letters, digits and _")
    if re.search(r"[\x00-\x1f\x7f]", value) or not _is_utf8(value):
        raise InvalidInput(f"{name} must be one line of text without control characters")
    return re.sub(r'(["\\`$])', r"\\\1", value)
