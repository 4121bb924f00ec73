"""The challenge at check-in: drawn here, shown by the candidate's page, judged by the workers on the frames."""

from __future__ import annotations

import random
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from celery import current_app
from django.db import transaction
from django.utils import timezone

from accounts.problems import Problem
from detection import messages
from detection.engine.challenge import TURNS, Prompt
from detection.engine.policy import Policy
from sessions.models import Challenge, ExamSession
from sessions.services import session_lock

TRIES: Final = 3
"""Per session: light and distance need a second try, and nobody is kept busy with more."""
WITHIN: Final = timedelta(minutes=10)
"""How long after media first arrived a challenge may begin: while it runs, head and gaze are not judged."""
LEAD_S: Final = 8.0
"""From the request until the first movement is shown: reading, and looking straight ahead."""
BETWEEN_S: Final = 4.0
"""Between two movements: hearing that one was seen, and coming back to the middle."""
_PUBLISH_ONCE_MORE: Final = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1}

OFF, NOT_DONE = "off", "not_done"
STANDINGS: Final = (OFF, NOT_DONE, *Challenge.Outcome.values)
"""How a session may stand with its check-in."""
STANDING_WORDS: Final = {
    OFF: "Not asked for: the policy, or an accommodation, leaves it out.",
    NOT_DONE: "Not done. Nobody has to.",
    "running": "Being done now.",
    "passed": "Passed: every movement was seen when it was asked for.",
    "failed": "Not passed: see below which movements were not seen. Light, distance or a stiff neck may be why.",
    "unfinished": "Begun and not finished: the page went away, or no face was seen meanwhile.",
}
"""The same for people."""
_PROMPT_WORDS: Final = {
    Prompt.TURN_LEFT: "head to their left",
    Prompt.TURN_RIGHT: "head to their right",
    Prompt.LOOK_UP: "look up",
    Prompt.COME_CLOSER: "come closer",
    Prompt.OPEN_MOUTH: "open the mouth",
}
_RESULT_WORDS: Final = {"open": "not asked yet", "missed": "not seen", "unseen": "no face was seen meanwhile"}


def challenge_begin(*, session: ExamSession, draw: random.Random | None = None) -> Challenge:
    """Draw the movements for one try, tell the workers, and return it; it expires soon.

    Raises ``Problem``: ``session_ended``, ``session_unknown`` (erased meanwhile); ``challenge_closed`` where the policy
    has none, it was passed, all tries are used up or the session is under way. A broker that is away comes through, and
    nothing has begun then.
    """
    with transaction.atomic():
        locked = session_lock(session)
        if locked.state == ExamSession.State.ENDED:
            raise Problem("session_ended", f"Session '{locked.session_id}' has ended.")
        if not challenge_is_open(locked):
            raise Problem("challenge_closed")
        challenge = _draw(locked, draw or secrets.SystemRandom())
        challenge.save(force_insert=True)
        _announce(challenge)  # inside: a challenge that no worker knows of could never be passed
    return challenge


def challenge_is_open(session: ExamSession) -> bool:
    """Return whether the candidate may begin a challenge now."""
    if not Policy.from_dict(session.policy_document).check_in.enabled:
        return False
    if session.live_at is not None and timezone.now() > session.live_at + WITHIN:
        return False
    tries = Challenge.objects.filter(session=session)
    return tries.count() < TRIES and not tries.filter(outcome=Challenge.Outcome.PASSED).exists()


def challenge_note(*, challenge_id: str, outcome: str, steps: list[dict[str, Any]]) -> bool:
    """Write what the workers found; return whether there is such a challenge. Safe inside another transaction."""
    return bool(Challenge.objects.filter(pk=uuid.UUID(challenge_id)).update(outcome=outcome, steps=steps))


def check_in_outcome(session: ExamSession, tries: list[Challenge]) -> str:
    """Return how a session stands with its check-in: the best of its tries, newest last, counts."""
    if any(each.outcome == Challenge.Outcome.PASSED for each in tries):
        return Challenge.Outcome.PASSED.value
    if tries:
        return tries[-1].settled
    return NOT_DONE if Policy.from_dict(session.policy_document).check_in.enabled else OFF


def steps_in_words(challenge: Challenge) -> str:
    """Say for each movement, in its order, after how many seconds it was seen, or why it was not."""
    return "; ".join(f"{_PROMPT_WORDS[Prompt(step['prompt'])]}: {_result(step)}" for step in challenge.steps)


def _result(step: dict[str, Any]) -> str:
    if step["done_at"] is not None and step["shown_at"] is not None:
        return f"seen after {step['done_at'] - step['shown_at']:.1f} s"
    return _RESULT_WORDS[step["result"]]


def _draw(session: ExamSession, draw: random.Random) -> Challenge:
    check_in = Policy.from_dict(session.policy_document).check_in
    count, now = int(check_in.steps), timezone.now()
    turn = draw.choice(sorted(TURNS))
    others = draw.sample(sorted(set(Prompt) - {turn}), count - 1)
    prompts = [turn, *others]
    draw.shuffle(prompts)
    time_s = LEAD_S + count * (check_in.step_s + BETWEEN_S)
    steps = [{"prompt": prompt.value, "result": "open", "shown_at": None, "done_at": None} for prompt in prompts]
    return Challenge(
        organisation_id=session.organisation_id,
        session=session,
        issued_at=now,
        expires_at=now + timedelta(seconds=time_s),
        steps=steps,
    )


def _announce(challenge: Challenge) -> None:
    details = {
        "challenge_id": str(challenge.id),
        "prompts": [step["prompt"] for step in challenge.steps],
        "expires_at": challenge.expires_at.timestamp(),
    }
    at = challenge.issued_at.timestamp()
    event = messages.BrowserEvent(challenge.id.hex, messages.Browser.CHALLENGE, at, details=details)
    current_app.send_task(
        messages.TASK_NOTE_BROWSER,
        kwargs=messages.BrowserMessage(str(challenge.session_id), (event,)).to_dict(),
        ignore_result=True,
        retry=True,
        retry_policy=_PUBLISH_ONCE_MORE,
    )


def moment_iso(seconds: float | None) -> str | None:
    """Turn Unix seconds, as steps have them, into ISO 8601; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
