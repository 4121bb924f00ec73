"""Where values lie that are sealed under a key-encryption key: ``manage.py keys rotate`` must know them all.

Each app names its own in a module ``sealed_columns``, which is loaded at start; ``accounts.keys.seal_secret`` seals for
no purpose that is not named, so that no value is ever left under a key that somebody then throws away.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django.db.models import BinaryField, CharField, Count, F, Func, Model, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

_PLACES: Final[dict[str, SealedPlace]] = {}


class SealedPlace(Protocol):
    """Rows that each hold at most one value sealed for ``purpose``."""

    @property
    def purpose(self) -> str: ...

    def counts(self) -> Mapping[str, int]:
        """Return how many values are sealed under each key-encryption key, by its id."""

    def others(self, active_id: str, *, after: Any) -> QuerySet[Any]:
        """Return rows, by primary key from ``after`` (None: the first) on, whose value another key has sealed."""

    def bound_to(self, row: Any) -> str:
        """Return the row that the value is bound to, as it was when it was sealed."""

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

    def as_sql(self, *arguments: Any, **options: Any) -> Any:
        sql, parameters = super().as_sql(*arguments, **options)
        return sql, (*parameters, *parameters, *parameters)  # the expression stands there three times


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A binary column of sealed values, bound to the primary key.

    ``id_field`` is a column that repeats the key's id, if there is one.
    """

    model: type[Model]
    field: str
    purpose: str
    id_field: str = ""

    def counts(self) -> Mapping[str, int]:
        return dict(_sealed(self.model, F(self.field)).values_list("sealed_under").annotate(Count("pk")))

    def others(self, active_id: str, *, after: Any) -> QuerySet[Any]:
        return _others(_sealed(self.model, F(self.field)), active_id, after)

    def bound_to(self, row: Any) -> str:
        return str(row.pk)

    def value(self, row: Any) -> bytes:
        return bytes(getattr(row, self.field))

    def replace(self, row: Any, sealed: bytes, active_id: str) -> None:
        changes = {self.field: sealed} | ({self.id_field: active_id} if self.id_field else {})
        self.model._default_manager.filter(pk=row.pk).update(**changes)


@dataclass(frozen=True, slots=True)
class SealedMembers:
    """Members of a JSON column, of which each row has one at most: base64 of a value that is bound to no row."""

    model: type[Model]
    field: str
    members: tuple[str, ...]
    purpose: str

    def counts(self) -> Mapping[str, int]:
        return dict(self._sealed().values_list("sealed_under").annotate(Count("pk")))

    def others(self, active_id: str, *, after: Any) -> QuerySet[Any]:
        return _others(self._sealed(), active_id, after)

    def bound_to(self, row: Any) -> str:
        return ""

    def value(self, row: Any) -> bytes:
        return base64.b64decode(getattr(row, self.field)[self._member(row)])

    def replace(self, row: Any, sealed: bytes, active_id: str) -> None:
        document = getattr(row, self.field) | {self._member(row): base64.b64encode(sealed).decode()}
        self.model._default_manager.filter(pk=row.pk).update(**{self.field: document})

    def _member(self, row: Any) -> str:
        return next(name for name in self.members if name in getattr(row, self.field))

    def _sealed(self) -> QuerySet[Any]:
        texts = [KeyTextTransform(name, self.field) for name in self.members]
        return _sealed(
            self.model,
            Func(Coalesce(*texts, Value("")), Value("base64"), function="decode", output_field=BinaryField()),
        )


def _sealed(model: type[Model], value: Combinable) -> QuerySet[Any]:
    rows: QuerySet[Any] = model._default_manager.order_by().annotate(sealed_under=SealedUnder(value))
    return rows.filter(sealed_under__isnull=False)


def _others(sealed: QuerySet[Any], active_id: str, after: Any) -> QuerySet[Any]:
    rows = sealed.exclude(sealed_under=active_id).order_by("pk")
    return rows if after is None else rows.filter(pk__gt=after)


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
