"""Wrap everything anew under the active key-encryption key, while the service runs, so that older keys can go.

Nothing is remembered between runs: what is left to do is what lies under another key. Killed in between, it goes on
where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction

from accounts.keys import SealError, key_ring, keys_verify, open_secret, seal_secret
from accounts.models import KeyCheck
from accounts.sealed import SealedPlace, places

BATCH: Final = 200
"""Rows per transaction: as long as that, somebody who changes one of them may wait."""


@dataclass(slots=True)
class Rewrapped:
    """What a run did. ``failed``: in words, which values do not open; ``retired``: keys that seal nothing any more."""

    count: int = 0
    failed: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)


def sealed_counts() -> Mapping[str, Mapping[str, int]]:
    """Return how many values each key-encryption key seals, by purpose; keys that were checked and seal none too."""
    found: dict[str, dict[str, int]] = {check.kek_id: {} for check in KeyCheck.objects.order_by("created_at")}
    for place in places():
        for key_id, count in place.counts().items():
            found.setdefault(key_id, {})[place.purpose] = count
    return found


def rewrap_all() -> Rewrapped:
    """Wrap anew whatever another than the active key seals, and forget the keys that seal nothing any more.

    Raises ``ImproperlyConfigured`` when the keys do not fit the database, ``KeyServiceError`` when one cannot be asked.
    """
    keys_verify()
    done = Rewrapped()
    for place in places():
        after: Any = None
        while (last := _rewrap_batch(place, after, done)) is not None:
            after = last
    done.retired = [check.kek_id for check in KeyCheck.objects.order_by("created_at") if _retire(check.kek_id)]
    return done


def _rewrap_batch(place: SealedPlace, after: Any, done: Rewrapped) -> Any:
    """Wrap the next rows anew; return the last one's primary key, None when there was none."""
    active_id = key_ring().active_id
    with transaction.atomic():
        rows = list(place.others(active_id, after=after).select_for_update(no_key=True)[:BATCH])
        for row in rows:
            bound_to = place.bound_to(row)
            try:
                plain = open_secret(place.value(row), purpose=place.purpose, row=bound_to)
            except SealError as error:
                done.failed.append(f"{row.pk}: {error}")
                continue
            place.replace(row, seal_secret(plain, purpose=place.purpose, row=bound_to), active_id)
            done.count += 1
    return rows[-1].pk if rows else None


def _retire(key_id: str) -> bool:
    """Remove the check value of a key that is not the active one and seals nothing; tell whether it was.

    Whoever is sealing under it at this moment holds the row, and is waited for.
    """
    if key_id == key_ring().active_id:
        return False
    with transaction.atomic():
        check = KeyCheck.objects.select_for_update().filter(kek_id=key_id).first()
        if check is None or sum((Counter(place.counts()) for place in places()), Counter())[key_id]:
            return False
        check.delete()
    return True
