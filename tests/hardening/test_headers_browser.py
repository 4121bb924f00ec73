"""Every page, opened in a real browser under its policy: nothing is refused, nothing breaks, and what is foreign is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db import connections
from django.test import Client
from django.urls import reverse
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from accounts.models import User
from alerts.models import Incident
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.web import free_port, running_web
from tests.browser import FLAGS, chromium_path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

WATCH = """document.addEventListener("securitypolicyviolation",
    (event) => console.error(`refused by policy: ${event.effectiveDirective} ${event.blockedURI}`));"""


@dataclass
class Visit:
    """A browser's page and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, path: str) -> None:
        answer = self.page.goto(path, wait_until="load")
        assert answer is not None
        assert answer.status == 200, path
        assert answer.headers["content-security-policy"], path


@pytest.fixture
def root() -> User:
    return builders.staff(builders.organisation(), superuser=True)


@pytest.fixture
def incident(root: User) -> Incident:
    session = builders.session(root.organisation, exam_id="algebra-1", state="live")
    alert = builders.apply(session, builders.change(phase="closed"), frames={"f1": (builders.ONSET, builders.jpeg())})
    return Incident.objects.get(pk=alert.incident_id)


@pytest.fixture
def visit(
    root: User, incident: Incident, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Visit]:
    """A superuser, signed in at a real web process."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # playwright's loop runs in this thread
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)
    client, port = Client(), free_port()
    client.force_login(root)
    url = f"http://127.0.0.1:{port}"
    evidence = str(settings.STORAGES["evidence"]["OPTIONS"]["location"])
    with running_web(tmp_path, port, EVIDENCE_DIR=evidence), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
        context.add_init_script(WATCH)
        made = Visit(context.new_page())
        made.page.on("console", made.said)
        made.page.on("pageerror", lambda error: made.complaints.append(f"{made.page.url}: {error}"))
        yield made
        browser.close()
        connections.close_all()  # those opened beside playwright's loop


def admin_pages() -> list[str]:
    """Return the list of every model, its form for a new row, and the page of one that is there."""
    found = []
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found.append(reverse(f"{name}_changelist"))
        row = model._default_manager.first()
        if row is not None:
            found.append(reverse(f"{name}_change", args=[row.pk]))
        if page.has_add_permission.__func__ is admin.ModelAdmin.has_add_permission:
            found.append(reverse(f"{name}_add"))
    return found


def test_no_page_of_the_admin_asks_for_what_its_policy_refuses(visit: Visit) -> None:
    pages = admin_pages()
    assert len(pages) > 15
    for path in pages:
        visit.open(path)
    visit.open("/admin/live/")
    visit.page.wait_for_selector("#live-status[data-state=live]")  # its socket is open
    width = visit.page.eval_on_selector("#live-log img", "image => image.decode().then(() => image.naturalWidth)")
    assert width == 64
    assert visit.page.evaluate("typeof Alpine.version") == "string"
    assert visit.complaints == []


def test_the_public_pages_work_under_theirs(visit: Visit) -> None:
    visit.page.context.clear_cookies()
    visit.open("/api/docs/")
    visit.page.click(".opblock-summary >> nth=0")
    visit.page.wait_for_selector(".opblock-body")
    visit.open("/api/problems")
    assert visit.page.eval_on_selector("table", "table => getComputedStyle(table).borderCollapse") == "collapse"
    visit.open("/admin/login/")
    visit.page.wait_for_selector("input[type=password]")
    visit.open(f"/candidate/{ExamSession.objects.get().pk}")
    visit.page.wait_for_selector("#stage-stopped:not([hidden])")  # no token: it says so, in its own words and style
    assert visit.complaints == []


INLINE = """() => { const script = document.createElement("script"); script.textContent = "window.ran = true";
    document.body.append(script); return window.ran === true; }"""
HANDLER = """() => { document.body.insertAdjacentHTML("beforeend", "<b id=trap onclick='window.ran = true'>x</b>");
    document.getElementById("trap").click(); return window.ran === true; }"""
FOREIGN = """(url) => new Promise((refused) => {
    document.addEventListener("securitypolicyviolation", (event) => refused(event.effectiveDirective));
    fetch(url, {mode: "no-cors"}).then(() => refused(""), () => {});
})"""


def test_what_somebody_smuggles_into_a_page_does_not_run_and_cannot_tell(visit: Visit, incident: Incident) -> None:
    for path in ("/admin/live/", "/api/docs/", f"/candidate/{incident.session_id}"):
        visit.open(path)
        assert visit.page.evaluate(INLINE) is False, path
        assert visit.page.evaluate(HANDLER) is False, path
        assert visit.page.evaluate(FOREIGN, f"http://127.0.0.1:{free_port()}/") == "connect-src", path
    visit.open(reverse("admin:alerts_evidence_picture", args=[incident.evidence.get().pk]))
    assert visit.page.evaluate("self.origin") == "null"  # a picture opened as a page is in a sandbox
