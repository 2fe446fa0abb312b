"""What Moestro relies on in SGLang beyond its options: tried with the code of its wheel, or read from it."""

import ast
import asyncio
import importlib.util
import re
import ssl
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import uvicorn

from moestro.hosts.activity import COMPUTED, IN_FLIGHT
from moestro.serving import sglang
from moestro.serving.engines import Keyed, engine
from tests.contract.serving.oracles import ask_sglang, sglang_source
from tests.integration.gateway.pki import Authority
from tests.unit.serving.plans import TLS_ENDPOINT, plan

KEY = "engine-key_0123456789~"


@pytest.fixture(scope="module")
def srt() -> Path:
    return sglang_source() / "sglang" / "srt"


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    """A launch with its key, the files written as on a host."""
    launch = sglang.render(plan(engine="sglang", version="0.5.23"), TLS_ENDPOINT)
    made = engine("sglang").keyed(launch, str(tmp_path), KEY)
    for path, text in made.files.items():
        Path(path).write_text(text)
    return made


class TestKey:
    def test_the_parser_takes_it_from_the_file_beside_all_arguments(self, keyed: Keyed) -> None:
        verdict = ask_sglang([{"name": "line", "argv": keyed.launch.argv[2:]}])["line"]

        assert verdict.error is None
        assert verdict.parsed["api_key"] == KEY
        assert verdict.parsed["tp_size"] == 8
        assert verdict.parsed["enable_metrics"] is True

    @pytest.mark.parametrize("key", ["0123", "1e5", "true", "null", "a:b", "x" * 300, "'\"#&*!|>%@`"])
    def test_no_key_is_misread(self, tmp_path: Path, key: str) -> None:
        launch = sglang.render(plan(engine="sglang", version="0.5.23"), TLS_ENDPOINT)
        made = engine("sglang").keyed(launch, str(tmp_path), key)
        (tmp_path / "engine.yaml").write_text(made.files[f"{tmp_path}/engine.yaml"])

        verdict = ask_sglang([{"name": "line", "argv": made.launch.argv[2:]}])["line"]

        assert (verdict.error, verdict.parsed.get("api_key")) == (None, key)

    def test_the_real_server_reads_the_file_where_the_parser_was_built_without_torch(self, srt: Path) -> None:
        prepare = _source_of(srt / "server_args.py", "prepare_server_args")

        assert 'if "--config" in argv' in prepare
        assert "merge_config_with_args(argv)" in prepare

    def test_no_environment_variable_would_do(self, srt: Path) -> None:
        """Should there be one some day, it is simpler than the file."""
        assert not re.search(r"SGLANG_(SERVER_)?API_KEY|SGLANG_CONFIG\b", (srt / "environ.py").read_text())

    @pytest.mark.parametrize("path", ["/v1/completions", "/v1/models", "/generate", "/server_info"])
    def test_it_guards_what_the_gateway_and_others_may_ask(self, srt: Path, path: str) -> None:
        assert not _admits(srt, path, None)
        assert not _admits(srt, path, "another")
        assert _admits(srt, path, KEY)

    @pytest.mark.parametrize("path", ["/health", "/health_generate", "/metrics"])
    def test_it_does_not_guard_what_the_warning_names(self, srt: Path, path: str) -> None:
        assert _admits(srt, path, None)


