"""Who uses the service and with which keys: organisations, people, API keys, data keys; and who did what."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

DEFAULT_ORGANISATION_ID = 1
"""The organisation the first migrations make."""


class Organisation(models.Model):
    """A tenant. Every other row belongs to one; a single default organisation makes that invisible to a small user."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """A person who signs in: proctor, reviewer, administrator."""

    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="users", default=DEFAULT_ORGANISATION_ID
    )


class Scope(models.TextChoices):
    """What an API key may do."""

    ENROLL = "enroll", "Enrol, look up and erase candidates"
    VERIFY = "verify", "Compare a photograph with a candidate's template"
    SESSIONS = "sessions", "Start, read and end sessions, listen to their socket"
    ADMIN = "admin", "List sessions and read statistics"
    SUBSCRIPTIONS = "subscriptions", "Manage where alerts are delivered"
    REVIEW = "review", "Decide on incidents for the people of the platform"


class APIKey(models.Model):
    """A platform's key. Only its SHA-256 is kept: the key is 256 random bits, so a slow hash would add nothing."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    previous_secret_sha256 = models.CharField(max_length=64, blank=True, default="")
    previous_secret_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then the secret before the last rotation opens too."
    )
    scopes = ArrayField(models.CharField(max_length=32, choices=Scope.choices))
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        constraints = [models.UniqueConstraint(fields=["organisation", "name"], name="api_key_name_once")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class DataKey(models.Model):
    """A candidate's own AES-256 key, wrapped by a key-encryption key. Deleting the row makes all it sealed unreadable.

    A table of its own, so that backups can leave it out or keep it for days only.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="data_keys")
    wrapped_key = models.BinaryField()
    kek_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.id)


class OrganisationKey(models.Model):
    """A secret of an organisation's own for one purpose, wrapped by a key-encryption key (``accounts.own_keys``).

    The highest version of a purpose is the one in use; older ones stay while something they made is still there.
    """

    class Purpose(models.TextChoices):
        AUDIT = "audit", "Chains the audit log"
        EVIDENCE = "evidence", "Chains the evidence of sessions"
        RECEIPTS = "receipts", "Signs erasure receipts"
        SEARCH = "search", "Protects templates for the search of duplicates"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="own_keys")
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    version = models.PositiveIntegerField(default=1)
    wrapped_key = models.BinaryField()
    kek_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "purpose", "version"], name="organisation_key_once")
        ]

    def __str__(self) -> str:
        return f"{self.purpose} v{self.version}"


def no_details() -> dict[str, Any]:
    """Return the details of an entry that has none."""
    return {}


class AuditHead(models.Model):
    """Where an organisation's audit chain ends, and where it begins since retention removed what came before.

    ``seal`` is a MAC over both: else whoever may write here could cut off either end and say that it was so.
    """

    organisation = models.OneToOneField(
        Organisation, on_delete=models.PROTECT, primary_key=True, related_name="audit_head"
    )
    sequence = models.PositiveBigIntegerField(default=0)
    mac = models.BinaryField(default=bytes)
    base_sequence = models.PositiveBigIntegerField(default=0, help_text="The last entry that retention has removed.")
    base_mac = models.BinaryField(default=bytes)
    seal = models.BinaryField(default=bytes)

    def __str__(self) -> str:
        return f"audit of {self.organisation_id} up to {self.sequence}"


class AuditEntry(models.Model):
    """Who saw or changed what. Written by ``accounts.audit``; the database itself refuses changes.

    ``mac`` chains each entry to the one before under a key of the organisation, so that a change or a gap shows.
    """

    class ActorKind(models.TextChoices):
        PERSON = "person"
        KEY = "key", "API key"
        CANDIDATE = "candidate"
        SYSTEM = "system"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="audit_entries")
    sequence = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    actor = models.CharField(max_length=150, blank=True, help_text="User name, or prefix of the API key.")
    action = models.CharField(max_length=64, help_text="Such as evidence.viewed.")
    subject_type = models.CharField(max_length=64, help_text="What kind of thing it was done to.")
    subject = models.CharField(max_length=128, blank=True, help_text="Its id; of a candidate only a keyed hash.")
    details = models.JSONField(default=no_details, blank=True)
    mac = models.BinaryField()

    class Meta:
        verbose_name_plural = "audit entries"
        constraints = [models.UniqueConstraint(fields=["organisation", "sequence"], name="audit_sequence_once")]
        indexes = [
            models.Index(fields=["organisation", "-at"], name="audit_recent"),
            models.Index(fields=["organisation", "subject_type", "subject", "-at"], name="audit_by_subject"),
            models.Index(fields=["organisation", "action", "-at"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action}"


class KeyCheck(models.Model):
    """A known text sealed under a key-encryption key, by which a wrong or missing key is noticed at start."""

    kek_id = models.CharField(primary_key=True, max_length=64)
    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.kek_id
