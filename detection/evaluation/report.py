"""What an evaluation comes to: figures with n and interval, and everything that was left out, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from detection.evaluation.bootstrap import Interval, Owners, Statistic, estimate

SHARE, COUNT, DEGREES, PER_HOUR, SECONDS, HOURS, NUMBER = "share", "count", "deg", "per hour", "s", "h", ""
_DECIMALS = 6

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``n``: how many items it was formed from; ``unit``: what it is measured in (shares are 0 to 1)."""

    interval: Interval
    n: int
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form; None where a number cannot be formed."""
        return {
            "value": _rounded(self.interval.value),
            "low": _rounded(self.interval.low),
            "high": _rounded(self.interval.high),
            "n": self.n,
            "unit": self.unit,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def figure(statistic: Statistic, owners: Owners, unit: str = SHARE, *, n: int | None = None) -> Figure:
    """Form a figure with its interval. ``n`` where not every item that is weighed counts."""
    return Figure(estimate(statistic, owners), owners.count if n is None else n, unit)


def plain(value: float, unit: str = COUNT, *, n: int) -> Figure:
    """Return a number without an interval: a count of what was left out, the hours of the material."""
    return Figure(Interval(float(value)), n, unit)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not measured, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Report:
    """The result of one task.

    ``n``: items measured. ``remarks``: sentences a reader needs. ``misses``: what went wrong, one line each.
    ``groups``: the figures over again for each group that the labels name.
    """

    task: str
    n: int
    figures: Mapping[str, Figure]
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    groups: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        figures = {**self.figures, "skipped": plain(len(self.skipped), n=self.n + len(self.skipped))}
        groups = {group: {name: each.to_dict() for name, each in own.items()} for group, own in self.groups.items()}
        return {
            "task": self.task,
            "n": self.n,
            "figures": {name: each.to_dict() for name, each in figures.items()},
            **({"groups": groups} if groups else {}),
        }

    def to_text(self) -> str:
        """Return a table for people."""
        document = self.to_dict()
        lines = [f"{self.task}: {self.n} items", *_table(document["figures"])]
        for group, figures in document.get("groups", {}).items():
            lines += [f"group {group}:", *_table(figures)]
        return "\n".join([*lines, *self.remarks, *self.misses])


def by_group(
    items: Sequence[Item], group: Callable[[Item], str], figures: Callable[[list[Item]], Mapping[str, Figure]]
) -> dict[str, Mapping[str, Figure]]:
    """Form the figures of each group's items; of those without a group none."""
    names = sorted({group(item) for item in items} - {""})
    return {name: figures([item for item in items if group(item) == name]) for name in names}


def _table(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    width = max((len(name) for name in figures), default=0)
    return [f"  {name:{width}}  {describe(values)}" for name, values in figures.items()]


def none_in(hours: float) -> str:
    """Say what having seen nothing false in so many hours means: Poisson, 95 %."""
    return f"Nothing false in {hours:.3g} h: up to {3 / hours:.2g} per hour is compatible."


def describe(values: Mapping[str, Any]) -> str:
    """Return a figure in words: value, interval, n, and the bound behind a rate of nought."""
    if values["value"] is None:
        return f"cannot be formed (n {values['n']})"
    unit = values["unit"]
    value = f"{values['value']:.4g}{'' if unit in (SHARE, COUNT, NUMBER) else ' ' + unit}"
    if values["low"] is not None:
        value += f"  [{values['low']:.4g}, {values['high']:.4g}]"
    value += f"  n {values['n']}"
    if unit == SHARE and values["value"] == 0 and values["n"]:
        value += f" (none seen: up to {min(1.0, 3 / values['n']):.2g} is compatible)"
    return value
