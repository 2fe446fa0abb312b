"""Runs inside the host image: gives launch lines to vLLM's own parser and checks, and says what it found.

Reads ``[{"name", "argv", "config"?}, ...]`` on stdin, ``argv`` after ``vllm serve``; writes the same list with
``error`` (None when accepted) and ``parsed`` (the values that vLLM read). With ``config`` (a model's config.json)
vLLM's rules for the model under this layout are applied too.
"""

import contextlib
import json
import os
import sys
import tempfile
from typing import Any

from vllm import AsyncEngineArgs
from vllm.config import ParallelConfig
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

READ = (
    "model_tag",
    "served_model_name",
    "host",
    "port",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "decode_context_parallel_size",
    "enable_expert_parallel",
    "kv_cache_dtype",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "gpu_memory_utilization",
    "enforce_eager",
    "enable_prefix_caching",
    "shutdown_timeout",
    "headless",
    "nnodes",
    "node_rank",
    "ssl_cert_reqs",
)


class Refused(Exception):
    pass


class Parser(FlexibleArgumentParser):
    def error(self, message: str) -> Any:
        raise Refused(message)


def check(parser: FlexibleArgumentParser, line: dict[str, Any]) -> dict[str, Any]:
    try:
        args = parser.parse_args(line["argv"])
        validate_parsed_serve_args(args)
        if "config" in line:
            check_model(args, line["config"])
    except Exception as error:
        return {"name": line["name"], "error": f"{type(error).__name__}: {error}", "parsed": {}}
    return {"name": line["name"], "error": None, "parsed": {name: getattr(args, name) for name in READ}}


def check_model(args: Any, config: dict[str, Any]) -> None:
    """vLLM's own checks of the model's shape against the parallel sizes; weights' formats need a GPU: left out."""
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "config.json"), "w") as file:
            json.dump(plain, file)
        args.model, args.quantization, args.skip_tokenizer_init = directory, None, True
        model = AsyncEngineArgs.from_cli_args(args).create_model_config()
        model.verify_with_parallel_config(
            ParallelConfig(
                tensor_parallel_size=args.tensor_parallel_size,
                pipeline_parallel_size=args.pipeline_parallel_size,
                decode_context_parallel_size=args.decode_context_parallel_size,
                enable_expert_parallel=args.enable_expert_parallel,
                distributed_executor_backend="external_launcher",
            )
        )


def main() -> None:
    lines = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        parser = make_arg_parser(Parser(prog="vllm serve"))
        found = [check(parser, line) for line in lines]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
