"""What the documents promise is what the code has."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from accounts.problems import CODES
from detection.engine.detectors import DETECTORS
from detection.engine.policy import DEFAULT_POLICY, EventType, RulePolicy
from media_gateway.problems import CODES as GATEWAY_CODES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGES = ("proctor_site", "accounts", "enrollment", "sessions", "detection", "alerts", "media_gateway")


def _codes_in_tables(text: str) -> dict[str, tuple[int, str]]:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+) \|$", text, re.MULTILINE)
    return {code: (int(status), title) for code, status, title in rows}


def test_every_problem_code_is_documented_with_its_status_and_title_and_no_other() -> None:
    rest, gateway = (DOCS / "api.md").read_text().split("The gateway answers in the same form")
    assert _codes_in_tables(rest) == {code: (kind.status, kind.title) for code, kind in CODES.items()}
    assert _codes_in_tables(gateway) == {code: (kind.status, kind.title) for code, kind in GATEWAY_CODES.items()}


@pytest.mark.parametrize("event_type", [event.value for event in EventType])
def test_every_event_type_is_documented(event_type: str) -> None:
    assert f"`{event_type}`" in (DOCS / "events.md").read_text()


def _limits(metadata: Mapping[str, Any]) -> str:
    if "words" in metadata:
        return "up to {} of {}".format(*metadata["words"])
    return "{:g} to {:g}".format(*metadata["range"]) if "range" in metadata else ""


def _settings(document: Any, path: str = "") -> dict[str, tuple[Any, str]]:
    """Return default and range of each field of a policy besides its rules, by path."""
    found: dict[str, tuple[Any, tuple[float, float] | None]] = {}
    for field in dataclasses.fields(document):
        value, at = getattr(document, field.name), f"{path}{field.name}"
        if dataclasses.is_dataclass(value):
            found |= _settings(value, f"{at}.")
        elif field.name != "rules":
            found[at] = (list(value) if isinstance(value, tuple) else value), _limits(field.metadata)
    return found


def test_every_field_of_the_policy_document_is_documented_with_default_and_range_and_no_other() -> None:
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| ([a-z0-9.\[\]]+) \| ((?:[0-9.]+ to [0-9.]+|up to [0-9]+ of [0-9]+)?) ?\| .+ \|$",
        _events(),
        re.MULTILINE,
    )
    said = {path: (json.loads(value), limits) for path, value, limits in rows}
    wanted = _settings(DEFAULT_POLICY)
    assert len(wanted) > 15
    assert said == wanted


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(RulePolicy)])
def test_every_number_of_a_rule_is_documented(name: str) -> None:
    assert f"| `{name}` |" in _events()


def _events() -> str:
    return (DOCS / "events.md").read_text()


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_detector_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "events.md").read_text()


def _metrics() -> set[str]:
    """Return the names as they are exported: Prometheus' client ends every counter in ``_total``."""
    made = re.compile(r"(Counter|Gauge|Histogram|Summary)\(\s*\"(sdproctor_[a-z_]+?)(?:_total)?\"")
    sources = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    found = [match for source in sources for match in made.findall(source.read_text())]
    return {f"{name}_total" if kind == "Counter" else name for kind, name in found}


def test_every_metric_is_documented() -> None:
    metrics = _metrics()
    assert len(metrics) > 10
    documented = set(re.findall(r"`(sdproctor_[a-z_]+)`", (DOCS / "operations.md").read_text()))
    assert metrics == documented


def test_every_promise_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[a-z_0-9/]+\.py)`", (DOCS / "trust.md").read_text())
    assert len(named) > 20
    assert [path for path in named if "def test_" not in (ROOT / path).read_text()] == []


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*DOCS.glob("*.md"), *ROOT.glob("*.md")]
    assert documents
    for document in documents:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
