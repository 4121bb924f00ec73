"""What the documents promise is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accounts.problems import CODES
from detection.engine.detectors import DETECTORS
from detection.engine.policy import EventType
from media_gateway.problems import CODES as GATEWAY_CODES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGES = ("proctor_site", "accounts", "enrollment", "sessions", "detection", "alerts", "media_gateway")


def _codes_in_tables(text: str) -> dict[str, int]:
    return {code: int(status) for code, status in re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text, re.MULTILINE)}


def test_every_problem_code_is_documented_with_its_status_and_no_other() -> None:
    rest, gateway = (DOCS / "api.md").read_text().split("The gateway answers in the same form")
    assert _codes_in_tables(rest) == {code: kind.status for code, kind in CODES.items()}
    assert _codes_in_tables(gateway) == {code: int(status) for code, status in GATEWAY_CODES.items()}


@pytest.mark.parametrize("event_type", [event.value for event in EventType])
def test_every_event_type_is_documented(event_type: str) -> None:
    assert f"`{event_type}`" in (DOCS / "events.md").read_text()


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


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*DOCS.glob("*.md"), *ROOT.glob("*.md")]
    assert documents
    for document in documents:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