class TestLog:
    def test_the_line_with_the_key_is_silenced_and_others_are_not(self, keyed: Keyed) -> None:
        path = keyed.launch.env["SGLANG_LOGGING_CONFIG_PATH"]
        program = (
            "import json, logging, logging.config, sys\n"
            "logging.basicConfig(level='INFO', force=True)\n"
            "logging.config.dictConfig(json.load(open(sys.argv[1])))\n"
            "logging.getLogger('sglang.srt.entrypoints.engine').info('the key')\n"
            "logging.getLogger('sglang.srt.entrypoints.engine').error('an error')\n"
            "logging.getLogger('sglang.srt.managers.scheduler').info('load weight begin')\n"
        )
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)

        assert "the key" not in done.stderr
        assert "an error" in done.stderr
        assert "load weight begin" in done.stderr
        assert "the key" not in done.stdout

    def test_sglang_takes_the_file_before_it_says_the_line(self, srt: Path) -> None:
        configure = _source_of(srt / "utils" / "common.py", "configure_logger")
        launch = _source_of(srt / "entrypoints" / "engine.py", "_launch_subprocesses")

        assert 'os.getenv("SGLANG_LOGGING_CONFIG_PATH")' in configure
        assert "logging.config.dictConfig(custom_config)" in configure
        assert launch.index("configure_logger(server_args)") < launch.index("_server_args_for_logging")

    def test_no_other_module_logs_all_options(self, srt: Path) -> None:
        said = re.compile(
            r"(?:logger\.\w+|logging\.\w+|print)\((?:[^()]|\([^()]*\))*?"
            r"(?:_for_logging\(|\bserver_args=?(?:![rs])?\}|, (?:self\.)?server_args\)|resolved_dict\(|launch_command\b"
            r"|\bapi_key\b)"
        )
        found = {path.relative_to(srt).as_posix() for path in srt.rglob("*.py") if said.search(path.read_text())}

        assert found == {"entrypoints/engine.py"}
        assert "logger = logging.getLogger(__name__)" in (srt / "entrypoints" / "engine.py").read_text()


class TestClientCertificates:
    def test_the_authority_that_sglang_hands_to_its_server_demands_none(self, tmp_path: Path) -> None:
        authority = Authority()
        leaf = authority.issue("engine")
        files = {"crt": leaf.certificate, "key": leaf.key, "ca": authority.certificate}
        for name, text in files.items():
            (tmp_path / name).write_text(text)

        async def app(scope: Any, receive: Any, send: Any) -> None: ...

        config = uvicorn.Config(
            app,
            ssl_certfile=str(tmp_path / "crt"),
            ssl_keyfile=str(tmp_path / "key"),
            ssl_ca_certs=str(tmp_path / "ca"),
            log_config=None,
        )
        config.load()

        assert config.ssl
        assert config.ssl.verify_mode is ssl.CERT_NONE

    def test_sglang_has_no_option_that_demands_them(self, srt: Path) -> None:
        served = (srt / "entrypoints" / "http_server.py").read_text()
        options = (srt / "arg_groups" / "fields" / "serving.py").read_text()

        assert "ssl_ca_certs=get_serving().ssl_ca_certs" in served
        assert "cert_reqs" not in served + options
        assert "No MTLS supported" in served

    def test_an_authority_would_make_it_check_its_own_certificate_under_loopback(self, srt: Path) -> None:
        """Why the launch line has no --ssl-ca-certs: the warm-up request would fail, and with it the engine."""
        warmup = _source_of(srt / "entrypoints" / "http_server.py", "_execute_server_warmup")

        assert "return cfg.ssl_ca_certs" in _source_of(srt / "arg_groups" / "serving_hook.py", "ssl_verify_of")
        assert "verify=ssl_verify" in warmup
        assert 'host = "127.0.0.1"' in _source_of(srt / "server_args.py", "url")


class TestStop:
    def test_it_ends_after_its_last_request_and_not_before(self, srt: Path) -> None:
        manager = _Manager(requests=3)

        slept = asyncio.run(manager.watch(srt, after_each_sleep=manager.finish_one))

        assert manager.left_at_shutdown == 0
        assert slept == [5, 5, 5, 5]  # until it sees the signal, and for each of the requests

    def test_it_waits_without_limit_so_that_systemd_has_to_set_one(self, srt: Path) -> None:
        manager = _Manager(requests=1)

        with pytest.raises(TimeoutError):
            asyncio.run(manager.watch(srt, after_each_sleep=lambda: None, sleeps=1000))

        assert manager.left_at_shutdown is None

    def test_its_own_end_takes_less_than_systemd_grants(self, srt: Path) -> None:
        source = (srt / "managers" / "tokenizer_manager.py").read_text()
        watch = _source_of(srt / "managers" / "tokenizer_manager.py", "sigterm_watchdog")
        schedulers = int(_only(r"^_SCHEDULER_EXIT_TIMEOUT_SECS = (\d+)$", source))
        others = int(_only(r"kill_process_tree\(.*wait_timeout=(\d+)\)", watch))
        looks = [int(seconds) for seconds in re.findall(r"asyncio\.sleep\((\d+)\)", watch)]

        assert sum(looks) + schedulers + others <= engine("sglang").stop_grace_seconds

    def test_the_signal_is_its_own_and_not_its_servers(self, srt: Path) -> None:
        loop = _source_of(srt / "managers" / "tokenizer_manager.py", "auto_create_handle_loop")

        assert "loop.add_signal_handler(signal.SIGTERM, signal_handler.sigterm_handler)" in loop


