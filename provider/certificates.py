"""SSH keys and X.509 certificates, made with the ``cryptography`` library."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CLOCK_SKEW: Final = datetime.timedelta(hours=1)  # hosts whose clock is behind accept a certificate made just now
_PEM: Final = serialization.Encoding.PEM
_BARE: Final = serialization.NoEncryption()


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, both PEM."""

    certificate_pem: str
    private_key_pem: str = field(repr=False)
    serial: str
    not_after: datetime.datetime


def ssh_key_pair(comment: str) -> tuple[str, str]:
    """A new Ed25519 key pair: ("ssh-ed25519 AAAA… comment", OpenSSH private key)."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(_PEM, serialization.PrivateFormat.OpenSSH, _BARE)
    return f"{public.decode()} {comment}".strip(), private.decode()


def authority(common_name: str, validity_days: int, now: datetime.datetime) -> Issued:
    """A new self-signed certificate authority that may sign end-entity certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    builder = (
        _builder(name, name, key, validity_days, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return _signed(builder, key, key)


def certificate(
    authority_certificate_pem: str,
    authority_private_key_pem: str,
    common_name: str,
    names: Sequence[str],
    validity_days: int,
    now: datetime.datetime,
) -> Issued:
    """A new certificate for servers and clients, valid for ``names`` (DNS names or IP addresses)."""
    issuer = x509.load_pem_x509_certificate(authority_certificate_pem.encode())
    issuer_key = serialization.load_pem_private_key(authority_private_key_pem.encode(), password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError("authorityPrivateKeyPem is no elliptic curve key: use the one of an Authority")
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_name(common_name), issuer.subject, key, validity_days, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    return _signed(builder, key, issuer_key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    validity_days: int,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=validity_days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Issued:
    made = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, _BARE)
    return Issued(
        certificate_pem=made.public_bytes(_PEM).decode(),
        private_key_pem=private.decode(),
        serial=format(made.serial_number, "x"),
        not_after=made.not_valid_after_utc,
    )
