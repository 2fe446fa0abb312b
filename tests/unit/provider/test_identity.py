import datetime
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from provider.identity import Authority, Certificate, KeyPair, Token
from tests.unit.provider.conftest import Serve
from tests.unit.provider.harness import SIGNATURE, Failed, secret

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


def opened(value: Any) -> str:
    """The text of a property that must be a secret on the wire."""
    assert value[SIGNATURE]
    return str(value["value"])


class TestToken:
    def test_is_random_after_its_prefix_and_secret(self, serve: Serve) -> None:
        client = serve(Token())
        values = {opened(client.create({"prefix": "sk-", "bytes": 16})[1]["value"]) for _ in range(3)}
        assert len(values) == 3
        assert all(value.startswith("sk-") and len(value) == 3 + 22 for value in values)

    def test_has_thirty_two_bytes_by_default(self, serve: Serve) -> None:
        assert len(opened(serve(Token()).create({})[1]["value"])) == 43

    def test_never_looks_like_an_option(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = iter(["-starts-with-a-dash", "fine"])
        monkeypatch.setattr("provider.identity.secrets.token_urlsafe", lambda _: next(drawn))
        assert opened(serve(Token()).create({})[1]["value"]) == "fine"

    def test_every_input_replaces(self, serve: Serve) -> None:
        client = serve(Token())
        _, state = client.create({})
        assert list(client.diff({}, {"prefix": "a", "bytes": 64}, state).replaces) == ["bytes", "prefix"]

    def test_few_bytes_are_refused(self, serve: Serve) -> None:
        assert serve(Token()).check({"bytes": 8})[1][0][0] == "bytes"

    def test_is_remembered_and_forgotten(self, serve: Serve) -> None:
        client = serve(Token())
        id, state = client.create({})
        assert client.read(id, {"bytes": 32}, state)[:2] == (id, state)
        client.delete(id, {}, state)
        client.delete(id, {}, state)


def test_a_key_pair_belongs_together(serve: Serve) -> None:
    _, state = serve(KeyPair()).create({"comment": "stack dev"})
    private = serialization.load_ssh_private_key(opened(state["privateKey"]).encode(), password=None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert state["publicKey"] == f"{public.decode()} stack dev"


class TestCertificate:
    @pytest.fixture
    def authority(self, serve: Serve) -> dict[str, Any]:
        return serve(Authority(now=lambda: NOW)).create({"commonName": "stack authority"})[1]

    @pytest.fixture
    def inputs(self, authority: dict[str, Any]) -> dict[str, Any]:
        return {
            "authorityCertificatePem": authority["certificatePem"],
            "authorityPrivateKeyPem": authority["privateKeyPem"],
            "commonName": "replica-0",
            "names": ["replica-0", "10.0.0.7"],
            "validityDays": 90,
        }

    def test_is_trusted_for_its_names_as_server_and_client(
        self, serve: Serve, authority: dict[str, Any], inputs: dict[str, Any]
    ) -> None:
        _, state = serve(Certificate(now=lambda: NOW)).create(inputs)
        root = x509.load_pem_x509_certificate(authority["certificatePem"].encode())
        leaf = x509.load_pem_x509_certificate(state["certificatePem"].encode())
        trusting = PolicyBuilder().store(Store([root])).time(NOW)
        trusting.build_server_verifier(x509.DNSName("replica-0")).verify(leaf, [])
        trusting.build_server_verifier(x509.IPAddress(ipaddress.ip_address("10.0.0.7"))).verify(leaf, [])
        trusting.build_client_verifier().verify(leaf, [])
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        key = serialization.load_pem_private_key(opened(state["privateKeyPem"]).encode(), password=None)
        assert key.public_key() == leaf.public_key()
        assert datetime.datetime.fromisoformat(state["notAfter"]) == NOW + datetime.timedelta(days=90)

    def test_signs_nothing_itself(self, serve: Serve, inputs: dict[str, Any]) -> None:
        _, state = serve(Certificate(now=lambda: NOW)).create(inputs)
        leaf = x509.load_pem_x509_certificate(state["certificatePem"].encode())
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    @pytest.mark.parametrize(("days_left", "replaced"), [(31, []), (29, ["notAfter"]), (-1, ["notAfter"])])
    def test_is_renewed_thirty_days_before_its_end(
        self, serve: Serve, inputs: dict[str, Any], days_left: int, replaced: list[str]
    ) -> None:
        _, state = serve(Certificate(now=lambda: NOW)).create(inputs)
        later = NOW + datetime.timedelta(days=90 - days_left)
        assert list(serve(Certificate(now=lambda: later)).diff(inputs, inputs, state).replaces) == replaced

    def test_an_unusable_authority_is_named_without_its_key(self, serve: Serve, inputs: dict[str, Any]) -> None:
        with pytest.raises(Failed, match="cannot sign the certificate 'replica-0'") as failed:
            serve(Certificate()).create(inputs | {"authorityPrivateKeyPem": secret("not a key at all")})
        assert "not a key at all" not in failed.value.message