class TestMetrics:
    @pytest.mark.parametrize("name", [name for name in (*IN_FLIGHT, *COMPUTED) if name.startswith("sglang:")])
    def test_are_there(self, srt: Path, name: str) -> None:
        assert f'name="{name}"' in (srt / "observability" / "metrics_collector.py").read_text()

    def test_tokens_are_counted_at_every_step(self, srt: Path) -> None:
        report = _source_of(srt / "managers" / "scheduler_components" / "metrics_reporter.py", "report_decode_stats")

        assert report.index("increment_realtime_tokens") < report.index("% self.decode_log_interval")

    def test_exist_where_they_are_enabled_alone(self, srt: Path) -> None:
        lifespan = _source_of(srt / "entrypoints" / "http_server.py", "lifespan")

        assert re.search(r"if get_observability\(\)\.enable_metrics:\s+add_prometheus_middleware\(app\)", lifespan)


class _Manager:
    """The tokenizer manager's own ``sigterm_watchdog``, on stand-ins for what is around it."""

    def __init__(self, requests: int) -> None:
        self.requests = {str(number): object() for number in range(requests)}
        self.left_at_shutdown: int | None = None
        self.signalled = False

    def finish_one(self) -> None:
        if self.signalled:
            self.requests.popitem()
        self.signalled = True

    async def watch(self, srt: Path, after_each_sleep: Any, sleeps: int = 100) -> list[float]:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) > sleeps:
                raise TimeoutError
            me.gracefully_exit = True
            after_each_sleep()

        def dispatch(_: object) -> None:
            self.left_at_shutdown = len(self.requests)

        me = SimpleNamespace(
            gracefully_exit=False,
            rid_to_state=self.requests,
            server_status="Up",
            asyncio_tasks=set(),
            _subprocess_watchdog=None,
            _dispatch_to_scheduler=dispatch,
            _server_stop_hook=lambda: None,
        )
        names = {
            "asyncio": SimpleNamespace(sleep=sleep, current_task=asyncio.current_task),
            "ServerStatus": SimpleNamespace(UnHealthy="UnHealthy"),
            "ShutdownReq": object,
            "collect_scheduler_processes": list,
            "get_bool_env_var": lambda _: False,
            "kill_process_tree": lambda *_, **__: None,
            "logger": SimpleNamespace(info=print, error=print, warning=print),
            "os": SimpleNamespace(getpid=lambda: 1),
            "time": SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None),
            "_SCHEDULER_EXIT_TIMEOUT_SECS": 15,
        }
        exec(_source_of(srt / "managers" / "tokenizer_manager.py", "sigterm_watchdog"), names)
        await names["sigterm_watchdog"](me)  # type: ignore[operator]
        return slept


def _admits(srt: Path, path: str, key: str | None) -> bool:
    auth = _module(srt / "utils" / "auth.py")
    decision = auth.decide_request_auth(
        method="POST",
        path=path,
        authorization_header=f"Bearer {key}" if key else None,
        api_key=KEY,
        admin_api_key=None,
        auth_level=auth.AuthLevel.NORMAL,
    )
    return bool(decision.allowed)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sglang_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _source_of(path: Path, name: str) -> str:
    """The source of the one function of that name, with its decorators left out."""
    text = path.read_text()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    [found] = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds) and node.name == name]
    lines = text.splitlines()[found.lineno - 1 : found.end_lineno]
    return "\n".join(line[found.col_offset :] for line in lines)


def _only(pattern: str, text: str) -> str:
    [found] = re.findall(pattern, text, re.MULTILINE)
    return str(found)
