"""Sealed pictures in an S3-compatible storage, with the errors that those who store pictures expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile, File
from storages.backends.s3 import S3Storage


@contextmanager
def _as_os_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
            raise FileNotFoundError(name) from error
        raise OSError(f"The storage refuses {name}: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"The storage does not answer for {name}: {error}") from error


class S3EvidenceStorage(S3Storage):  # type: ignore[misc]
    """A bucket. Whatever is wrong with it is an ``OSError``, what is not there a ``FileNotFoundError``."""

    def _save(self, name: str, content: File[bytes]) -> str:
        with _as_os_errors(name):
            return str(super()._save(name, content))

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """Fetch the whole file: pictures are small, and an error comes now or never."""
        with _as_os_errors(name), super()._open(name, mode) as file:
            return ContentFile(file.read(), name=name)

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        with _as_os_errors(name):
            super().delete(name)

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        """Return the folders and the files in a folder."""
        with _as_os_errors(name):
            folders, files = super().listdir(name)
        return list(folders), list(files)

    def get_modified_time(self, name: str) -> datetime:
        """Return when a file was written."""
        with _as_os_errors(name):
            at: datetime = super().get_modified_time(name)
        return at
