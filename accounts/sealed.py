"""Where values lie that are sealed under a key-encryption key: ``manage.py keys rotate`` must know them all.

Each app names its own in a module ``sealed_columns``, which is loaded at start; ``accounts.keys.seal_secret`` seals for
no purpose that is not named, so that no value is ever left under a key that somebody then throws away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django.db.models import CharField, Count, Func, Model, QuerySet

_PLACES: Final[dict[str, SealedPlace]] = {}


class SealedPlace(Protocol):
    """Rows that each hold at most one value sealed for ``purpose``, bound to the row's primary key."""

    @property
    def purpose(self) -> str: ...

    def counts(self) -> Mapping[str, int]:
        """Return how many values are sealed under each key-encryption key, by its id."""

    def others(self, active_id: str, *, after: Any) -> QuerySet[Any]:
        """Return rows, by primary key from ``after`` (None: the first) on, whose value another key has sealed."""

    def value(self, row: Any) -> bytes:
        """Return the sealed value of a row."""

    def replace(self, row: Any, sealed: bytes, active_id: str) -> None:
        """Store another sealed value in the row."""


class SealedUnder(Func):
    """The id of the key in the header of a sealed value, NULL for an empty one; see ``accounts.keys`` for the form."""

    output_field = CharField()
    template = (
        "CASE WHEN length(%(expressions)s) > 2 THEN "
        "encode(substring(%(expressions)s FROM 3 FOR get_byte(%(expressions)s, 1)), 'escape') END"
    )


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A binary column of sealed values. ``id_field`` is a column that repeats the key's id, if there is one."""

    model: type[Model]
    field: str
    purpose: str
    id_field: str = ""

    def counts(self) -> Mapping[str, int]:
        return dict(self._sealed().values_list("sealed_under").annotate(Count("pk")))

    def others(self, active_id: str, *, after: Any) -> QuerySet[Any]:
        rows = self._sealed().exclude(sealed_under=active_id).order_by("pk")
        return rows if after is None else rows.filter(pk__gt=after)

    def value(self, row: Any) -> bytes:
        return bytes(getattr(row, self.field))

    def replace(self, row: Any, sealed: bytes, active_id: str) -> None:
        changes = {self.field: sealed} | ({self.id_field: active_id} if self.id_field else {})
        self._rows().filter(pk=row.pk).update(**changes)

    def _rows(self) -> QuerySet[Any]:
        return self.model._default_manager.all()

    def _sealed(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._rows().order_by().annotate(sealed_under=SealedUnder(self.field))
        return rows.filter(sealed_under__isnull=False)


def register(place: SealedPlace) -> None:
    """Name a place once; raise ``ValueError`` when another place has its purpose."""
    if _PLACES.setdefault(place.purpose, place) != place:
        raise ValueError(f"Two places are sealed for the purpose {place.purpose}.")


def places() -> tuple[SealedPlace, ...]:
    """Return all places."""
    return tuple(_PLACES.values())


def is_known(purpose: str) -> bool:
    """Tell whether values sealed for ``purpose`` lie in a place that is named here."""
    return purpose in _PLACES
