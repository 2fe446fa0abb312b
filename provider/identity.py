"""``moestro:identity``: random values, keys and certificates that live, encrypted, in the stack's state alone."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

import datetime
import hashlib
import secrets
from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from moestro.errors import InvalidInput
from provider.models import Mark, Model, Secret, Stored
from provider.resource import Context, Found, Resource

I = TypeVar("I", bound=Model)  # noqa: E741 - inputs
O = TypeVar("O", bound=Stored)  # noqa: E741 - outputs

RENEWED_BEFORE = datetime.timedelta(days=30)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class _Kept(Resource[I, O], Generic[I, O]):
    """A value that exists in the state and nowhere else: made once, replaced when its inputs change."""

    def update(self, context: Context, resource_id: str, inputs: I, state: O) -> O:
        """Nothing to do: every input replaces."""
        return state

    def read(self, context: Context, resource_id: str, inputs: I, state: O) -> Found[O]:
        """As remembered."""
        return Found(state)

    def delete(self, context: Context, resource_id: str, inputs: I, state: O) -> None:
        """The state forgets it."""


class TokenInputs(Model):
    """What a token is made of."""

    prefix: Annotated[str, Mark.REPLACES] = Field(default="", description="What the value starts with, such as `sk-`.")
    bytes: Annotated[int, Mark.REPLACES] = Field(default=32, description="Random bytes; 16 or more.", ge=16, le=1024)


class TokenOutputs(Stored):
    """A token."""

    value: Secret = Field(description="The prefix and the random bytes in URL-safe Base64.")


class Token(_Kept[TokenInputs, TokenOutputs]):
    """A random secret for an API."""

    token = "moestro:identity:Token"
    inputs = TokenInputs
    outputs = TokenOutputs

    def create(self, context: Context, inputs: TokenInputs) -> tuple[str, TokenOutputs]:
        """Draw it."""
        value = inputs.prefix + _random(inputs.bytes)
        return _fingerprint(value), TokenOutputs(value=value)


def _random(count: int) -> str:
    """URL-safe text of so many random bytes. It does not begin with "-", which programs take for an option."""
    while (drawn := secrets.token_urlsafe(count)).startswith("-"):
        pass
    return drawn


class KeyPairInputs(Model):
    """What an SSH key pair is made of."""

    comment: Annotated[str, Mark.REPLACES] = Field(description="Comment of the public key.")


class KeyPairOutputs(Stored):
    """An SSH key pair."""

    public_key: str = Field(description='"ssh-ed25519 AAAA… comment".')
    private_key: Secret = Field(description="The private key in OpenSSH's format.")


class KeyPair(_Kept[KeyPairInputs, KeyPairOutputs]):
    """An Ed25519 SSH key pair."""

    token = "moestro:identity:KeyPair"
    inputs = KeyPairInputs
    outputs = KeyPairOutputs

    def create(self, context: Context, inputs: KeyPairInputs) -> tuple[str, KeyPairOutputs]:
        """Generate it."""
        from provider.certificates import ssh_key_pair

        public, private = ssh_key_pair(inputs.comment)
        return _fingerprint(public), KeyPairOutputs(public_key=public, private_key=private)


class AuthorityInputs(Model):
    """What a certificate authority is made of."""

    common_name: Annotated[str, Mark.REPLACES] = Field(description="Its name.", min_length=1, max_length=64)
    validity_days: Annotated[int, Mark.REPLACES] = Field(default=3650, description="Days until it expires.", ge=1)


class AuthorityOutputs(Stored):
    """A certificate authority."""

    certificate_pem: str = Field(description="Its self-signed certificate.")
    private_key_pem: Secret = Field(description="Its private key (PKCS #8).")


class Authority(_Kept[AuthorityInputs, AuthorityOutputs]):
    """A private certificate authority: what trusts it trusts every certificate that it signed."""

    token = "moestro:identity:Authority"
    inputs = AuthorityInputs
    outputs = AuthorityOutputs

    def __init__(self, now: Callable[[], datetime.datetime] = _now) -> None:
        self._now = now

    def create(self, context: Context, inputs: AuthorityInputs) -> tuple[str, AuthorityOutputs]:
        """Generate and sign it."""
        from provider.certificates import authority

        made = authority(inputs.common_name, inputs.validity_days, self._now())
        outputs = AuthorityOutputs(certificate_pem=made.certificate_pem, private_key_pem=made.private_key_pem)
        return made.serial, outputs


class CertificateInputs(Model):
    """What a certificate is made of."""

    authority_certificate_pem: Annotated[str, Mark.REPLACES] = Field(description="Certificate of the authority.")
    authority_private_key_pem: Annotated[Secret, Mark.REPLACES] = Field(description="Private key of the authority.")
    common_name: Annotated[str, Mark.REPLACES] = Field(description="Its subject.", min_length=1, max_length=64)
    names: Annotated[list[str], Mark.REPLACES] = Field(
        description="DNS names and IP addresses that it is valid for.", min_length=1
    )
    validity_days: Annotated[int, Mark.REPLACES] = Field(default=825, description="Days until it expires.", ge=1)


class CertificateOutputs(Stored):
    """A certificate."""

    certificate_pem: str = Field(description="The certificate.")
    private_key_pem: Secret = Field(description="Its private key (PKCS #8).")
    not_after: str = Field(description="When it expires (ISO 8601, UTC).")


class Certificate(_Kept[CertificateInputs, CertificateOutputs]):
    """A certificate for TLS servers and clients, signed by an authority; replaced 30 days before it expires."""

    token = "moestro:identity:Certificate"
    inputs = CertificateInputs
    outputs = CertificateOutputs

    def __init__(self, now: Callable[[], datetime.datetime] = _now) -> None:
        self._now = now

    def create(self, context: Context, inputs: CertificateInputs) -> tuple[str, CertificateOutputs]:
        """Generate and sign it."""
        from provider.certificates import certificate

        try:
            made = certificate(**dict(inputs), now=self._now())
        except ValueError as error:
            raise InvalidInput(f"cannot sign the certificate {inputs.common_name!r}: {error}") from None
        outputs = CertificateOutputs(
            certificate_pem=made.certificate_pem,
            private_key_pem=made.private_key_pem,
            not_after=made.not_after.isoformat(),
        )
        return made.serial, outputs

    def stale(self, state: CertificateOutputs) -> str | None:
        """Due for renewal: ``up`` replaces it without being told."""
        lifetime_left = datetime.datetime.fromisoformat(state.not_after) - self._now()
        return "notAfter" if lifetime_left < RENEWED_BEFORE else None


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
