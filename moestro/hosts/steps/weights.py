"""Downloading a model on the host: which Python does it, and the script of the detached job."""

import shlex

from moestro.hosts import layout
from moestro.hosts.facts import Facts
from moestro.hosts.scripts import text
from moestro.hosts.steps import Command

DOWNLOAD_SECONDS = 6 * 3600.0
HUB_REQUIREMENT = "huggingface_hub>=0.34"


def download_weights(facts: Facts, repository: str, revision: str, path: str) -> Command:
    """Download a repository's revision into ``path`` and write its manifest; checks the disk's free space first."""
    python = _python_with_hub(facts)
    arguments = " ".join(map(shlex.quote, (repository, revision, path, layout.weights_manifest(path))))
    script = (
        f"{'' if python else _install_hub()}"
        "export HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1\n"
        f"mkdir -p {shlex.quote(path)}\n"
        f"cat > {shlex.quote(path)}.py << 'MOESTRO_END'\n{text('download_weights.py')}MOESTRO_END\n"
        f"{python or layout.TOOLS + '/bin/python'} {shlex.quote(path)}.py {arguments}\n"
        f"rm -f {shlex.quote(path)}.py\n"
    )
    return Command(script, f"download {repository} at {revision}", DOWNLOAD_SECONDS, detached=True)


def _python_with_hub(facts: Facts) -> str | None:
    """An engine's Python: every engine brings huggingface_hub along."""
    roots = [engine.root for engine in facts.engines]
    return f"{roots[0]}/bin/python" if roots else None


def _install_hub() -> str:
    return (
        f"[ -x {layout.TOOLS}/bin/python ] || python3 -m venv {layout.TOOLS}\n"
        f"{layout.TOOLS}/bin/python -m pip install --quiet {shlex.quote(HUB_REQUIREMENT)}\n"
    )
