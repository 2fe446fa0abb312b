"""What the engine starts, with its own address as the argument; the first line printed is the port to talk to."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Started as a directory, Python puts this very directory first on the path, where `resource` would hide a module of the
# standard library. The checkout belongs there.
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if not entry or Path(entry).resolve() != HERE)]


def main() -> None:
    """Serve every resource of the package."""
    from provider.process import run
    from provider.registry import resources

    run(resources())


if __name__ == "__main__":
    main()
