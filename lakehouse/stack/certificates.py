"""TLS certificates of the local broker: an authority of its own, whose key is thrown away once it has signed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lakehouse.settings import LOOPBACK
from lakehouse.stack.files import write_file

RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM, readable by the owner only."""

    authority: Path
    """What clients trust."""
    server: Path
    """Private key (PKCS 8) and certificate of the broker; whoever holds it may do everything on the broker."""


def certificates_in(folder: Path) -> Certificates:
    """Where they are, whether or not they were made."""
    return Certificates(folder / "ca.pem", folder / "broker.pem")


def ensure_certificates(folder: Path, common_name: str) -> Certificates:
    """Make the certificates where they are missing or about to expire."""
    files = certificates_in(folder)
    if not (files.authority.exists() and files.server.exists() and _is_valid(files.server)):
        make_certificates(files, common_name)
    return files


def make_certificates(files: Certificates, common_name: str, not_after: datetime | None = None) -> None:
    """Make an authority and a certificate for loopback.

    Args:
        files: Where to write them.
        common_name: Name of the holder.
        not_after: End of validity; the library's default, if not given.
    """
    import trustme
    from cryptography.hazmat.primitives import serialization

    authority = trustme.CA()
    issued = authority.issue_cert(LOOPBACK, "localhost", common_name=common_name, not_after=not_after)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    # Kafka reads keys in PKCS 8 only.
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    write_file(files.server, (encoded + chain).decode())
    write_file(files.authority, authority.cert_pem.bytes().decode())


def _is_valid(path: Path) -> bool:
    from cryptography import x509

    found = x509.load_pem_x509_certificates(path.read_bytes())
    return all(certificate.not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE for certificate in found)
