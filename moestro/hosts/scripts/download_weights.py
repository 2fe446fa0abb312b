"""Runs on the host, in any environment with huggingface_hub: downloads one revision of a repository, resumably.

Arguments: repository, revision, directory, manifest file. The token, if any, is in HF_TOKEN.
"""

import json
import os
import shutil
import sys
import threading
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

RESERVE_BYTES = 5 * 10**9  # what the host needs besides
REPORT_SECONDS = 15.0


def main(repository: str, revision: str, directory: str, manifest: str) -> None:
    try:
        download(repository, revision, Path(directory), Path(manifest))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        sys.exit(f"{repository} at {revision} cannot be downloaded: {' '.join(str(error).split())}")


def download(repository: str, revision: str, target: Path, manifest: Path) -> None:
    """Fetch what is missing; the manifest comes last."""
    target.mkdir(parents=True, exist_ok=True)
    info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or []}
    check_space(repository, sum(sizes.values()), target)
    done = threading.Event()
    threading.Thread(target=report, args=(target, sum(sizes.values()), done), daemon=True).start()
    snapshot_download(repository, revision=info.sha, local_dir=target, max_workers=8)
    done.set()
    write_manifest(manifest, {"source": repository, "digest": info.sha, "files": sizes_in(target)})


def check_space(repository: str, total: int, target: Path) -> None:
    """End with a clear message when the rest does not fit."""
    needed = total - held(target) + RESERVE_BYTES
    free = shutil.disk_usage(target).free
    if free < needed:
        sys.exit(
            f"{repository} is {total / 1e9:.1f} GB; {needed / 1e9:.1f} GB more are needed under {target}, "
            f"and {free / 1e9:.1f} GB are free: choose a machine with a larger disk"
        )


def report(target: Path, total: int, done: threading.Event) -> None:
    """A line of progress now and then."""
    while not done.wait(REPORT_SECONDS):
        print(f"{held(target) / 1e9:.1f} of {total / 1e9:.1f} GB", flush=True)


def held(directory: Path) -> int:
    """Bytes on the disk under a directory, partial downloads included."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def sizes_in(target: Path) -> dict[str, int]:
    """The downloaded files and their sizes, without the download's own bookkeeping."""
    paths = (path for path in sorted(target.rglob("*")) if path.is_file())
    names = ((path.relative_to(target).as_posix(), path.stat().st_size) for path in paths)
    return {name: size for name, size in names if not name.startswith(".cache/")}


def write_manifest(path: Path, content: dict[str, object]) -> None:
    """Complete or not there at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(fresh, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
