"""A Python language host for Pulumi, for machines where the official one cannot be downloaded.

The engine starts this program, reads a port from its first line, and asks it over gRPC to run the Pulumi program and
the plugins written in Python. The runtime option ``virtualenv`` means what it means to the official host; the other
toolchains (uv, poetry) and code generation are left to the official one.
"""
# ruff: noqa: ARG002 - gRPC gives every method a request and a context, needed or not

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from importlib import import_module, metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty


def _without_initialisation(*packages: str) -> None:
    """Let submodules be imported while the packages' own ``__init__`` (0.2 s of imports for Pulumi) never runs."""
    for name in packages:
        parent = sys.modules.get(name.rpartition(".")[0])
        spec = PathFinder.find_spec(name, getattr(parent, "__path__", None))
        if spec is None or spec.submodule_search_locations is None:
            sys.exit(f"pulumi-language-python: {sys.executable} has no package {name!r}: run scripts/setup")
        module = ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = module


if TYPE_CHECKING:
    from pulumi.runtime.proto import language_pb2 as messages
    from pulumi.runtime.proto import language_pb2_grpc as service
    from pulumi.runtime.proto import plugin_pb2
else:
    _without_initialisation("pulumi", "pulumi.runtime")
    messages = import_module("pulumi.runtime.proto.language_pb2")
    service = import_module("pulumi.runtime.proto.language_pb2_grpc")
    plugin_pb2 = import_module("pulumi.runtime.proto.plugin_pb2")

MESSAGE_WAS_SHOWN = 32
"""Exit code of a program that has already told the user what went wrong."""
GRACE_SECONDS = 2.0
"""How long a child may take to end after SIGTERM, before SIGKILL."""
PARENT_VARIABLE = "MOESTRO_ENGINE_PID"
"""The launcher's note of who started it: an engine that is killed while Python starts is not its parent any more."""
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
CHUNK_BYTES = 65536


