"""Debian packages: install what is missing, patiently where somebody else holds apt's locks."""

import shlex
from collections.abc import Sequence

from moestro.hosts.facts import Facts
from moestro.hosts.steps import Command, Reason, Step, nothing

LOCK_SECONDS = 600  # unattended upgrades of a fresh machine can hold the locks for minutes
INSTALL_SECONDS = 1800.0


def install_packages(facts: Facts, names: Sequence[str]) -> Step:
    """Install those of ``names`` that the host lacks."""
    missing = sorted({name for name in names if not facts.has(name)})
    if not names:
        return nothing("packages", Reason.NOT_ASKED)
    if not missing:
        return nothing("packages", Reason.PRESENT, ", ".join(sorted(set(names))))
    why = f"install {', '.join(missing)}"
    return Step("packages", (Command(apt_install(missing), why, INSTALL_SECONDS, detached=True),))


def apt_install(names: Sequence[str]) -> str:
    """A script that installs packages; waits for locks, and finishes what an interrupted dpkg left behind."""
    options = f"-o DPkg::Lock::Timeout={LOCK_SECONDS} -o Acquire::Retries=3"
    # DPkg::Lock::Timeout does not cover the lock of the package lists, hence the loop.
    return (
        "tries=0\n"
        f"until apt-get {options} -q update; do\n"
        "  tries=$((tries + 1)); [ $tries -lt 30 ] || exit 100\n"
        "  echo 'apt-get update failed (its lock may be held); trying again in 10 s'; sleep 10\n"
        "done\n"
        "dpkg --configure -a\n"
        f"apt-get {options} -q -y --no-install-recommends -o Dpkg::Options::=--force-confold install "
        f"{' '.join(shlex.quote(name) for name in names)}\n"
    )
