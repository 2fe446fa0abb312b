"""Where things are on a host and what they are called: pure functions, the one place that knows."""

import hashlib
import re

from moestro.errors import InvalidInput

ETC = "/etc/moestro"  # configuration; secrets in files of mode 0600
STATE = "/var/lib/moestro"
JOBS = f"{STATE}/jobs"
WEIGHTS = f"{STATE}/weights"
OPT = "/opt/moestro"
ENGINE = f"{OPT}/engine"  # a symbolic link to the installed engine in use
ENGINES = f"{OPT}/engines"
PYTHONS = f"{OPT}/python"  # interpreters that uv fetched for the engines
TOOLS = f"{OPT}/tools"  # a virtual environment with uv and huggingface_hub
BAKED_ENGINE = "/opt/vllm"  # where host images bring an engine along
MARKER = ".moestro.json"  # written last into what Moestro installed; without it, it is not ours or not complete

ENGINE_PROGRAMS = {"vllm": "vllm", "sglang": "sglang"}

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def unit_name(service: str) -> str:
    """The systemd unit of a service's engine."""
    return f"moestro-engine-{_checked(service)}.service"


def service_directory(service: str) -> str:
    """Configuration, certificates and keys of a service on this host."""
    return f"{ETC}/{_checked(service)}"


def job_name(name: str, digest: str) -> str:
    """The systemd unit of a detached job, without the suffix."""
    return f"moestro-job-{_checked(name)}-{digest[:12]}"


def job_directory(name: str, digest: str) -> str:
    """Script, log and exit status of a detached job."""
    return f"{JOBS}/{_checked(name)}-{digest[:12]}"


def engine_directory(engine: str, version: str, variant: str = "") -> str:
    """The virtual environment of one engine version; ``variant`` tells apart what else went into it."""
    suffix = f"-{hashlib.sha256(variant.encode()).hexdigest()[:8]}" if variant else ""
    return f"{ENGINES}/{_slug(engine)}-{_slug(version)}{suffix}"


def engine_program(engine: str, root: str = ENGINE) -> str:
    """The engine's program under an installation root."""
    return f"{root}/bin/{ENGINE_PROGRAMS[engine]}"


def cuda_home(root: str = ENGINE) -> str:
    """The CUDA toolkit beside an engine that compiles DeepGEMM kernels: the value of CUDA_HOME in its environment."""
    return f"{root}/cuda"


def weights_path(model: str, revision: str | None) -> str:
    """The directory of a model's files at one revision, or at one digest where they come from a local directory."""
    return f"{WEIGHTS}/{_slug(model)}/{_slug(revision or 'main')[:40]}"


def weights_manifest(path: str) -> str:
    """What a complete weights directory holds; written last, beside it."""
    return f"{path}.json"


def staging_directory(path: str) -> str:
    """Where an upload gathers before it moves to ``path``, on the same filesystem."""
    parent, _, base = path.rpartition("/")
    return f"{parent}/.upload-{base}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} names nothing on a host: use up to 63 of a-z, 0-9 and -, neither first nor last a -"
        )
    return name


def _slug(text: str) -> str:
    """A readable path part. Texts that need more than "/" replaced get a digest, so that they stay distinct."""
    slug = re.sub(r"[^A-Za-z0-9._+-]", "-", text.replace("/", "--")).lstrip(".-") or "x"
    if slug == text.replace("/", "--"):
        return slug
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
