"""The live page: who sees it and what is on it, and in a real browser that alerts arrive without a reload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, sync_playwright

from accounts.models import Organisation
from detection.engine.policy import EventType
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.web import free_port, running_web
from tests.browser import FLAGS, chromium_path

pytestmark = pytest.mark.django_db(transaction=True)

LIVE = "/admin/live/"


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def session(owner: Organisation) -> ExamSession:
    candidate = builders.candidate(owner, name="jane-17")
    return builders.session(owner, exam_id="maths", candidate=candidate, state="live", live_at=timezone.now())


def client_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


# --- What is served ---------------------------------------------------------------------------------------------------
def test_the_page_shows_running_sessions_with_their_latest_incidents(owner: Organisation, session: ExamSession) -> None:
    ended = builders.session(owner, state="ended", ended_at=timezone.now())
    foreign = builders.session(state="live")
    for _ in range(5):
        builders.apply(session)
    answer = client_of(builders.staff(owner)).get(LIVE)
    page = answer.content.decode()
    assert reverse("admin-live") == LIVE
    (row,) = answer.context["rows"]
    assert (row["session"], len(row["open"]), len(row["latest"])) == (session, 5, 3)
    assert "jane-17" in page
    assert str(ended.pk) not in page
    assert str(foreign.pk) not in page


def test_an_exam_can_be_chosen(owner: Organisation, session: ExamSession) -> None:
    other = builders.session(owner, exam_id="physics", state="live")
    client = client_of(builders.staff(owner))
    answer = client.get(LIVE, {"exam": "physics"})
    assert [row["session"] for row in answer.context["rows"]] == [other]
    assert "exam_id=physics" in answer.context["socket"]
    assert client.get(LIVE, {"exam": "a\x00b"}).status_code == 404


@pytest.mark.parametrize("may", [(), ("view_examsession",), ("view_incident",)])
def test_who_may_not_see_both_sessions_and_incidents_does_not_see_the_page(
    owner: Organisation, may: tuple[str, ...]
) -> None:
    client = client_of(builders.staff(owner, may=may))
    assert client.get(LIVE).status_code == 403
    if may:
        assert LIVE not in client.get("/admin/", follow=True).content.decode()


def test_the_sidebar_leads_to_it(owner: Organisation) -> None:
    assert LIVE in client_of(builders.staff(owner)).get("/admin/", follow=True).content.decode()


def test_only_superusers_choose_an_organisation(owner: Organisation, session: ExamSession) -> None:
    other = builders.organisation()
    proctor, chief = (client_of(builders.staff(other, superuser=superuser)) for superuser in (False, True))
    assert proctor.get(LIVE, {"organisation": owner.slug}).status_code == 404
    assert chief.get(LIVE, {"organisation": "none"}).status_code == 404
    answer = chief.get(LIVE, {"organisation": owner.slug})
    assert [row["session"] for row in answer.context["rows"]] == [session]


def test_the_page_has_nothing_inline_of_its_own(owner: Organisation, session: ExamSession) -> None:
    builders.apply(session)
    page = client_of(builders.staff(owner)).get(LIVE).content.decode()
    own = page[page.index('<div id="live"') :]
    own = own[: own.index('<template id="live-row">')]
    assert "<script" not in own
    assert not re.search(r"\s(style|on[a-z]+)=", own)


def test_it_asks_the_database_as_often_for_many_sessions_as_for_one(owner: Organisation) -> None:
    client = client_of(builders.staff(owner))
    counts = []
    for total in (1, 20):
        while ExamSession.objects.count() < total:
            builders.apply(builders.session(owner, state="live", exam_id="maths"))
        with CaptureQueriesContext(connection) as captured:
            client.get(LIVE)
        counts.append(len(captured))
    assert counts[0] == counts[1]


# --- In a browser -----------------------------------------------------------------------------------------------------
@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def page(owner: Organisation, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Yield a browser's page in which a proctor is signed in at a web process on ``port``."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # playwright's loop runs in this thread
    cookie = client_of(builders.staff(owner)).cookies["sessionid"].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        url = f"http://127.0.0.1:{port}"
        context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": url}])
        yield context.new_page()
        browser.close()
        connections.close_all()  # those opened beside playwright's loop


@pytest.fixture
def web(tmp_path: Path, port: int, evidence_dir: Path) -> Iterator[None]:
    with running_web(tmp_path, port, EVIDENCE_DIR=str(evidence_dir)):
        yield


@pytest.mark.usefixtures("web")
def test_incidents_and_sessions_arrive_without_a_reload(page: Page, owner: Organisation, session: ExamSession) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(LIVE)
    page.wait_for_selector("#live-status[data-state=live]")
    row = page.locator(f'[data-session="{session.pk}"]')
    opened = builders.change(EventType.FACE_MISMATCH)
    first = builders.apply(session, opened, frames={"f1": (builders.ONSET, builders.jpeg())})

    item = page.locator(f'[data-event="{first.event_id}"]')
    item.wait_for()
    assert "FACE_MISMATCH opened jane-17, 14:13:20, severity" in " ".join(item.inner_text().split())
    page.wait_for_function("item => item.querySelector('img').naturalWidth > 0", arg=item.element_handle())
    assert row.locator("[data-part=open]").inner_text() == "1"
    address = row.locator("[data-part=latest] a").get_attribute("href")
    assert address == reverse("admin:alerts_incident_change", args=[first.incident_id])

    builders.apply(session, builders.closing(opened))
    page.locator(f'[data-session="{session.pk}"] [data-phase=closed]').wait_for()
    assert row.locator("[data-part=open]").inner_text() == "0"
    assert row.locator("[data-part=latest] li").count() == 1

    later = builders.session(owner, exam_id="physics", state="created")
    page.locator(f'[data-session="{later.pk}"] [data-part=state][data-state=created]').wait_for()
    ExamSession.objects.filter(pk=later.pk).update(state="ended", ended_at=timezone.now())
    page.locator(f'[data-session="{later.pk}"] [data-part=state][data-state=ended]').wait_for()
    assert problems == []


def test_after_a_break_the_page_goes_on_where_it_was(
    page: Page, session: ExamSession, tmp_path: Path, port: int
) -> None:
    with running_web(tmp_path, port):
        page.goto(LIVE)
        page.wait_for_selector("#live-status[data-state=live]")
        builders.apply(session)
        page.wait_for_selector("#live-log li")
    page.wait_for_selector("#live-status[data-state=lost]")
    missed = [builders.apply(session) for _ in range(3)]
    with running_web(tmp_path, port):
        page.wait_for_selector("#live-status[data-state=live]")
        for alert in missed:
            page.locator(f'[data-event="{alert.event_id}"]').wait_for()
        assert page.locator("#live-log li").count() == 4


@pytest.mark.usefixtures("web")
def test_everything_can_be_reached_and_read_with_the_keyboard(page: Page, session: ExamSession) -> None:
    alert = builders.apply(session)
    page.goto(LIVE)
    page.wait_for_selector("#live-status[data-state=live]")
    page.focus("#live-exam")
    reached: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('href') || document.activeElement.id"))
    assert f"/admin/exam_sessions/examsession/{session.pk}/change/" in reached
    assert reached.count(f"/admin/alerts/incident/{alert.incident_id}/change/") == 2  # in the row and in the list
    assert "live-log" in reached
