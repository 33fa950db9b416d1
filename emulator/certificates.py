"""The private certificate authority of one emulator, and the leaf that its HTTPS port shows.

Plain HTTP is not enough for the SDK: MSAL wants https, azure-core refuses bearer tokens without it, and blob uploads
hard-code it.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from emulator.errors import bad_request
from emulator.state import write_atomically

_VALIDITY = timedelta(days=825)  # the longest that Apple's and Chromium's verifiers accept
_RENEW_BEFORE = timedelta(days=30)
_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _make(directory: Path) -> None:
    now = datetime.now(timezone.utc)
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Azure ML emulator, private CA")

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    usage = dict.fromkeys(_KEY_USAGES, False)
    ca = (
        builder(ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**{**usage, "key_cert_sign": True, "crl_sign": True}), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
    leaf = (
        builder(_name("127.0.0.1"), leaf_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**usage, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    # The CA's key is not kept: nobody can ever sign another certificate that this machine's bundle trusts.
    write_atomically(directory / "ca.pem", ca.public_bytes(serialization.Encoding.PEM), 0o644)
    write_atomically(directory / "server.pem", leaf.public_bytes(serialization.Encoding.PEM) + _pem(leaf_key))


def _usable(directory: Path) -> bool:
    try:
        ca, leaf = (
            x509.load_pem_x509_certificate((directory / name).read_bytes()) for name in ("ca.pem", "server.pem")
        )
        leaf.verify_directly_issued_by(ca)
    except (FileNotFoundError, ValueError, InvalidSignature):
        return False
    return leaf.not_valid_after_utc - _RENEW_BEFORE > datetime.now(timezone.utc)


def _trusted_already(bundle: Path) -> bytes:
    """What this machine trusts without us: REQUESTS_CA_BUNDLE replaces certifi's bundle, so it must be kept."""
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        value = os.environ.get(variable)
        if value and Path(value) != bundle and Path(value).is_file():
            return Path(value).read_bytes()
    return Path(certifi.where()).read_bytes()


def ensure_certificates(directory: Path) -> Path:
    """Make CA and leaf if they are missing, damaged or about to expire; returns the bundle that clients have to trust.

    Args:
        directory: where ``ca.pem``, ``server.pem`` and ``bundle.pem`` (what this machine trusts, and the CA) lie.
    """
    if not _usable(directory):
        _make(directory)
    bundle = directory / "bundle.pem"
    write_atomically(bundle, _trusted_already(bundle) + b"\n" + (directory / "ca.pem").read_bytes(), 0o644)
    return bundle


def server_context(directory: Path) -> ssl.SSLContext:
    """The TLS context of the HTTPS port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.pem")
    return context


def check_certificate(certificate: str, key: str) -> None:
    """
    Raises:
        ServiceError: 400 when these are not a certificate and the key that it is for, both PEM.
    """
    try:
        public = x509.load_pem_x509_certificates(certificate.encode())[0].public_key()
        own = serialization.load_pem_private_key(key.encode(), None).public_key()
    except (ValueError, TypeError) as error:  # TypeError: the key is encrypted. Neither message quotes it.
        raise bad_request("The TLS certificate or its key is not PEM, or the key has a password.") from error
    public_format = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*public_format) != own.public_bytes(*public_format):
        raise bad_request("The TLS key is not that of the certificate.")
