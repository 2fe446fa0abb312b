"""What a gateway's host needs, decided from one look at it: pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from moestro.hosts.facts import Facts
from moestro.hosts.scripts import script
from moestro.hosts.steps import Command, Reason, Step, nothing
from moestro.hosts.steps.packages import INSTALL_SECONDS, apt_install

PACKAGES = ("logrotate", "nginx")


@dataclass(frozen=True, slots=True)
class GatewayLook:
    """One look at a gateway.

    Attributes:
        served: the digest of the configuration that the running nginx has, "" where none runs.
        files: path in the release -> SHA-256.
        drained: names of the replicas that get no requests.
    """

    exists: bool
    active: str
    nginx: bool
    unit_in_place: bool
    served: str = ""
    drained: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def install_nginx(facts: Facts) -> Step:
    """Install nginx and what rotates its logs; the site that the package brings along is switched off."""
    missing = [name for name in PACKAGES if not facts.has(name)]
    if not missing:
        return nothing("nginx", Reason.PRESENT, facts.packages["nginx"])
    commands = (
        Command(apt_install(facts, missing), f"install {', '.join(missing)}", INSTALL_SECONDS, detached=True),
        quiet_stock_site(),
    )
    return Step("nginx", commands)


def quiet_stock_site() -> Command:
    """Free port 80 of the package's welcome page, and of nothing else."""
    return Command(script("nginx_stock_site"), "switch the welcome page off")


def parse_look(report: str) -> GatewayLook:
    """Read what ``gateway_look.sh`` printed."""
    head, _, files = report.partition("==files==\n")
    pairs = [line.split("=", 1) for line in head.splitlines() if "=" in line]
    said = dict(pairs)
    return GatewayLook(
        exists=said.get("LoadState") not in (None, "", "not-found"),
        active=said.get("ActiveState", "inactive"),
        nginx=said.get("Nginx") == "yes",
        unit_in_place=said.get("UnitInPlace") == "yes",
        served=said.get("Served", ""),
        drained=tuple(value for name, value in pairs if name == "Down"),
        files={path: digest for digest, path in (line.split(None, 1) for line in files.splitlines() if line.strip())},
    )


def as_wanted(look: GatewayLook, release: Mapping[str, str], digest: str) -> bool:
    """Whether the files are in place, unchanged, and nginx runs with them."""
    wanted = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in release.items()}
    return look.active == "active" and look.unit_in_place and look.files == wanted and look.served == digest
