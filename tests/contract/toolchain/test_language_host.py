"""The language host against the engine's side of the contract: started, asked and interrupted as the engine does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2 as messages
from pulumi.runtime.proto.language_pb2_grpc import LanguageRuntimeStub

CHECKOUT = Path(__file__).parents[3]
HOST = [sys.executable, "-I", str(CHECKOUT / "scripts/toolchain/language_host.py"), "127.0.0.1:1"]
REPORTER = """\
import json, os, sys
keys = ("PULUMI_CONFIG", "PULUMI_CONFIG_SECRET_KEYS", "VIRTUAL_ENV")
seen = {"arguments": sys.argv[1:], "directory": os.getcwd()} | {key: os.environ[key] for key in keys}
open(os.environ["REPORT"], "w").write(json.dumps(seen))
"""
PLUGIN = """\
import os, sys, time
sys.stdout.write("51234\\n")
print(sys.argv[1:], os.environ["COLOUR"], os.getcwd(), file=sys.stderr)
open("pid", "w").write(str(os.getpid()))
if "stay" in sys.argv: time.sleep(60)
sys.exit(7)
"""


class Host:
    """A running language host and the engine's client of it."""

    def __init__(self, directory: Path, command: list[str] = HOST) -> None:
        self.directory = directory
        environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "REPORT": str(directory / "report")}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=directory,
        )
        assert self.process.stdout
        self.channel = grpc.insecure_channel(f"127.0.0.1:{int(self.process.stdout.readline())}")
        self.stub = LanguageRuntimeStub(self.channel)

    def info(self, **options: str) -> messages.ProgramInfo:
        struct = Struct()
        struct.update({"virtualenv": sys.prefix} | options)
        root = str(self.directory)
        return messages.ProgramInfo(root_directory=root, program_directory=root, entry_point=".", options=struct)

    def run(self, executor: str, **fields: object) -> messages.RunResponse:
        """Run a program with an executor of these lines in the place of Pulumi's own."""
        path = self.directory / "pulumi-language-python-exec"
        path.write_text(executor)
        path.chmod(0o755)
        response: messages.RunResponse = self.stub.Run(
            messages.RunRequest(**{"info": self.info(), **fields}), timeout=20
        )
        return response

    def run_plugin(self, *arguments: str) -> grpc.Call:
        (self.directory / "__main__.py").write_text(PLUGIN)
        request = messages.RunPluginRequest(
            pwd=str(self.directory), args=arguments, env=["COLOUR=blue=green"], info=self.info()
        )
        call: grpc.Call = self.stub.RunPlugin(request, timeout=20)
        return call

    def close(self) -> None:
        self.channel.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    started = Host(tmp_path)
    yield started
    started.close()


