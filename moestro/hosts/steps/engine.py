"""The inference engine in a virtual environment of its own, one directory a version, a link to the one in use.

A running server keeps the version it was started from while the next one is installed beside it.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from moestro.errors import HostError, InvalidInput
from moestro.hosts import layout
from moestro.hosts.facts import Engine, Facts
from moestro.hosts.steps import Command, Reason, Step, nothing

INSTALL_SECONDS = 3600.0
PYTHON = "3.12"
ENGINES = ("vllm", "sglang")

# What Triton and the kernels' just-in-time compilers need of the system.
SYSTEM_PACKAGES = ("build-essential", "ca-certificates", "libnuma1", "python3-venv")
# nvcc and headers as wheels; the version follows from what the engine's torch asks for.
CUDA_TOOLKIT = "cuda-toolkit[nvcc,cccl,cudart]"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Which engine a host shall have.

    Attributes:
        device: "cpu" or "cuda".
        engine: "vllm" or "sglang".
        version: without a local part, as "0.33.0".
        deep_gemm: whether DeepGEMM kernels will be compiled on the host, which takes nvcc.
        packages: further Python requirements for the engine's environment.
    """

    device: str
    engine: str
    version: str
    deep_gemm: bool = False
    packages: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """Where Moestro installs it."""
        extras = [*sorted(self.packages), *([CUDA_TOOLKIT] if self.deep_gemm else [])]
        return layout.engine_directory(self.engine, self.version, " ".join(extras))


def install_engine(facts: Facts, request: EngineRequest) -> Step:
    """Install the engine unless the host has it, brought along by its image or put there by Moestro.

    Raises:
        InvalidInput: an unknown engine or device, or a package that would break the engine.
        HostError: device "cpu" and the host's image brings no such engine along.
    """
    _check(request)
    found = find_engine(facts, request)
    if found is not None:
        return nothing("engine", Reason.PRESENT, f"{found.name} {found.version} in {found.root}")
    if request.device == "cpu":
        raise HostError(_no_cpu_engine(facts, request))
    why = f"install {request.engine} {request.version}"
    return Step("engine", (Command(_script(request), why, INSTALL_SECONDS, detached=True),))


def find_engine(facts: Facts, request: EngineRequest) -> Engine | None:
    """The installed engine that satisfies the request: ours where it is in use, else the image's."""
    if facts.engine_link == request.root:
        ours = [engine for engine in facts.engines if engine.ours and engine.root == request.root]
        if ours:
            return Engine(layout.ENGINE, ours[0].name, ours[0].version, ours=True)
    if request.packages or (request.deep_gemm and facts.nvcc is None):
        return None  # we add nothing to what others installed
    fitting = (engine for engine in facts.engines if not engine.ours and _fits(engine, request))
    return next(fitting, None)


def system_packages(request: EngineRequest, facts: Facts) -> list[str]:
    """The Debian packages that installing the engine takes; none where it is there already."""
    return [] if request.device == "cpu" or find_engine(facts, request) else list(SYSTEM_PACKAGES)


def remove_engines() -> Command:
    """Remove every engine that Moestro installed, and nothing else."""
    paths = " ".join([layout.ENGINE, layout.ENGINES, layout.PYTHONS, layout.TOOLS])
    return Command(f"rm -rf {paths}\nrmdir --ignore-fail-on-non-empty {layout.OPT} 2> /dev/null || true", "remove", 300)


def _fits(engine: Engine, request: EngineRequest) -> bool:
    version, _, local = engine.version.partition("+")
    return (
        engine.name == request.engine and version == request.version and (local == "cpu") == (request.device == "cpu")
    )


def _check(request: EngineRequest) -> None:
    if request.engine not in ENGINES:
        raise InvalidInput(f"engine: {request.engine!r} is unknown; use {' or '.join(ENGINES)}")
    if request.device not in ("cpu", "cuda"):
        raise InvalidInput(f'device: {request.device!r} is unknown; use "cpu" or "cuda"')
    for package in request.packages:
        name = re.split(r"[^A-Za-z0-9._-]", package, maxsplit=1)[0]
        if re.sub(r"[-_.]+", "-", name).lower() == "deep-gemm":
            raise InvalidInput(
                f"packages: {package!r} would take the place of the newer DeepGEMM inside {request.engine}; "
                "remove it and set deepGemm instead"
            )


def _no_cpu_engine(facts: Facts, request: EngineRequest) -> str:
    others = ", ".join(f"{engine.name} {engine.version}" for engine in facts.engines) or "none"
    return (
        f'device "cpu" needs {request.engine} {request.version} in the host image, '
        f"in {layout.BAKED_ENGINE} or on PATH; found: {others}"
    )


def _script(request: EngineRequest) -> str:
    root, uv = request.root, f"{layout.TOOLS}/bin/uv"
    requirements = [f"{request.engine}=={request.version}", *sorted(request.packages)]
    if request.deep_gemm:
        requirements.append(CUDA_TOOLKIT)
    lines = [
        f"export UV_CACHE_DIR={root}.cache UV_PYTHON_INSTALL_DIR={layout.PYTHONS} UV_NO_PROGRESS=1",
        f"[ -x {uv} ] || {{ python3 -m venv {layout.TOOLS}; {layout.TOOLS}/bin/pip install --quiet uv; }}",
        f"if [ ! -e {root}/{layout.MARKER} ]; then",
        f"rm -rf {root}",
        f"{uv} venv --python {PYTHON} {root}",
        f"{uv} pip install --python {root}/bin/python --torch-backend=auto {_quoted(requirements)}",
        *(_cuda_home(root) if request.deep_gemm else ()),
        *([f"{root}/bin/vllm download-kernels"] if request.engine == "vllm" else ()),
        f"printf '%s' {shlex.quote(_marker(requirements))} > {root}/{layout.MARKER}",
        "fi",
        f"touch {root}",
        f"ln -sfn {root} {layout.ENGINE}.new",
        f"mv -fT {layout.ENGINE}.new {layout.ENGINE}",
        f"rm -rf {root}.cache",
        # The version before this one stays: a server that was started from it may still run.
        f"ls -dt {layout.ENGINES}/*/ | tail -n +3 | xargs -r rm -rf --",
    ]
    return "\n".join(lines) + "\n"


def _cuda_home(root: str) -> tuple[str, ...]:
    toolkit = f"{root}/lib/python{PYTHON}/site-packages/nvidia/cu13"
    return (f"ln -sfn {toolkit} {layout.cuda_home(root)}", f"{layout.cuda_home(root)}/bin/nvcc --version | tail -n 1")


def _marker(requirements: Sequence[str]) -> str:
    return json.dumps({"requirements": list(requirements)})


def _quoted(words: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
