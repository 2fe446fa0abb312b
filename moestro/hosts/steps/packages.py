"""Debian packages: install what is missing, patiently where somebody else holds apt's locks."""

import shlex
from collections.abc import Sequence

from moestro.errors import HostError
from moestro.hosts.facts import Facts
from moestro.hosts.steps import Command, Reason, Step, nothing

LOCK_SECONDS = 600  # unattended upgrades of a fresh machine can hold the locks for minutes
INSTALL_SECONDS = 2400.0
INSTALL_ATTEMPTS = 4

_PAUSE_SECONDS = 10
_LOCK_ATTEMPTS = LOCK_SECONDS // _PAUSE_SECONDS


def install_packages(facts: Facts, names: Sequence[str]) -> Step:
    """Install those of ``names`` that the host lacks.

    Raises:
        HostError: the host is neither Debian nor made from it.
    """
    missing = sorted({name for name in names if not facts.has(name)})
    if not names:
        return nothing("packages", Reason.NOT_ASKED)
    if not missing:
        return nothing("packages", Reason.PRESENT, ", ".join(sorted(set(names))))
    why = f"install {', '.join(missing)}"
    return Step("packages", (Command(apt_install(facts, missing), why, INSTALL_SECONDS, detached=True),))


def apt_install(facts: Facts, names: Sequence[str]) -> str:
    """A script that installs packages; waits for locks, and finishes what an interrupted dpkg left behind.

    Raises:
        HostError: the host is neither Debian nor made from it.
    """
    if not facts.packages:
        raise HostError(
            f"this host runs {facts.os_name}, which has no Debian packages, and {', '.join(names)} must be installed: "
            "choose an image with Ubuntu or Debian"
        )
    apt = f"apt-get -o DPkg::Lock::Timeout={LOCK_SECONDS} -o Acquire::Retries=3 -q"
    wanted = " ".join(shlex.quote(name) for name in names)
    # DPkg::Lock::Timeout does not cover the lock of the package lists, hence the first loop. That apt-get update leaves
    # out a mirror that does not answer, and succeeds, shows only when a package cannot be had: hence the second one.
    return (
        "tries=0\n"
        f"until {apt} update; do\n"
        f"  tries=$((tries + 1)); [ $tries -lt {_LOCK_ATTEMPTS} ] || exit 100\n"
        f"  echo 'apt-get update failed (its lock may be held); trying again in {_PAUSE_SECONDS} s'\n"
        f"  sleep {_PAUSE_SECONDS}\n"
        "done\n"
        f"{dpkg('--configure -a')}"
        "tries=0\n"
        f"until {apt} -y --no-install-recommends -o Dpkg::Options::=--force-confold install {wanted}; do\n"
        f"  tries=$((tries + 1)); [ $tries -lt {INSTALL_ATTEMPTS} ] || exit 100\n"
        f"  echo 'apt-get install failed; reading the package lists again in {_PAUSE_SECONDS} s'\n"
        f"  sleep {_PAUSE_SECONDS}; {apt} update || true\n"
        "done\n"
    )


def dpkg(arguments: str) -> str:
    """A script that calls dpkg, again while somebody else has its lock: it ends at once with status 2 then."""
    return (
        "tries=0\n"
        f"until dpkg {arguments}; do\n"
        f"  status=$? tries=$((tries + 1)); [ $status = 2 ] && [ $tries -lt {_LOCK_ATTEMPTS} ] || exit $status\n"
        f"  echo 'dpkg failed (its lock may be held); trying again in {_PAUSE_SECONDS} s'\n"
        f"  sleep {_PAUSE_SECONDS}\n"
        "done\n"
    )
