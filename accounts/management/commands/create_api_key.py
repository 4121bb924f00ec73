"""Make an API key; the key alone goes to standard output, so that a script can keep it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.api_keys import MOST_DAYS, api_key_create
from accounts.models import Organisation, Scope


class Command(BaseCommand):
    help = "Make an API key and print it: the only time that it is shown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="What the key is for; unique within the organisation.")
        may = parser.add_mutually_exclusive_group(required=True)
        may.add_argument("--scope", action="append", choices=Scope.values, help="May be given several times.")
        may.add_argument("--all-scopes", action="store_true", help="The key may do everything that keys can.")
        parser.add_argument("--organisation", default="default", help="Slug of the organisation.")
        parser.add_argument("--expires-days", type=int, help="Days until the key expires; never if left out.")

    def handle(self, *, name: str, scope: list[str] | None, organisation: str, **options: Any) -> None:
        days: int | None = options["expires_days"]
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise CommandError(f"--expires-days must be 1 to {MOST_DAYS}.")
        if not name.strip() or len(name) > 100:
            raise CommandError("The name must have 1 to 100 characters.")
        expires_at = timezone.now() + timedelta(days=days) if days is not None else None
        try:
            with transaction.atomic():
                _, raw = api_key_create(
                    organisation=Organisation.objects.get(slug=organisation),
                    name=name,
                    scopes=scope or Scope.values,
                    expires_at=expires_at,
                )
        except Organisation.DoesNotExist:
            raise CommandError(f"There is no organisation '{organisation}'.") from None
        except IntegrityError:
            raise CommandError(f"The organisation '{organisation}' has a key named '{name}' already.") from None
        self.stdout.write(raw)
