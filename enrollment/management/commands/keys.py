"""See which keys seal what, wrap everything anew under the newest, and give the search of duplicates new keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import SYSTEM, audit_write
from accounts.keys import KeyServiceError, key_ring, keys_verify
from accounts.models import Organisation, OrganisationKey
from accounts.rewrap import rewrap_all, sealed_counts
from enrollment.galleries import SEARCH_KEY
from enrollment.gallery_keeping import galleries_keep, lacking, search_rotation_begin
from enrollment.models import DuplicateSearch, Gallery


class Command(BaseCommand):
    help = (
        "See which key-encryption keys seal what (status); wrap everything anew under the first of them, or with "
        "--search give the search of duplicates new keys (rotate). Rotating may be interrupted at any time and goes on "
        "when it is run again; candidates enrol meanwhile."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="{status,rotate}")
        actions.add_parser("status", help="which keys seal how much, and which may go")
        rotate = actions.add_parser("rotate", help="bring everything under the newest key")
        rotate.add_argument("--search", action="store_true", help="instead: new keys for the search of duplicates")
        rotate.add_argument("--organisation", metavar="SLUG", help="with --search: of this organisation alone")

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            keys_verify()
            if action == "status":
                self._status()
            elif options["search"]:
                self._rotate_search(options["organisation"])
            elif options["organisation"]:
                raise CommandError("--organisation goes with --search: key-encryption keys are everybody's.")
            else:
                self._rotate()
        except (ImproperlyConfigured, KeyServiceError) as error:
            raise CommandError(str(error)) from None

    def _status(self) -> None:
        for line in (*_encryption_keys(), *_search_keys()):
            self.stdout.write(line)

    def _rotate(self) -> None:
        done = rewrap_all()
        self.stdout.write(f"Wrapped {done.count} values anew under the key '{key_ring().active_id}'.")
        for key_id in done.retired:
            self.stdout.write(f"The key '{key_id}' seals nothing any more: remove it from KEY_ENCRYPTION_KEYS.")
        if done.failed:
            raise CommandError("Do not open and stay as they are:\n" + "\n".join(done.failed))

    def _rotate_search(self, slug: str | None) -> None:
        unreadable = 0
        for organisation in _searching(slug):
            key = search_rotation_begin(organisation=organisation)
            done = galleries_keep(organisation=organisation)
            unreadable += len(done.unreadable)
            for row in done.unreadable:
                self.stderr.write(
                    f"{organisation.slug}: the sealed template of the candidate in row {row} does not open."
                )
            if not done.unreadable:
                details = {"version": key.version, "templates": done.protected}
                audit_write(
                    organisation=organisation,
                    actor=SYSTEM,
                    action="search_key.rotated",
                    subject_type="organisation_key",
                    subject=str(key.pk),
                    details=details,
                )
            self.stdout.write(f"{organisation.slug}: protected {done.protected} templates under version {key.version}.")
        if unreadable:
            raise CommandError("Enrol those candidates again or erase them, then run this again: older keys stay.")


def _searching(slug: str | None) -> list[Organisation]:
    """Return who searches for duplicates; raise ``CommandError`` when the one that is meant does not."""
    found = Organisation.objects.filter(pk__in=DuplicateSearch.objects.active().values("organisation")).order_by("slug")
    if slug is None:
        return list(found)
    chosen = list(found.filter(slug=slug))
    if not chosen:
        raise CommandError(f"There is no organisation '{slug}' that searches for duplicates.")
    return chosen


def _encryption_keys() -> Iterator[str]:
    ring, counts = key_ring(), sealed_counts()
    for key_id in dict.fromkeys((*ring.keys, *counts)):
        sealed = counts.get(key_id, {})
        state = "seals" if key_id == ring.active_id else "opens" if key_id in ring.keys else "MISSING"
        what = ", ".join(f"{count} {purpose}" for purpose, count in sorted(sealed.items())) or "nothing"
        advice = ""
        if key_id != ring.active_id:
            advice = "; run `keys rotate`" if key_id in counts else "; may be removed from KEY_ENCRYPTION_KEYS"
        yield f"key '{key_id}' ({state}): {what}{advice}"


def _search_keys() -> Iterator[str]:
    for organisation in _searching(None):
        keys = OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY).order_by("version")
        for key in keys:
            galleries = Gallery.objects.filter(key=key).order_by("model")
            held = ", ".join(f"{gallery.templates.count()} of {gallery.model}" for gallery in galleries) or "nothing"
            yield f"search key of {organisation.slug}, version {key.version}: protects {held}"
        if (newest := keys.last()) is not None and (count := lacking(organisation, newest).count()):
            yield f"search key of {organisation.slug}: {count} templates are still to be protected under the newest"
