"""A little cloud on this machine: it speaks Spheron's contract and rents real Linux hosts, which are Docker containers.

Its state is one SQLite file in its home directory and the labels of its containers, so it needs no daemon of its own,
and several processes may use it at once. Its hosts have no GPU and its offers say so: ``gpuType`` is "CPU".
"""

from moestro.clouds.sandbox.home import Home, Settings
from moestro.errors import InvalidInput

__all__ = ["Home", "Settings", "configure", "destroy", "reset"]


def configure(home: Home, settings: Settings) -> None:
    """Choose how the sandbox of ``home`` behaves, for every process that uses it.

    Raises:
        InvalidInput: it would change whether hosts are real while there are machines.
    """
    from moestro.clouds.sandbox.store import Store

    store = Store(home)
    changes_hosts = store.settings().contract_only != settings.contract_only
    if changes_hosts and not all(machine.ended for machine in store.deployments()):
        raise InvalidInput("contract_only: there are machines; terminate them or reset the sandbox first")
    store.configure(settings)


def reset(home: Home) -> None:
    """Remove every host, key and armed fault of ``home``; its settings stay."""
    from moestro.clouds.sandbox.store import Store

    _remove_hosts(home)
    Store(home).forget()


def destroy(home: Home) -> None:
    """Remove every trace of ``home``: hosts, network, files."""
    _remove_hosts(home)
    home.remove()


def _remove_hosts(home: Home) -> None:
    from moestro.clouds.sandbox.hosts import DockerHosts
    from moestro.clouds.sandbox.store import Store

    if not Store(home).settings().contract_only:  # which needs no Docker, so it must not be asked
        DockerHosts(home).remove_all()
