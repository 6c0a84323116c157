"""Certificates for the TLS ports: an authority of one's own, a server's, a client's.

Made with `cryptography`, so that no openssl program is needed. What a certificate is for
stands in it: the server's is no client's, and the authority signs nothing but those two.
Pure but for randomness and the day given; `secret_files` writes what comes out.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

# The authority's certificate is what clients keep; a year and a month is what programs still
# take of a server (the CA/Browser Forum's limit was 398 days), and it is renewed in time.
AUTHORITY_DAYS = 3650
LEAF_DAYS = 397
RENEW_DAYS = 30

# Clocks differ: a certificate is good a while before it was made.
SLACK = dt.timedelta(hours=1)

# RFC 1123, 2.1; `*` stands for any one.
HOST_LABEL = re.compile(r"\*|[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and the key that it is for."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, pem: bytes) -> Pair:
        """What `pem` made.

        Raises:
            ValueError: There is not one of each in it.
        """
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("not a key of ours")  # noqa: TRY004 — the bytes are wrong, not a type
        return cls(x509.load_pem_x509_certificate(pem), key)

    @property
    def certificate_pem(self) -> bytes:
        """What others may see."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pem(self) -> bytes:
        """Certificate and key, as HAProxy wants them."""
        return self.certificate_pem + self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def due(self, now: dt.datetime) -> bool:
        """Whether it is time for the next one."""
        return now > self.certificate.not_valid_after_utc - dt.timedelta(days=RENEW_DAYS)


def authority(now: dt.datetime) -> Pair:
    """One that signs servers and clients, and no further authority."""
    return _make("echofleet authority", None, now)


def server(signer: Pair, names: Sequence[str], now: dt.datetime) -> Pair:
    """For HAProxy: `names` are host names and addresses under which clients reach it.

    Raises:
        ValueError: One of them is neither.
    """
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _make(names[0], signer, now, purpose, alternatives)


def client(signer: Pair, name: str, now: dt.datetime) -> Pair:
    """For a client of that name."""
    return _make(name, signer, now, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))


def _make(
    name: str, signer: Pair | None, now: dt.datetime, *extensions: x509.ExtensionType
) -> Pair:
    """Signed by `signer`; with None by itself, and then it is an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    signs = signer is None
    signing = signer.key if signer else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + dt.timedelta(days=AUTHORITY_DAYS if signs else LEAF_DAYS))
        .add_extension(x509.BasicConstraints(signs, 0 if signs else None), critical=True)
        .add_extension(usage, critical=True)
    )
    for extension in (
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
        *extensions,
    ):
        builder = builder.add_extension(extension, critical=False)
    return Pair(builder.sign(signing, hashes.SHA256()), key)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not all(HOST_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError(f"{name!r}: must be a host name or an address") from None
        return x509.DNSName(name)