class LanguageHost(service.LanguageRuntimeServicer):
    """Serves ``pulumirpc.LanguageRuntime`` for Python programs and plugins."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()

    def Handshake(
        self, request: messages.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> messages.LanguageHandshakeResponse:
        self._engine = request.engine_address or self._engine
        return messages.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi"))

    def GetRequiredPlugins(
        self, request: messages.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> messages.GetRequiredPluginsResponse:
        return messages.GetRequiredPluginsResponse()

    def GetRequiredPackages(
        self, request: messages.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> messages.GetRequiredPackagesResponse:
        """None: the engine looks each plugin up when the program first uses it, and downloads nothing in advance."""
        return messages.GetRequiredPackagesResponse()

    def GetProgramDependencies(
        self, request: messages.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> messages.GetProgramDependenciesResponse:
        installed = metadata.distributions(path=_search_path(_python(request.info, context)))
        found = sorted((each.metadata["Name"], each.version) for each in installed)
        return messages.GetProgramDependenciesResponse(
            dependencies=[messages.DependencyInfo(name=name, version=version) for name, version in found]
        )

    def About(self, request: messages.AboutRequest, context: grpc.ServicerContext) -> messages.AboutResponse:
        executable = _python(request.info, context)
        shown = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False)
        return messages.AboutResponse(executable=executable, version=shown.stdout.strip().removeprefix("Python "))

    def InstallDependencies(
        self, request: messages.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.InstallDependenciesResponse]:
        """Installs nothing: scripts/setup does, from the lock file. Refuses when the environment is missing."""
        _python(request.info, context)
        return iter(())

    def Run(self, request: messages.RunRequest, context: grpc.ServicerContext) -> messages.RunResponse:
        python = _python(request.info, context)
        executor = shutil.which("pulumi-language-python-exec")
        if executor is None:
            _refuse(context, "pulumi-language-python-exec is not on PATH: run scripts/setup, then 'source scripts/env'")
        child = subprocess.Popen(
            [python, "-u", executor, *_program_arguments(request, self._engine)],
            cwd=request.pwd or None,
            env=_activated(dict(os.environ) | _configuration(request), python),
            stdin=subprocess.DEVNULL,
        )
        code = self._follow(child, context).wait()
        if code == MESSAGE_WAS_SHOWN:
            return messages.RunResponse(bail=True)
        return messages.RunResponse(error="" if code == 0 else f"the program ended with {_ending(code)}")

    def RunPlugin(
        self, request: messages.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.RunPluginResponse]:
        python = _python(request.info, context)
        child = subprocess.Popen(
            [python, "-u", request.info.program_directory, *request.args],
            cwd=request.pwd or None,
            env=_activated(dict(entry.split("=", 1) for entry in request.env if "=" in entry), python),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._follow(child, context)
        for name, chunk in _streams(child):
            out = name == "stdout"
            yield messages.RunPluginResponse(stdout=chunk) if out else messages.RunPluginResponse(stderr=chunk)
        yield messages.RunPluginResponse(exitcode=child.wait())

    def stop(self) -> None:
        """End every program and plugin that still runs."""
        for child in list(self._children):
            _end(child)

    def _follow(self, child: subprocess.Popen[bytes], context: grpc.ServicerContext) -> subprocess.Popen[bytes]:
        """The same child, ended when the engine cancels the call, hangs up or dies."""
        self._children.add(child)

        def ended() -> None:
            _end(child)
            self._children.discard(child)

        if not context.add_callback(ended):
            ended()
        return child


def main() -> None:
    """Serve until the engine interrupts or dies; print the port first, as the engine expects."""
    parent = int(os.environ.get(PARENT_VARIABLE) or os.getppid())
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    host = LanguageHost(engine=sys.argv[-1] if len(sys.argv) > 1 else "")
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=UNLIMITED)
    service.add_LanguageRuntimeServicer_to_server(host, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    while not stopping.wait(timeout=1.0) and os.getppid() == parent:
        pass
    host.stop()
    server.stop(grace=0).wait()
    os._exit(0)  # threads of calls in flight have nobody left to answer


def _python(info: messages.ProgramInfo, context: grpc.ServicerContext) -> str:
    """The interpreter that the runtime options ask for."""
    options = dict(info.options)
    toolchain = options.get("toolchain") or "pip"
    if toolchain != "pip":
        _refuse(context, f"runtime option toolchain: {toolchain!r} needs the official Pulumi CLI; use 'pip'")
    virtualenv = str(options.get("virtualenv") or "")
    if not virtualenv:
        return shutil.which(os.environ.get("PULUMI_PYTHON_CMD") or "python3") or sys.executable
    python = Path(os.path.normpath(Path(info.root_directory, virtualenv))) / "bin" / "python"
    if not python.is_file():
        _refuse(context, f"runtime option virtualenv: {virtualenv!r}: there is no {python}: run scripts/setup")
    return str(python)


def _refuse(context: grpc.ServicerContext, message: str) -> NoReturn:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
    raise AssertionError("abort always raises")


def _program_arguments(request: messages.RunRequest, engine: str) -> list[str]:
    """The command line of ``pulumi-language-python-exec``."""
    options = {
        "monitor": request.monitor_address,
        "engine": engine,
        "project": request.project,
        "root_directory": request.info.root_directory,
        "stack": request.stack,
        "pwd": request.pwd,
        "dry_run": "true" if request.dryRun else "",
        "parallel": str(request.parallel),
        "organization": request.organization,
    }
    given = [text for name, value in options.items() if value for text in (f"--{name}", value)]
    program = os.path.normpath(Path(request.info.program_directory, request.info.entry_point))
    return [*given, program, *request.args]


def _configuration(request: messages.RunRequest) -> dict[str, str]:
    secret_keys = json.dumps(list(request.configSecretKeys))
    return {"PULUMI_CONFIG": json.dumps(dict(request.config)), "PULUMI_CONFIG_SECRET_KEYS": secret_keys}


def _activated(environment: dict[str, str], python: str) -> dict[str, str]:
    """The environment with the interpreter's virtual environment in front, where it belongs to one."""
    home = Path(python).parent.parent
    if not (home / "pyvenv.cfg").is_file():
        return environment
    environment.pop("PYTHONHOME", None)
    path = os.pathsep.join(filter(None, [str(home / "bin"), environment.get("PATH", "")]))
    return environment | {"VIRTUAL_ENV": str(home), "PATH": path}


def _search_path(python: str) -> list[str]:
    asked = [python, "-I", "-c", "import json, sys; print(json.dumps(sys.path))"]
    found: list[str] = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    return found


def _streams(child: subprocess.Popen[bytes]) -> Iterator[tuple[str, bytes]]:
    """What the child writes, as it writes it, as ("stdout" or "stderr", bytes), until it has closed both."""
    written: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def forward(name: str, pipe: IO[bytes]) -> None:
        while chunk := os.read(pipe.fileno(), CHUNK_BYTES):
            written.put((name, chunk))
        written.put((name, b""))

    pipes: dict[str, Any] = {"stdout": child.stdout, "stderr": child.stderr}
    for name, pipe in pipes.items():
        threading.Thread(target=forward, args=(name, pipe), daemon=True).start()
    while pipes:
        name, chunk = written.get()
        if chunk:
            yield name, chunk
        else:
            pipes.pop(name).close()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child: politely, then for certain. Nothing happens to one that has ended."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


if __name__ == "__main__":
    main()
