"""The document: read with every field checked, written as plain data, and one laid over another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detection.engine.fields import FieldErrors, number, read_fields
from detection.engine.policy.defaults import DEFAULT_RULES, RulePolicy
from detection.engine.policy.events import SCALES, EventType
from detection.engine.policy.parameters import CheckIn, Detectors, Page, Sampling


class PolicyError(ValueError):
    """A policy document that cannot be used. ``errors`` maps the path of each bad field to what is wrong with it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors.items()))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole, checked policy."""

    rules: Mapping[EventType, RulePolicy] = field(default_factory=lambda: dict(DEFAULT_RULES))
    sampling: Sampling = field(default_factory=Sampling)
    detectors: Detectors = field(default_factory=Detectors)
    page: Page = field(default_factory=Page)
    check_in: CheckIn = field(default_factory=CheckIn)
    lateness_s: float = number(1.0, low=0, high=10)
    """How long the rules wait for a sample that is missing, so that what arrives out of order still counts."""
    gap_s: float = number(5.0, low=1, high=60)
    """A stream that pauses longer than this was not watched meanwhile: what it had open ends at the last sample."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able document that ``from_dict`` reads."""
        return {
            "rules": {event.value: dataclasses.asdict(rule) for event, rule in self.rules.items()},
            "sampling": dataclasses.asdict(self.sampling),
            "detectors": dataclasses.asdict(self.detectors, dict_factory=_json_able),
            "page": dataclasses.asdict(self.page),
            "check_in": dataclasses.asdict(self.check_in),
            "lateness_s": self.lateness_s,
            "gap_s": self.gap_s,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Policy:
        """Build from a document; raise ``PolicyError`` naming every field that is wrong, missing ones have defaults."""
        errors: FieldErrors = {}
        policy = _read_policy(document, errors)
        if errors:
            raise PolicyError(errors)
        return policy


def _json_able(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary in which tuples are lists, as JSON gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in items}


_RETIRED_IDENTITY = frozenset({"min_strength", "min_clarity", "clear_strength", "clear_clarity", "unclear_mismatch"})
"""Limits that ``least_clarity`` and ``clear_from`` took the place of."""


def _read_policy(document: Any, errors: FieldErrors) -> Policy:
    if not isinstance(document, Mapping):
        errors["policy"] = "must be an object"
        return DEFAULT_POLICY
    others = {key: value for key, value in document.items() if key != "rules"}
    policy = read_fields(DEFAULT_POLICY, _without_retired(others), "", errors)
    return dataclasses.replace(policy, rules=_read_rules(document.get("rules", {}), errors))


def _without_retired(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what older versions had, so that documents stored by them stay valid."""
    detectors = document.get("detectors")
    if not isinstance(detectors, Mapping) or not isinstance(detectors.get("identity"), Mapping):
        return document
    identity = {key: value for key, value in detectors["identity"].items() if key not in _RETIRED_IDENTITY}
    return {**document, "detectors": {**detectors, "identity": identity}}


def _read_rules(section: Any, errors: FieldErrors) -> dict[EventType, RulePolicy]:
    rules = dict(DEFAULT_RULES)
    if not isinstance(section, Mapping):
        errors["rules"] = "must be an object"
        return rules
    for name, values in section.items():
        if name not in rules:
            errors[f"rules.{name}"] = f"is no event type; there are {', '.join(rules)}"
            continue
        event = EventType(name)
        rules[event] = read_fields(rules[event], values, f"rules.{name}", errors, ranges=_threshold_ranges(event))
        _check_sides(event, rules[event], errors)
    return rules


def _threshold_ranges(event: EventType) -> dict[str, tuple[float, float]]:
    scale = SCALES[event]
    return {"enter": (scale.low, scale.high), "exit": (scale.low, scale.high)}


def _check_sides(event: EventType, rule: RulePolicy, errors: FieldErrors) -> None:
    """Refuse an ``exit`` that lies deeper in trouble than ``enter``: the incident would close as it opens."""
    if SCALES[event].below and rule.exit < rule.enter:
        errors.setdefault(f"rules.{event}.exit", f"must be at least enter ({rule.enter:g})")
    if not SCALES[event].below and rule.exit > rule.enter:
        errors.setdefault(f"rules.{event}.exit", f"must be at most enter ({rule.enter:g})")


def merge(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``document`` with ``overrides`` laid over it, section by section; neither is changed.

    Objects are merged key by key, everything else is replaced. The result is not checked: ``Policy.from_dict`` does.
    ``overrides`` that are no object raise ``PolicyError``.
    """
    if not isinstance(overrides, Mapping):
        raise PolicyError({"policy": "must be an object"})
    merged = dict(document)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


DEFAULT_POLICY = Policy()
