"""Keys, tokens and certificates that live encrypted in the state."""

from collections.abc import Sequence

from pulumi import Input, Output, ResourceOptions

from components.resources.base import Attribute, Resource


class Token(Resource):
    """A random URL-safe secret of ``bytes`` random bytes, after ``prefix``."""

    token = "moestro:identity:Token"
    outputs = ("value",)
    secret_outputs = ("value",)
    value = Attribute[str]("value")

    def __init__(
        self,
        name: str,
        *,
        prefix: Input[str] | None = None,
        bytes: Input[int] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, {"prefix": prefix, "bytes": bytes}, opts)


class KeyPair(Resource):
    """An Ed25519 SSH key pair."""

    token = "moestro:identity:KeyPair"
    outputs = ("publicKey", "privateKey")
    secret_outputs = ("privateKey",)
    public_key = Attribute[str]("publicKey")
    private_key = Attribute[str]("privateKey")

    def __init__(self, name: str, *, comment: Input[str], opts: ResourceOptions | None = None) -> None:
        super().__init__(name, {"comment": comment}, opts)


class Authority(Resource):
    """A private certificate authority."""

    token = "moestro:identity:Authority"
    outputs = ("certificatePem", "privateKeyPem")
    secret_outputs = ("privateKeyPem",)
    certificate_pem = Attribute[str]("certificatePem")
    private_key_pem = Attribute[str]("privateKeyPem")

    def __init__(
        self,
        name: str,
        *,
        common_name: Input[str],
        validity_days: Input[int] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, {"commonName": common_name, "validityDays": validity_days}, opts)


class Certificate(Resource):
    """A server and client certificate signed by an :class:`Authority`."""

    token = "moestro:identity:Certificate"
    outputs = ("certificatePem", "privateKeyPem", "notAfter")
    secret_outputs = ("authorityPrivateKeyPem", "privateKeyPem")
    certificate_pem = Attribute[str]("certificatePem")
    private_key_pem = Attribute[str]("privateKeyPem")
    not_after = Attribute[str]("notAfter")

    def __init__(
        self,
        name: str,
        *,
        authority_certificate_pem: Input[str],
        authority_private_key_pem: Input[str],
        common_name: Input[str],
        names: Input[Sequence[Input[str]]],
        validity_days: Input[int] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "authorityCertificatePem": authority_certificate_pem,
            "authorityPrivateKeyPem": Output.secret(authority_private_key_pem),
            "commonName": common_name,
            "names": names,
            "validityDays": validity_days,
        }
        super().__init__(name, inputs, opts)
