"""Where sealed pictures lie, by the environment: a directory, or a bucket of an S3-compatible storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from proctor_site.env import env

KINDS: Final = ("disk", "s3")
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 15


def described(*, directory: Path) -> dict[str, Any]:
    """Return what Django's ``STORAGES`` says of evidence; raise ``ImproperlyConfigured`` naming what is missing."""
    kind = env.str("EVIDENCE_STORAGE", default="disk")
    if kind not in KINDS:
        raise ImproperlyConfigured(f"EVIDENCE_STORAGE is {kind!r}; it must be one of {', '.join(KINDS)}.")
    if kind == "disk":
        options = {"location": directory, "allow_overwrite": True, "file_permissions_mode": 0o600}
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    return {"BACKEND": "alerts.evidence_storage.S3EvidenceStorage", "OPTIONS": _bucket()}


def _bucket() -> dict[str, Any]:
    """Describe the bucket. Without credentials boto looks for them itself, such as in the machine's own role."""
    from botocore.config import Config  # where evidence lies on disk, nobody waits for boto to load

    bucket = env.str("EVIDENCE_S3_BUCKET", default="")
    endpoint = env.str("EVIDENCE_S3_ENDPOINT", default="")
    if not bucket:
        raise ImproperlyConfigured("EVIDENCE_STORAGE=s3 needs EVIDENCE_S3_BUCKET.")
    return {
        "bucket_name": bucket,
        "endpoint_url": endpoint or None,
        "region_name": env.str("EVIDENCE_S3_REGION", default="") or None,
        "access_key": env.optional("EVIDENCE_S3_ACCESS_KEY") or None,
        "secret_key": env.optional("EVIDENCE_S3_SECRET_KEY") or None,
        "default_acl": None,
        "file_overwrite": True,
        "client_config": Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"max_attempts": 2},
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    }
