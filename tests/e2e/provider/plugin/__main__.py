"""The real plugin, for machines that exist on paper only: they have no SSH server whose host key could be learned."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parents[3]), *(entry for entry in sys.path if not entry or Path(entry).resolve() != HERE)]

from moestro.waiting import Wait  # noqa: E402
from provider.instance import Instance  # noqa: E402
from provider.process import run  # noqa: E402
from provider.registry import resources  # noqa: E402


def paper_host_key(address: str, port: int, wait: Wait) -> str:
    """A host key as if one had been learned from this address."""
    wait.check()
    return f"ssh-ed25519 of-{address}-{port}"


def main() -> None:
    """Serve the package's resources, with instances that learn no real key."""
    real = [resource for resource in resources() if not isinstance(resource, Instance)]
    run([*real, Instance(learn_host_key=paper_host_key)])


if __name__ == "__main__":
    main()
