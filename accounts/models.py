"""Who uses the service and with which keys: organisations, people, API keys, data keys."""

from __future__ import annotations

import uuid

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


class KeyCheck(models.Model):
    """A known text sealed under a key-encryption key, by which a wrong or missing key is noticed at start."""

    kek_id = models.CharField(primary_key=True, max_length=64)
    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.kek_id
