"""One replica: a machine, what the engine needs on it, the model's files, and the engine itself."""

from collections.abc import Mapping
from typing import Any

from pulumi import ComponentResource, Output, ResourceOptions

from components.identity import Identity
from components.machine import rent
from components.resources import Engine, Instance, Runtime, Weights
from moestro.declaration import local_directory
from moestro.hosts.layout import cuda_home, service_directory
from moestro.planning.plan import Plan
from moestro.serving.engines import compiles_deep_gemm, engine
from moestro.serving.launch import Endpoint
from moestro.serving.render import render
from moestro.settings import ModelSettings, Settings


class Replica(ComponentResource):
    """A machine that serves the model. Attributes: ``instance``, ``engine``, ``summary`` (for the stack's outputs)."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        plan: Plan,
        identity: Identity,
        gateway: Instance | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("moestro:components:Replica", name, None, opts)
        self.name, self._settings, self._plan, self._identity = name, settings, plan, identity
        self.instance = rent(
            name,
            settings,
            identity,
            gpu_type=settings.gpu.type,
            gpu_count=settings.gpu.count,
            opts=ResourceOptions(parent=self),
        )
        self._host = self.instance.connection(identity.key_pair.private_key)
        # The files of a host go with its machine: nothing to remove one by one when the machine itself is returned.
        self._on_host = ResourceOptions(parent=self, deleted_with=self.instance)
        self.engine = self._engine(self._runtime(), self._weights(), gateway or self.instance)
        self.summary = Output.all(
            name=name,
            machine=self.instance.name,
            address=self.instance.address,
            region=self.instance.region,
            machineState=self.instance.state,
            engineState=self.engine.state,
        )
        self.register_outputs({"address": self.instance.address, "url": self.engine.url})

    def _runtime(self) -> Runtime:
        choice = self._plan.engine
        return Runtime(
            f"{self.name}-runtime",
            host=self._host,
            device=choice.device,
            engine=choice.engine,
            engine_version=choice.version,
            deep_gemm=compiles_deep_gemm(choice),
            opts=self._on_host,
        )

    def _weights(self) -> Weights:
        model = self._settings.model
        return Weights(f"{self.name}-weights", host=self._host, **_source(model, self._plan), opts=self._on_host)

    def _engine(self, runtime: Runtime, weights: Weights, gateway: Instance) -> Engine:
        settings, identity = self._settings.engine, self._identity
        certificate = identity.certificate(self.name)
        launch = Output.all(runtime.engine_path, weights.path).apply(lambda known: self._launch(*known))
        return Engine(
            f"{self.name}-engine",
            host=self._host,
            service=self._settings.name,
            replica=self.name,
            served_name=served_name(self._settings, self._plan),
            argv=launch.apply(lambda it: it["argv"]),
            env=launch.apply(lambda it: it["env"]),
            api_key=identity.engine_key,
            certificate_pem=certificate.certificate_pem,
            private_key_pem=certificate.private_key_pem,
            authority_pem=identity.authority.certificate_pem,
            port=settings.port,
            engine=self._plan.engine.engine,
            version=self._plan.engine.version,
            ready_timeout_seconds=round(settings.ready_timeout_minutes * 60),
            shutdown_timeout_seconds=settings.shutdown_timeout_seconds,
            gateway=gateway.connection(identity.key_pair.private_key),
            max_unavailable=settings.max_unavailable,
            opts=self._on_host,
        )

    def _launch(self, program: str, model_path: str) -> Mapping[str, Any]:
        endpoint = endpoint_of(self._settings, self._plan, model_path)
        launch = render(self._plan, endpoint, program=program)
        # DeepGEMM compiles its kernels on the host with the nvcc that Runtime installed beside the engine.
        compiler = {"CUDA_HOME": cuda_home()} if compiles_deep_gemm(self._plan.engine) else {}
        return {"argv": list(launch.argv), "env": launch.env | compiler}


def endpoint_of(settings: Settings, plan: Plan, model_path: str) -> Endpoint:
    """Where an engine of this stack listens, under which name, and with which certificates on its host."""
    directory = service_directory(settings.name)
    return Endpoint(
        model_path=model_path,
        served_name=served_name(settings, plan),
        port=settings.engine.port,
        certificate=f"{directory}/engine.crt",
        private_key=f"{directory}/engine.key",
        authority=f"{directory}/authority.crt" if engine(plan.engine.engine).client_certificates else None,
        shutdown_timeout_seconds=settings.engine.shutdown_timeout_seconds,
    )


def served_name(settings: Settings, plan: Plan) -> str:
    """The name that clients put into ``model``."""
    return settings.model.served_name or plan.model


def _source(model: ModelSettings, plan: Plan) -> dict[str, str | None]:
    directory = local_directory(model)
    if directory is not None:
        return {"source": str(directory)}
    return {"repo": plan.model, "revision": model.revision or plan.revision}
