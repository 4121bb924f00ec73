"""The candidate's page: what is served, and that its scripts and texts fit together."""

from __future__ import annotations

import re
import uuid
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from detection.engine.challenge import Prompt
from detection.engine.policy import TECHNICAL_EVENTS, EventType
from enrollment.views import GATE_CODES

STATIC = Path(__file__).resolve().parents[2] / "sessions" / "static" / "exam_sessions"
TEMPLATE = STATIC.parents[1] / "templates" / "exam_sessions" / "candidate.html"
SCRIPTS = {path.name: path.read_text() for path in sorted(STATIC.glob("*.js"))}
TEXTS = set(re.findall(r'^  "([\w.]+)":', SCRIPTS["strings.js"], flags=re.MULTILINE))
PARTS = ("title", "text")
MOVEMENTS = {f"checkIn.{prompt.value}" for prompt in Prompt} | {
    f"checkIn.{stage}.{part}" for stage in ("seen", "next") for part in PARTS
}
"""Texts whose keys are put together."""


class Elements(HTMLParser):
    """Collects each element's attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(html)
    assert parser.found
    return parser.found


@pytest.fixture
def page(client: Client) -> str:
    return client.get(f"/candidate/{uuid.uuid4()}").content.decode()


def test_the_page_is_served_for_any_session_without_asking_the_database(client: Client) -> None:
    pk = uuid.uuid4()
    response = client.get(f"/candidate/{pk}")
    assert response.status_code == 200
    assert f'data-session="{pk}"' in response.content.decode()
    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] == "no-referrer"


def test_an_address_that_is_no_id_is_not_found(client: Client) -> None:
    assert client.get("/candidate/../../etc/passwd").status_code == 404
    assert client.get("/candidate/abc").status_code == 404


def test_the_page_accepts_no_posts(client: Client) -> None:
    assert client.post(f"/candidate/{uuid.uuid4()}").status_code == 405


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(client: Client, settings: Any) -> None:
    settings.GATEWAY_PUBLIC_URL = "https://gateway.example:8443"
    settings.PUBLIC_URL = "https://exam.example"
    policy = client.get(f"/candidate/{uuid.uuid4()}")["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == "'self' wss://exam.example https://gateway.example:8443"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy


def test_nothing_in_the_page_is_inline(page: str) -> None:
    for tag, attributes in elements(page):
        assert not any(name == "style" or name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "script":
            assert attributes["src"]


def test_every_text_that_is_asked_for_exists(page: str) -> None:
    asked = {value for _, attributes in elements(page) for name, value in attributes.items() if name == "data-text"}
    asked |= {value for _, attributes in elements(page) for name, value in attributes.items() if name == "data-label"}
    for script in SCRIPTS.values():
        asked |= set(re.findall(r'\btext\("([\w.]+)"', script))
        asked |= set(re.findall(r'showBusy\("\w+", "([\w.]+)"', script))
        asked |= {f"stopped.{reason}.title" for reason in re.findall(r'showStopped\("(\w+)"', script)}
        asked |= {f"checkIn.{stage}.{part}" for stage in re.findall(r'showCheckIn\("(\w+)"', script) for part in PARTS}
        asked |= set(re.findall(r'"(checkIn\.\w+)"', script))
    assert len(asked) > 30
    assert asked <= TEXTS
    assert {key for key in TEXTS if key.startswith("checkIn.")} <= asked | MOVEMENTS


def test_every_element_that_is_asked_for_exists(page: str) -> None:
    ids = {attributes["id"] for _, attributes in elements(page) if "id" in attributes}
    asked = {name for script in SCRIPTS.values() for name in re.findall(r'\belement\("([\w-]+)"\)', script)}
    assert len(asked) > 15
    assert asked <= ids


def test_every_field_and_region_has_a_name_for_screen_readers(page: str) -> None:
    found = elements(page)
    labelled = {attributes["for"] for tag, attributes in found if tag == "label"}
    named = [
        attributes.get("id") in labelled or bool({"aria-label", "aria-labelledby", "data-label"} & attributes.keys())
        for tag, attributes in found
        if tag in {"input", "meter", "video", "section"} or attributes.get("role") == "region"
    ]
    assert len(named) >= 7
    assert all(named)


def test_problems_of_the_quality_gate_are_explained() -> None:
    assert {f"enrol.problem.{code}" for code in GATE_CODES} <= TEXTS


def test_candidates_are_told_of_everything_that_is_watched_and_why() -> None:
    assert {f"watched.{event.value}" for event in set(EventType) - TECHNICAL_EVENTS} <= TEXTS


def test_every_movement_that_may_be_asked_for_has_words_and_a_sign() -> None:
    assert MOVEMENTS <= TEXTS
    signs = re.search(r"const SIGNS = \{(.+?)\}", SCRIPTS["view.js"])
    assert signs
    assert set(re.findall(r"(\w+): ", signs[1])) == {prompt.value for prompt in Prompt}
