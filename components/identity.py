"""What a stack is known by: its id in the cloud's lists, its SSH key, its private authority and its keys."""

import hashlib
from collections.abc import Mapping

import pulumi
from pulumi import ComponentResource, Output, ResourceOptions

from components.resources import Authority, Certificate, KeyPair, SshKey, Token
from moestro.serving.names import engine_name
from moestro.settings import Settings


class Identity(ComponentResource):
    """Keys and certificates of one stack, made once and kept encrypted in its state."""

    def __init__(self, name: str, settings: Settings, opts: ResourceOptions | None = None) -> None:
        super().__init__("moestro:components:Identity", name, None, opts)
        self._name, self._service = name, settings.name
        self._child = ResourceOptions(parent=self)
        self.stack_id = _stack_id(Token(f"{name}-id", bytes=16, opts=self._child))
        self.key_pair = KeyPair(f"{name}-ssh", comment=settings.name, opts=self._child)
        self.authority = Authority(
            f"{name}-authority", common_name=f"{settings.name} private authority", opts=self._child
        )
        self.engine_key: Output[str] = Token(f"{name}-engine-key", opts=self._child).value
        self.user_keys = self._user_keys(settings)
        self.ssh_key = SshKey(
            f"{name}-key",
            cloud=settings.cloud.name,
            name=self.prefixed(settings.name),
            public_key=self.key_pair.public_key,
            opts=self._child,
        )
        self.register_outputs({"stackId": self.stack_id, "publicKey": self.key_pair.public_key})

    def prefixed(self, text: str) -> Output[str]:
        """``text`` with the stack's own id, so that two people's stacks never take each other's machines."""
        return Output.concat(text, "-", self.stack_id)

    def certificate(self, holder: str) -> Certificate:
        """A certificate of the stack's authority, for the mutual TLS between the gateway and the engines."""
        return Certificate(
            f"{self._name}-{holder}-certificate",
            authority_certificate_pem=self.authority.certificate_pem,
            authority_private_key_pem=self.authority.private_key_pem,
            common_name=holder,
            names=[holder, engine_name(self._service)],
            opts=self._child,
        )

    def _user_keys(self, settings: Settings) -> Mapping[str, Output[str]]:
        declared = settings.gateway.api_keys
        if declared:
            return {user: Output.secret(key.get_secret_value()) for user, key in declared.items()}
        return {"default": Token(f"{self._name}-user-key", prefix="sk-", opts=self._child).value}


def _stack_id(token: Token) -> Output[str]:
    """Eight hexadecimal digits that tell this stack from others; a digest, so that no secret shows in a list."""
    digest = token.value.apply(lambda value: hashlib.sha256(value.encode()).hexdigest()[:8])
    return pulumi.Output.unsecret(digest)
