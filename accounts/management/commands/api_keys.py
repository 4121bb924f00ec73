"""List API keys, give one a new secret, revoke one. Making one is ``create_api_key``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.api_keys import OVERLAP, api_key_revoke, api_key_rotate
from accounts.models import APIKey
from accounts.problems import Problem


class Command(BaseCommand):
    help = "List API keys, rotate one (the new key is printed, this once), or revoke one."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True)
        listing = commands.add_parser("list", help="One line per key: prefix, state, scopes, last use, name.")
        listing.add_argument("--organisation", help="Slug; all organisations if left out.")
        rotate = commands.add_parser("rotate", help="Give a key a new secret and print the key.")
        rotate.add_argument("prefix", help="As in sdp_PREFIX_…")
        rotate.add_argument(
            "--overlap-hours", type=float, default=OVERLAP / timedelta(hours=1), help="The old secret opens this long."
        )
        revoke = commands.add_parser("revoke", help="Have a key open nothing from now on.")
        revoke.add_argument("prefix", help="As in sdp_PREFIX_…")

    def handle(self, *, what: str, **options: Any) -> None:
        if what == "list":
            self._list(options["organisation"])
        elif what == "rotate":
            self._rotate(_find(options["prefix"]), options["overlap_hours"])
        elif not api_key_revoke(key=_find(options["prefix"])):
            raise CommandError("The key was revoked before.")

    def _list(self, organisation: str | None) -> None:
        keys = APIKey.objects.select_related("organisation").order_by("organisation__slug", "name")
        for key in keys.filter(organisation__slug=organisation) if organisation else keys:
            used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
            state = "revoked" if key.revoked_at else "valid"
            if key.expires_at and not key.revoked_at:
                state = f"until {key.expires_at:%Y-%m-%d %H:%M}"
            self.stdout.write(
                f"{key.prefix}  {state}  {','.join(key.scopes)}  used {used}  {key.organisation.slug}/{key.name}"
            )

    def _rotate(self, key: APIKey, overlap_hours: float) -> None:
        try:
            overlap = timedelta(hours=overlap_hours)
        except (ValueError, OverflowError):
            raise CommandError(f"{overlap_hours} overlap hours cannot be.") from None
        try:
            self.stdout.write(api_key_rotate(key=key, overlap=overlap))
        except (Problem, ValueError) as error:
            raise CommandError(str(error)) from None


def _find(prefix: str) -> APIKey:
    key = APIKey.objects.select_related("organisation").filter(prefix=prefix).first()
    if key is None:
        raise CommandError(f"There is no key of prefix '{prefix}'.")
    return key
