"""The lists a proctor watches move by themselves, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from playwright.sync_api import Page, sync_playwright

from sessions.models import ExamSession
from tests.browser import FLAGS, chromium_path
from tests.factories import make_organisation, make_session, make_user

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/exam_sessions/examsession/"
MOVED = "text => document.getElementById('content-main')?.innerText.includes(text)"


@pytest.fixture
def page(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Return a browser's page in which somebody who sees and ends sessions is signed in."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # playwright's loop runs in this thread
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # the server's threads leave none behind
    person = make_user(make_organisation("default"), permissions=["view_examsession", "change_examsession"])
    client = Client()
    client.force_login(person)
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        context = browser.new_context()
        context.add_cookies([cookie])  # type: ignore[list-item]
        yield context.new_page()
        browser.close()
        connections.close_all()  # those opened beside playwright's loop


def test_a_session_that_goes_live_is_seen_without_a_click(page: Page, live_server: Any) -> None:
    session = make_session(make_organisation("default"))
    for path in (LIST, f"{LIST}{session.pk}/change/"):
        ExamSession.objects.update(state="created")
        page.goto(live_server.url + path)
        page.wait_for_selector(".refreshed[data-state=fresh]")
        ExamSession.objects.update(state="live")
        page.wait_for_function(MOVED, arg="LIVE", timeout=30_000)


def test_a_list_waits_while_a_row_is_selected(page: Page, live_server: Any) -> None:
    make_session(make_organisation("default"))
    page.goto(live_server.url + LIST)
    page.wait_for_selector(".refreshed[data-state=fresh]")
    page.check("input.action-select")
    ExamSession.objects.update(state="live")
    page.wait_for_selector(".refreshed[data-state=waiting]", timeout=30_000)
    assert page.is_checked("input.action-select")
    page.uncheck("input.action-select")
    page.mouse.move(0, 0)
    page.wait_for_function(MOVED, arg="LIVE", timeout=30_000)
