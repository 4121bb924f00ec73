"""Hand on what a candidate's page tells of itself: onto the server's clock, and to the workers by the queue."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from celery import current_app

from accounts.problems import Problem
from detection import messages
from sessions.cameras import virtual_camera
from sessions.models import ExamSession

CAMERA: Final = "CAMERA"
"""What the page tells of the camera in use; what goes on from here is ``VIRTUAL_CAMERA``, without the label."""
TOLD: Final = (
    messages.Browser.TAB_HIDDEN.value,
    messages.Browser.WINDOW_BLUR.value,
    messages.Browser.FULLSCREEN_EXIT.value,
    messages.Browser.CLIPBOARD.value,
    messages.Browser.SECOND_DISPLAY.value,
    messages.Browser.CHALLENGE_STEP.value,
    CAMERA,
)
"""What a page may tell."""
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {messages.Browser.CHALLENGE_STEP.value: ("challenge_id", "step")}
"""Members of an event that belong to its type."""
MAX_EVENTS: Final = 100
"""Per request."""
MAX_AGE_S: Final = 3600.0
"""How late an event may be told: a page that was offline tells what it kept."""
AHEAD_S: Final = 5.0
"""How far an event may lie ahead of the page's own clock, which may be set while it runs; it counts as now then."""
_TICK_S: Final = 0.001
"""A page's clock may be so coarse that two events share a time: they stay in the order in which they were told."""
_PUBLISH_ONCE_MORE: Final = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1}


@dataclass(frozen=True, slots=True)
class PageEvent:
    """One thing a page told. ``at``: Unix seconds on the page's clock. ``camera``: the label of the one in use."""

    kind: str
    at: float
    ended: bool = False
    action: str = ""
    camera: str = ""
    challenge_id: uuid.UUID | None = None
    step: int | None = None


def browser_events_send(
    *, session: ExamSession, events: Sequence[PageEvent], page_now: float | None = None, now: float | None = None
) -> int:
    """Queue what the page of ``session`` told; return how many events that were.

    ``page_now``: what the page's clock showed when it sent them; None: its clock is taken to be right. Raises
    ``Problem``: ``session_ended``, ``event_type_unknown``, ``event_time_invalid``; a broker that is away comes through.
    """
    if session.state == ExamSession.State.ENDED:
        raise Problem("session_ended", f"Session '{session.session_id}' has ended.")
    _require_known(events)
    now = time.time() if now is None else now
    ages_s = [(now if page_now is None else page_now) - event.at for event in events]
    _require_in_time(ages_s)
    message = messages.BrowserMessage(str(session.id), _on_our_clock(session, events, ages_s, now))
    current_app.send_task(
        messages.TASK_NOTE_BROWSER,
        kwargs=message.to_dict(),
        ignore_result=True,
        retry=True,
        retry_policy=_PUBLISH_ONCE_MORE,
    )
    return len(message.events)


def _require_known(events: Sequence[PageEvent]) -> None:
    unknown = sorted({event.kind for event in events} - set(TOLD))
    if unknown:
        detail = f"No event of a page: {', '.join(unknown)}."
        raise Problem("event_type_unknown", detail, unknown=unknown, known=list(TOLD))


def _require_in_time(ages_s: Sequence[float]) -> None:
    wrong = [index for index, age_s in enumerate(ages_s) if not -AHEAD_S <= age_s <= MAX_AGE_S]
    if wrong:
        detail = f"Events are told at most {MAX_AGE_S:g} s late and never ahead; Unix times are in seconds."
        raise Problem("event_time_invalid", detail, events=wrong)


def _on_our_clock(
    session: ExamSession, events: Sequence[PageEvent], ages_s: Sequence[float], now: float
) -> tuple[messages.BrowserEvent, ...]:
    """Date each event by its age, in the order told where two of a kind have the same time."""
    dated: list[messages.BrowserEvent] = []
    newest: dict[str, float] = {}
    for event, age_s in sorted(zip(events, ages_s, strict=True), key=lambda pair: -pair[1]):
        at = max(now - max(0.0, age_s), newest.get(event.kind, 0.0) + _TICK_S)
        newest[event.kind] = at
        dated.append(_passed_on(_event_id(session, event), event, at))
    return tuple(dated)


def _passed_on(event_id: str, event: PageEvent, at: float) -> messages.BrowserEvent:
    """Write down what goes on to the workers: of a camera's label only the known program's name."""
    if event.kind == CAMERA:
        found = virtual_camera(event.camera)
        details: dict[str, Any] = {} if found is None else {"product": found.product, "grade": found.grade}
        return messages.BrowserEvent(
            event_id, messages.Browser.VIRTUAL_CAMERA, at, ended=found is None, details=details
        )
    if event.kind == messages.Browser.CHALLENGE_STEP:
        details = {"challenge_id": str(event.challenge_id), "step": event.step}
        return messages.BrowserEvent(event_id, event.kind, at, details=details)
    return messages.BrowserEvent(event_id, event.kind, at, event.ended, event.action)


def _event_id(session: ExamSession, event: PageEvent) -> str:
    """Name an event by what the page said, so that one told twice is the same."""
    told = f"{event.kind}:{event.ended}:{event.action}:{event.at!r}"
    if event.step is not None or event.camera:
        told += f":{event.camera}:{event.challenge_id}:{event.step}"
    return uuid.uuid5(session.id, told).hex
