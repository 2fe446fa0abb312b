"""A little cloud on this machine: it speaks Spheron's contract and rents real Linux hosts, which are Docker containers.

Its state is one SQLite file in its home directory and the labels of its containers, so it needs no daemon of its own,
and several processes may use it at once. Its hosts have no GPU and its offers say so: ``gpuType`` is "CPU".
"""

from moestro.clouds.sandbox.home import Home, Settings

__all__ = ["Home", "Settings", "configure", "destroy", "reset"]


def configure(home: Home, settings: Settings) -> None:
    """Choose how the sandbox of ``home`` behaves, for every process that uses it."""
    from moestro.clouds.sandbox.store import Store

    Store(home).configure(settings)


def reset(home: Home) -> None:
    """Remove every host, key and armed fault of ``home``; its settings stay."""
    from moestro.clouds.sandbox.hosts import DockerHosts
    from moestro.clouds.sandbox.store import Store

    DockerHosts(home).remove_all()
    Store(home).forget()


def destroy(home: Home) -> None:
    """Remove every trace of ``home``: hosts, network, files."""
    from moestro.clouds.sandbox.hosts import DockerHosts

    DockerHosts(home).remove_all()
    home.remove()
