"""What the launch renderers of all engines share: refusals, version numbers and the network's environment."""

import re

from moestro.errors import InvalidInput
from moestro.planning.plan import EngineChoice, Plan
from moestro.serving.launch import Endpoint, Node

ONLY_NODE = Node()
_SECRET_FLAGS = ("--api-key", "--admin-api-key", "--ssl-keyfile-password")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:\.?(?:post|rc)\d+)?")


def check(plan: Plan, endpoint: Endpoint, node: Node) -> None:
    """Refuse what no engine can be told.

    Raises:
        InvalidInput: a node outside the plan, a layout that does not divide over its nodes, a secret among the extra
            arguments, half a certificate, or FP8 as the computing dtype.
    """
    _check_nodes(plan, node)
    _check_certificates(endpoint)
    if plan.engine.dtype == "fp8":
        raise InvalidInput("dtype 'fp8' is no computing dtype: leave it 'auto' and choose an FP8 checkpoint instead")
    for argument in plan.engine.extra_args:
        if argument.split("=", 1)[0].replace("_", "-") in _SECRET_FLAGS:
            raise InvalidInput(f"extra argument '{argument.split('=', 1)[0]}' would show a secret in the process list")


def _check_nodes(plan: Plan, node: Node) -> None:
    layout = plan.layout
    if node.count != layout.nodes or not 0 <= node.rank < node.count:
        raise InvalidInput(f"node {node.rank} of {node.count} is not in a plan over {layout.nodes} nodes")
    if layout.gpus % layout.nodes:
        raise InvalidInput(f"layout {layout} has {layout.gpus} GPUs, which do not divide over {layout.nodes} nodes")


def _check_certificates(endpoint: Endpoint) -> None:
    if (endpoint.certificate is None) != (endpoint.private_key is None):
        raise InvalidInput("a certificate and its private key belong together: set both of the endpoint or neither")
    if endpoint.authority and not endpoint.certificate:
        raise InvalidInput("an authority for client certificates needs the endpoint's own certificate too")


def version_tuple(version: str) -> tuple[int, int, int]:
    """The release number as integers; post releases and release candidates count as their release.

    Raises:
        InvalidInput: the text is no version such as 0.33.0.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise InvalidInput(f"engine version '{version}' is not of the form 0.33.0")
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


def sparse_attention(choice: EngineChoice) -> bool:
    """Whether the model has DeepSeek's sparse attention; those models alone have this tokenizer."""
    return choice.tokenizer_mode == "deepseek_v32"


def network_environment(node: Node, host_variable: str) -> dict[str, str]:
    """Which address and interface the ranks of several nodes use; nothing on one node."""
    if node.count == 1:
        return {}
    environment = {host_variable: node.own_address}
    if node.network_interface:
        environment["NCCL_SOCKET_IFNAME"] = node.network_interface
        environment["GLOO_SOCKET_IFNAME"] = node.network_interface
    return environment


def option(name: str, value: object) -> tuple[str, ...]:
    """``(name, value)``, or nothing for a value of None."""
    return () if value is None else (name, str(value))


def parallel_sizes(flags: dict[str, int]) -> tuple[str, ...]:
    """The parallel sizes that differ from 1, which is every engine's default."""
    return tuple(part for flag, size in flags.items() if size > 1 for part in (flag, str(size)))