def has_ended(pid: int, within_seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


class TestRun:
    def test_gives_the_program_its_arguments_configuration_and_environment(self, host: Host) -> None:
        host.stub.Handshake(messages.LanguageHandshakeRequest(engine_address="127.0.0.1:5"))
        response = host.run(
            REPORTER,
            project="shop",
            stack="dev",
            pwd="/",
            dryRun=True,
            parallel=64,
            monitor_address="127.0.0.1:6",
            organization="acme",
            config={"shop:size": "3"},
            configSecretKeys=["shop:token"],
            args=["more"],
        )
        seen = json.loads((host.directory / "report").read_text())
        assert (response.error, response.bail) == ("", False)
        assert " ".join(seen["arguments"]) == (
            f"--monitor 127.0.0.1:6 --engine 127.0.0.1:5 --project shop --root_directory {host.directory} --stack dev "
            f"--pwd / --dry_run true --parallel 64 --organization acme {host.directory} more"
        )
        assert json.loads(seen["PULUMI_CONFIG"]) == {"shop:size": "3"}
        assert json.loads(seen["PULUMI_CONFIG_SECRET_KEYS"]) == ["shop:token"]
        assert seen["VIRTUAL_ENV"] == sys.prefix
        assert seen["directory"] == "/"

    def test_update_passes_no_dry_run(self, host: Host) -> None:
        host.run(REPORTER, dryRun=False)
        assert "--dry_run" not in (host.directory / "report").read_text()

    @pytest.mark.parametrize(
        ("executor", "error", "bail"),
        [
            ("import sys; sys.exit(32)", "", True),
            ("import sys; sys.exit(3)", "the program ended with exit code 3", False),
            ("import os; os.kill(os.getpid(), 9)", "the program ended with signal SIGKILL", False),
        ],
    )
    def test_tells_how_the_program_ended(self, host: Host, executor: str, error: str, bail: bool) -> None:
        response = host.run(executor)
        assert (response.error, response.bail) == (error, bail)

    def test_finds_a_virtualenv_relative_to_the_root(self, host: Host) -> None:
        environment = host.directory / "envs" / "here"
        (environment / "bin").mkdir(parents=True)
        (environment / "pyvenv.cfg").touch()
        (environment / "bin" / "python").symlink_to(sys.executable)
        host.run(REPORTER, info=host.info(virtualenv="envs/../envs/here"))
        assert json.loads((host.directory / "report").read_text())["VIRTUAL_ENV"] == str(environment)

    @pytest.mark.parametrize(
        ("options", "named"),
        [({"virtualenv": "absent"}, "virtualenv: 'absent': there is no "), ({"toolchain": "uv"}, "toolchain: 'uv'")],
    )
    def test_refuses_options_that_it_cannot_keep(self, host: Host, options: dict[str, str], named: str) -> None:
        with pytest.raises(grpc.RpcError) as refused:
            host.run(REPORTER, info=host.info(**options))
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert named in refused.value.details()

    def test_ends_the_program_when_the_engine_hangs_up(self, host: Host) -> None:
        pid_file = host.directory / "program-pid"
        lines = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        path = host.directory / "pulumi-language-python-exec"
        path.write_text(lines)
        path.chmod(0o755)
        running = host.stub.Run.future(messages.RunRequest(info=host.info()))
        pid = read_pid(pid_file)
        assert running.running()
        host.channel.close()
        assert has_ended(pid)


class TestRunPlugin:
    def test_streams_both_outputs_and_the_exit_code(self, host: Host) -> None:
        written = {"stdout": b"", "stderr": b"", "exitcode": b""}
        for response in host.run_plugin("--flag"):
            kind = response.WhichOneof("output")
            written[kind] += str(response.exitcode).encode() if kind == "exitcode" else getattr(response, kind)
        assert written["stdout"] == b"51234\n"
        assert written["stderr"].decode() == f"['--flag'] blue=green {host.directory}\n"
        assert written["exitcode"] == b"7"

    def test_streams_while_the_plugin_runs_and_ends_it_when_cancelled(self, host: Host) -> None:
        call = host.run_plugin("stay")
        first = next(response.stdout for response in call if response.stdout)
        pid = read_pid(host.directory / "pid")
        assert first == b"51234\n"
        assert not has_ended(pid, within_seconds=0.1)
        call.cancel()
        assert has_ended(pid)


class TestEnding:
    def test_interrupt_is_silent_and_takes_the_plugins_along(self, host: Host) -> None:
        call = host.run_plugin("stay")
        next(call)
        pid = read_pid(host.directory / "pid")
        host.process.send_signal(signal.SIGINT)
        output, errors = host.process.communicate(timeout=10)
        assert (host.process.returncode, output, errors) == (0, b"", b"")
        assert has_ended(pid)

    def test_does_not_outlive_a_killed_engine(self, tmp_path: Path) -> None:
        engine = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen(sys.argv[1:])\n"
            "open('host-pid', 'w').write(str(child.pid))\n"
            "time.sleep(60)"
        )
        started = Host(tmp_path, [sys.executable, "-c", engine, *HOST])
        try:
            pid = read_pid(tmp_path / "host-pid")
            started.process.kill()
            assert has_ended(pid)
        finally:
            started.close()


class TestQuestions:
    def test_version_is_the_sdks(self, host: Host) -> None:
        assert host.stub.GetPluginInfo(Empty()).version == metadata.version("pulumi")

    def test_about_names_the_interpreter(self, host: Host) -> None:
        about = host.stub.About(messages.AboutRequest(info=host.info()))
        assert about.executable == f"{sys.prefix}/bin/python"
        assert about.version == ".".join(map(str, sys.version_info[:3]))

    def test_lists_what_the_program_could_import(self, host: Host) -> None:
        answer = host.stub.GetProgramDependencies(messages.GetProgramDependenciesRequest(info=host.info()))
        assert ("pulumi", metadata.version("pulumi")) in {(each.name, each.version) for each in answer.dependencies}

    def test_requires_no_plugin_in_advance(self, host: Host) -> None:
        assert not host.stub.GetRequiredPackages(messages.GetRequiredPackagesRequest(info=host.info())).packages

    def test_leaves_installing_to_setup(self, host: Host) -> None:
        assert not list(host.stub.InstallDependencies(messages.InstallDependenciesRequest(info=host.info())))
        with pytest.raises(grpc.RpcError, match="scripts/setup"):
            list(host.stub.InstallDependencies(messages.InstallDependenciesRequest(info=host.info(virtualenv="no"))))


def read_pid(path: Path) -> int:
    """The process id in the file, once it has been written."""
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"nothing was written to {path}"
        time.sleep(0.02)
    return int(path.read_text())
