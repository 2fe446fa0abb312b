"""SGLang's own argument parser, built from its wheel without torch and without a GPU.

Every field of ``sglang.srt.arg_groups.fields`` declares its flag, type and choices, and ``add_cli_args_from_dataclass``
registers them. These modules are imported for real; everything else of SGLang, and torch, is an empty stand-in.
Run as ``python sglang_parser.py DIRECTORY`` with launch lines as JSON on stdin (see vllm_parser.py).
"""

import argparse
import importlib
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

REAL = (
    "sglang.srt.arg_groups",
    "sglang.srt.model_executor.cuda_graph_config",
    "sglang.srt.utils.server_args_config_parser",
)


class Refused(Exception):
    pass


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise Refused(message)


class StandIn(types.ModuleType):
    """Something harmless for every name: a list for CONSTANTS, a class for Classes, identity for functions."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.isupper():
            return []
        if name[0].isupper():
            return type(name, (), {})
        return int if name.endswith("_int") else (lambda text: text)


class Finder:
    """Imports ``torch`` and the rest of SGLang as stand-ins whose submodules can still be the real ones."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        package = name.partition(".")[0]
        if package not in ("torch", "sglang") or name.startswith(REAL):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = StandIn(spec.name)
        module.__path__ = [str(self._root.joinpath(*spec.name.split(".")))]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def build(root: Path) -> Parser:
    """The parser of the SGLang unpacked at ``root``."""
    sys.meta_path.insert(0, Finder(root))  # type: ignore[arg-type]
    add = importlib.import_module("sglang.srt.arg_groups.arg_utils").add_cli_args_from_dataclass
    parser = Parser(prog="sglang serve", allow_abbrev=False)
    for path in sorted((root / "sglang/srt/arg_groups/fields").glob("[!_]*.py")):
        module = importlib.import_module(f"sglang.srt.arg_groups.fields.{path.stem}")
        for declared in list(vars(module).values()):
            if getattr(declared, "_NS_PATH", None) and declared.__module__ == module.__name__:
                add(parser, declared)
    parser.add_argument("--config")
    return parser


def check(parser: Parser, line: dict[str, Any]) -> dict[str, Any]:
    try:
        parsed = vars(parser.parse_args(merged(parser, line["argv"])))
    except Refused as error:
        return {"name": line["name"], "error": str(error), "parsed": {}}
    return {"name": line["name"], "error": None, "parsed": {k: v for k, v in parsed.items() if not callable(v)}}


def merged(parser: Parser, argv: list[str]) -> list[str]:
    """The arguments with those of the configuration file, as ``prepare_server_args`` does it."""
    if "--config" not in argv:
        return argv
    merger = importlib.import_module("sglang.srt.utils.server_args_config_parser").ConfigArgumentMerger
    return list(merger(parser).merge_config_with_args(argv))


if __name__ == "__main__":
    built = build(Path(sys.argv[1]))
    json.dump([check(built, line) for line in json.load(sys.stdin)], sys.stdout, default=str)
