"""Hours of deciding by keyboard, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.test import Client
from playwright.sync_api import Page, expect, sync_playwright

from accounts.models import User
from alerts.models import Incident, Review
from detection.engine.policy import EventType
from tests.alerts import builders
from tests.browser import FLAGS, chromium_path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

LIST = "/admin/alerts/incident/"
MAY = ("view_examsession", "view_incident", "view_evidence", "review_incident")


@pytest.fixture
def ann(monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # playwright's loop runs in this thread
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # the server's threads leave none behind
    assert Permission.objects.filter(codename="review_incident").exists()
    return builders.staff(builders.organisation(), may=MAY)


@pytest.fixture
def page(live_server: Any, ann: User) -> Iterator[Page]:
    """A browser's page in which Ann is signed in."""
    client = Client()
    client.force_login(ann)
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=live_server.url)
        context.add_cookies([cookie])  # type: ignore[list-item]
        yield context.new_page()
        browser.close()
        connections.close_all()  # those opened beside playwright's loop


def found(ann: User, count: int) -> list[Incident]:
    """Incidents of one session, in the order of the queue."""
    session = builders.session(ann.organisation, exam_id="algebra-1")
    kinds = [EventType.PHONE, EventType.NO_FACE, EventType.HEAD_TURNED, EventType.MULTIPLE_PERSONS, EventType.BOOK]
    alerts = []
    for number in range(count):
        at = builders.ONSET + 60 * number
        change = builders.change(
            kinds[number % 5], "closed", started_at=at, decided_at=at + 2, ended_at=at + 9, peak_at=at + 3
        )
        frames = {f"f{number}{n}": (at + n, builders.jpeg(40 * n + 20)) for n in range(3)}
        alerts.append(builders.apply(session, change, frames=frames))
    return [Incident.objects.get(pk=alert.incident_id) for alert in alerts]


def states(incidents: list[Incident]) -> list[str]:
    for incident in incidents:
        incident.refresh_from_db()
    return [incident.state for incident in incidents]


def shows(page: Page, incident: Incident) -> None:
    page.wait_for_url(f"**{LIST}{incident.pk}/change/")


def test_incidents_are_decided_on_one_after_the_other_without_the_mouse(page: Page, ann: User) -> None:
    first, second, third, fourth = found(ann, 4)
    page.goto(LIST)
    page.get_by_role("link", name="Review what waits").click()
    shows(page, first)

    page.keyboard.press("d")  # asks for the reason
    page.keyboard.type("a remote control, c and d are letters here")
    page.keyboard.press("Enter")
    shows(page, second)
    page.keyboard.press("n")  # passed over
    shows(page, third)
    page.keyboard.press("1")  # the reason of before
    page.keyboard.press("d")
    shows(page, fourth)
    page.keyboard.press("c")
    page.keyboard.press("Escape")  # thought better of it
    page.keyboard.press("n")
    shows(page, second)
    page.keyboard.press("c")
    page.keyboard.type("nobody was there")
    page.keyboard.press("Enter")
    shows(page, fourth)

    assert states([first, second, third, fourth]) == ["dismissed", "confirmed", "dismissed", "closed"]
    assert sorted(Review.objects.values_list("reason", flat=True)) == [
        "a remote control, c and d are letters here", "a remote control, c and d are letters here", "nobody was there"
    ]  # fmt: skip


def test_enter_decides_nothing_before_a_decision_was_chosen(page: Page, ann: User) -> None:
    first, _ = found(ann, 2)
    page.goto(f"{LIST}{first.pk}/change/")
    page.fill("input[name=reason]", "I have not decided yet")
    page.keyboard.press("Enter")
    expect(page.locator("input[name=reason]")).not_to_be_focused()
    page.keyboard.press("c")
    page.wait_for_url(lambda url: str(first.pk) not in url)
    assert states([first]) == ["confirmed"]


def test_what_was_decided_is_reopened_by_key(page: Page, ann: User) -> None:
    first, second = found(ann, 2)
    page.goto(f"{LIST}{first.pk}/change/")
    page.fill("input[name=reason]", "a dog")
    page.get_by_role("button", name="Dismiss").click()
    shows(page, second)
    page.go_back()
    page.reload()
    page.keyboard.press("r")
    page.keyboard.type("it was no dog")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Confirm")).to_be_visible()
    assert states([first]) == ["reopened"]


def test_many_are_dismissed_from_the_list(page: Page, ann: User) -> None:
    incidents = found(ann, 3)
    page.goto(LIST)
    page.check("#action-toggle")
    page.select_option("select[name=action]", "dismiss")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("Dismiss 3")).to_be_visible()
    page.keyboard.press("d")
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Incidents dismissed: 3.")).to_be_visible()
    assert set(states(incidents)) == {"dismissed"}
