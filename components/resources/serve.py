"""What serves: engines and the gateway before them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi import Input, Output, ResourceOptions

from components.resources.base import Attribute, Resource


class Engine(Resource):
    """The systemd unit of one inference server, proven ready by a real completion."""

    token = "moestro:serve:Engine"
    outputs = ("unit", "url", "state", "readySeconds")
    secret_outputs = ("apiKey", "privateKeyPem")
    unit = Attribute[str]("unit")
    url = Attribute[str]("url")
    state = Attribute[str]("state")
    ready_seconds = Attribute[float]("readySeconds")

    def __init__(
        self,
        name: str,
        *,
        host: Input[Mapping[str, Any]],
        service: Input[str],
        replica: Input[str],
        served_name: Input[str],
        argv: Input[Sequence[Input[str]]],
        env: Input[Mapping[str, Input[str]]],
        api_key: Input[str],
        certificate_pem: Input[str],
        private_key_pem: Input[str],
        authority_pem: Input[str],
        port: Input[int],
        engine: Input[str],
        version: Input[str],
        ready_timeout_seconds: Input[int],
        shutdown_timeout_seconds: Input[int],
        gateway: Input[Mapping[str, Any]] | None = None,
        max_unavailable: Input[int] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "host": host,
            "service": service,
            "replica": replica,
            "servedName": served_name,
            "argv": argv,
            "env": env,
            "apiKey": Output.secret(api_key),
            "certificatePem": certificate_pem,
            "privateKeyPem": Output.secret(private_key_pem),
            "authorityPem": authority_pem,
            "port": port,
            "engine": engine,
            "version": version,
            "readyTimeoutSeconds": ready_timeout_seconds,
            "shutdownTimeoutSeconds": shutdown_timeout_seconds,
            "gateway": gateway,
            "maxUnavailable": max_unavailable,
        }
        super().__init__(name, inputs, opts)


class Gateway(Resource):
    """nginx in front of a service's replicas: upstreams, TLS, users' keys, limits."""

    token = "moestro:gateway:Gateway"
    outputs = ("url", "configDigest")
    secret_outputs = ("apiKeys", "engineApiKey", "privateKeyPem")
    url = Attribute[str]("url")
    config_digest = Attribute[str]("configDigest")

    def __init__(
        self,
        name: str,
        *,
        host: Input[Mapping[str, Any]],
        service: Input[str],
        served_name: Input[str],
        upstreams: Input[Sequence[Input[Mapping[str, Any]]]],
        api_keys: Input[Mapping[str, Input[str]]],
        engine_api_key: Input[str],
        certificate_pem: Input[str],
        private_key_pem: Input[str],
        authority_pem: Input[str],
        listen_port: Input[int],
        tls: Input[Mapping[str, Input[str]]] | None = None,
        read_timeout_seconds: Input[int] | None = None,
        max_body_mb: Input[int] | None = None,
        requests_per_second_per_key: Input[float] | None = None,
        connections_per_key: Input[int] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "host": host,
            "service": service,
            "servedName": served_name,
            "upstreams": upstreams,
            "apiKeys": Output.secret(api_keys),
            "engineApiKey": Output.secret(engine_api_key),
            "certificatePem": certificate_pem,
            "privateKeyPem": Output.secret(private_key_pem),
            "authorityPem": authority_pem,
            "listenPort": listen_port,
            "tls": tls,
            "readTimeoutSeconds": read_timeout_seconds,
            "maxBodyMb": max_body_mb,
            "requestsPerSecondPerKey": requests_per_second_per_key,
            "connectionsPerKey": connections_per_key,
        }
        super().__init__(name, inputs, opts)
