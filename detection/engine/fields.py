"""Read plain data into a dataclass, field by field, noting by path what is wrong instead of stopping at the first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

FieldErrors = dict[str, str]
"""Path of a field → what is wrong with it."""

Record = TypeVar("Record")


def number(default: Any = dataclasses.MISSING, *, low: float, high: float) -> Any:
    """Declare a dataclass field that holds a number from ``low`` to ``high``."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


def words(default: tuple[str, ...] = (), *, most: int, longest: int) -> Any:
    """Declare a dataclass field that holds up to ``most`` words or phrases of up to ``longest`` characters each."""
    return dataclasses.field(default=default, metadata={"words": (most, longest)})


def read_fields(
    base: Record,
    values: Any,
    path: str,
    errors: FieldErrors,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Record:
    """Return ``base``, a dataclass instance, with ``values`` (data from outside) in its fields.

    Fields are booleans, numbers (``number`` or ``ranges`` give their range), tuples of ``words`` or
    dataclasses. What is wrong goes into ``errors`` and leaves the field as it was; so do keys that are no field.
    """
    if not isinstance(values, Mapping):
        errors[path or "policy"] = "must be an object"
        return base
    fields = {f.name: f for f in dataclasses.fields(cast(Any, base))}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        at = f"{path}.{key}" if path else str(key)
        if key not in fields:
            errors[at] = f"is no setting; there are {', '.join(fields)}"
            continue
        if "words" in fields[key].metadata:
            changes[key] = _read_words(getattr(base, key), value, at, errors, *fields[key].metadata["words"])
            continue
        limits = (ranges or {}).get(key) or fields[key].metadata.get("range")
        changes[key] = _read(getattr(base, key), value, at, errors, limits)
    return cast(Record, dataclasses.replace(cast(Any, base), **changes))


def _read(current: Any, value: Any, path: str, errors: FieldErrors, limits: tuple[float, float] | None) -> Any:
    if dataclasses.is_dataclass(current):
        return read_fields(current, value, path, errors)
    if isinstance(current, bool):
        if not isinstance(value, bool):
            errors[path] = "must be true or false"
            return current
        return value
    return _read_number(current, value, path, errors, limits)


def _read_number(current: Any, value: Any, path: str, errors: FieldErrors, limits: tuple[float, float] | None) -> float:
    low, high = limits or (-math.inf, math.inf)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # false for NaN too
        errors[path] = f"must be a number from {low:g} to {high:g}"
        return cast(float, current)
    return float(value)


def _read_words(
    current: tuple[str, ...], value: Any, path: str, errors: FieldErrors, most: int, longest: int
) -> tuple[str, ...]:
    """Return the words with single spaces, each once; a word without letter or digit is none."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        found = tuple(dict.fromkeys(filter(None, (" ".join(word.split()) for word in value))))
        fits = len(found) <= most and all(len(word) <= longest and any(map(str.isalnum, word)) for word in found)
        if fits:
            return found
    errors[path] = f"must be a list of up to {most} words or phrases of up to {longest} characters"
    return current
