"""What sets the engines apart beyond their launch lines: how each gets its API key, whom it lets in, how it ends.

vLLM: ``vllm/envs.py``. SGLang 0.5.23: ``sglang/srt/utils/server_args_config_parser.py`` (the key's file),
``entrypoints/http_server.py`` ("No MTLS supported for now"), ``managers/tokenizer_manager.py`` (``sigterm_watchdog``).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import yaml

from moestro.errors import InvalidInput
from moestro.planning.plan import EngineChoice, Plan
from moestro.serving.arguments import sparse_attention
from moestro.serving.launch import Launch
from moestro.serving.systemd import environment_text

# How long an engine keeps an idle connection open. Its server's own 5 s are too near to nginx's 4 s: one short of
# cores looks at its clock before it looks at what has arrived, and closes on a request that came in time.
KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True, slots=True)
class Keyed:
    """A launch whose process finds its API key in a file.

    Attributes:
        launch: the process; names files, holds no key.
        files: path -> text; ``.env`` is for root alone, ``.yaml`` for the engine's user, ``.json`` holds no secret.
        environment_file: which of the files systemd reads as environment; None where the engine reads its own.
    """

    launch: Launch
    files: Mapping[str, str] = field(repr=False)
    environment_file: str | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of engine.

    Attributes:
        client_certificates: whether it can refuse callers without a certificate of the stack's authority.
        stop_grace_seconds: how long it may take to end after the time for its running requests is over.
        keyed: (launch, directory of the service on the host, API key) -> how it gets the key.
        warnings: what a plan that serves with it must say.
    """

    client_certificates: bool
    stop_grace_seconds: int
    keyed: Callable[[Launch, str, str], Keyed]
    warnings: tuple[str, ...] = ()


def engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        InvalidInput: there is none.
    """
    if name not in _ENGINES:
        raise InvalidInput(f"engine '{name}' is unknown: use {' or '.join(_ENGINES)}")
    return _ENGINES[name]


def compiles_deep_gemm(choice: EngineChoice) -> bool:
    """Whether the engine compiles DeepGEMM kernels on its host, which takes nvcc there.

    They are the MoE layers' where DeepGEMM runs them, and the indexer's of DeepSeek's sparse attention in any case.
    """
    return choice.device == "cuda" and (choice.use_deep_gemm or sparse_attention(choice))


def with_warnings(plan: Plan) -> Plan:
    """The plan, saying also what its engine cannot do for a deployment."""
    return replace(plan, warnings=(*plan.warnings, *engine(plan.engine.engine).warnings))


def _keyed_vllm(launch: Launch, directory: str, api_key: str) -> Keyed:
    path = f"{directory}/engine.env"
    environment = {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS)} | launch.env
    return Keyed(Launch(launch.argv, environment), {path: environment_text({"VLLM_API_KEY": api_key})}, path)


def _keyed_sglang(launch: Launch, directory: str, api_key: str) -> Keyed:
    """SGLang has no variable for its key, and it logs all its options when it starts: one line is kept from its log."""
    if any(word.split("=", 1)[0] == "--config" for word in launch.argv):
        raise InvalidInput("SGLang reads one --config, which holds its API key: give the other options as arguments")
    options, logging = f"{directory}/engine.yaml", f"{directory}/logging.json"
    argv = (*launch.argv, "--config", options)
    environment = {"SGLANG_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS)} | launch.env
    return Keyed(
        Launch(argv, environment | {"SGLANG_LOGGING_CONFIG_PATH": logging}),
        {options: _sglang_options(api_key), logging: json.dumps(_SGLANG_LOGGING, indent=2) + "\n"},
    )


def _sglang_options(api_key: str) -> str:
    # SGLang's parser would take "-x" for an option, and its comparison of keys takes ASCII alone.
    if not re.fullmatch(r"[!-,.-~][!-~]*", api_key):
        raise InvalidInput("SGLang's API key must be of printable ASCII without spaces, and not begin with '-'")
    return yaml.safe_dump({"api-key": api_key}, width=float("inf"))


_SGLANG_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "[%(asctime)s %(processName)s] %(message)s", "datefmt": "%Y-%m-%d %H:%M:%S"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        # "server_args={...}", the API key among them, is this module's.
        "sglang.srt.entrypoints.engine": {"level": "WARNING"},
        # What SGLang itself silences where it has no such file.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
    },
}

_ENGINES = {
    "vllm": Engine(client_certificates=True, stop_grace_seconds=30, keyed=_keyed_vllm),
    "sglang": Engine(
        client_certificates=False,
        # It looks for SIGTERM and for its last request every 5 s, gives schedulers 15 s, and the rest 60 s.
        stop_grace_seconds=90,
        keyed=_keyed_sglang,
        warnings=(
            "SGLang cannot demand client certificates: its port is guarded by TLS, the API key and, where the host has "
            "an active ufw, the firewall; /health and /metrics answer without a key",
        ),
    ),
}
