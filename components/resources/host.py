"""What is put on a host before anything serves."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi import Input, ResourceOptions

from components.resources.base import Attribute, Resource


class Runtime(Resource):
    """What an engine needs on one host: driver, CUDA, Python, the engine itself."""

    token = "moestro:host:Runtime"
    outputs = (
        "enginePath",
        "engineVersion",
        "os",
        "cpus",
        "memoryGib",
        "gpus",
        "driverVersion",
        "cudaVersion",
    )
    engine_path = Attribute[str]("enginePath")
    engine_version = Attribute[str]("engineVersion")
    os = Attribute[str]("os")
    cpus = Attribute[int]("cpus")
    memory_gib = Attribute[float]("memoryGib")
    gpus = Attribute[Sequence[str]]("gpus")
    driver_version = Attribute[str | None]("driverVersion")
    cuda_version = Attribute[str | None]("cudaVersion")

    def __init__(
        self,
        name: str,
        *,
        host: Input[Mapping[str, Any]],
        device: Input[str],
        engine: Input[str],
        engine_version: Input[str],
        deep_gemm: Input[bool] | None = None,
        packages: Input[Sequence[Input[str]]] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "host": host,
            "device": device,
            "engine": engine,
            "engineVersion": engine_version,
            "deepGemm": deep_gemm,
            "packages": packages,
        }
        super().__init__(name, inputs, opts)


class Weights(Resource):
    """A model's files on one host: a repository at a revision, or a directory of the operator's machine."""

    token = "moestro:host:Weights"
    outputs = ("path", "bytes", "digest")
    path = Attribute[str]("path")
    bytes = Attribute[int]("bytes")
    digest = Attribute[str]("digest")

    def __init__(
        self,
        name: str,
        *,
        host: Input[Mapping[str, Any]],
        repo: Input[str] | None = None,
        revision: Input[str] | None = None,
        source: Input[str] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, {"host": host, "repo": repo, "revision": revision, "source": source}, opts)
