"""Hidden page, lost focus, full screen, clipboard, second display: what the page's word comes to."""

from __future__ import annotations

from typing import Any

import pytest

from detection.engine.observations import BROWSER, Observation
from detection.engine.policy import BROWSER_EVENTS
from detection.engine.rules import RulesState, advance, close
from detection.messages import Browser
from tests.engine.observing import START, event, frames, play, policy, told


def said(at: float, kind: str, *, ended: bool = False, **more: Any) -> Observation:
    """What the page told of ``at`` seconds after the start."""
    measure = {"kind": kind, "ended": ended, **more}
    return Observation(f"{kind}:{ended}:{at:.3f}", BROWSER, START + at, {BROWSER: measure})


def test_the_kinds_are_those_that_travel():
    of_challenges = {Browser.CHALLENGE, Browser.CHALLENGE_STEP}
    assert {event.value for event in BROWSER_EVENTS} == {kind.value for kind in set(Browser) - of_challenges}


def test_a_hidden_page_is_an_incident_from_hidden_to_seen():
    seen = [*frames(0, 10), said(10, "TAB_HIDDEN"), *frames(10, 20), said(20, "TAB_HIDDEN", ended=True)]
    changes = play([*seen, *frames(20, 30)])
    assert told(changes) == [("TAB_HIDDEN", "opened", 10.0, None), ("TAB_HIDDEN", "closed", 10.0, 20.0)]
    assert changes[0].decided_at == START + 11
    assert changes[0].measures["decision"] == {"browser": {"kind": "TAB_HIDDEN", "ended": False}}


def test_a_glance_shorter_than_the_hold_time_is_no_incident():
    seen = [said(10, "TAB_HIDDEN"), said(10.9, "TAB_HIDDEN", ended=True), *frames(11, 30)]
    assert play(seen, end=30) == []


def test_going_to_and_fro_is_one_incident():
    seen = [*frames(0, 10)]
    for at in (10, 14, 18):
        seen += [said(at, "TAB_HIDDEN"), *frames(at, at + 2), said(at + 2, "TAB_HIDDEN", ended=True)]
    assert told(play([*seen, *frames(20.5, 30)]))[-1] == ("TAB_HIDDEN", "closed", 10.0, 20.0)


def test_a_page_that_never_says_that_it_is_over_is_closed_with_the_session():
    step = advance(RulesState(), [*frames(0, 5), said(5, "SECOND_DISPLAY"), *frames(5, 20)], policy(), flush=True)
    assert told(step.changes) == [("SECOND_DISPLAY", "opened", 5.0, None)]
    assert told(close(step.state, START + 60, policy()).changes) == [("SECOND_DISPLAY", "closed", 5.0, 60.0)]


@pytest.mark.parametrize(("blur_first", "blur_hold_s"), [(True, 3), (True, 0.5), (False, 3), (False, 0)])
def test_a_hidden_page_explains_the_lost_focus(blur_first: bool, blur_hold_s: float):
    pair = [said(10, "WINDOW_BLUR"), said(10.001, "TAB_HIDDEN")]
    if not blur_first:
        pair = [said(10, "TAB_HIDDEN"), said(10.001, "WINDOW_BLUR")]
    seen = [*frames(0, 10), *pair, *frames(10.5, 20), said(20, "TAB_HIDDEN", ended=True)]
    seen += [said(20.3, "WINDOW_BLUR", ended=True), *frames(20.5, 30)]
    rules = policy(WINDOW_BLUR={"hold_s": blur_hold_s})
    assert {name for name, *_ in told(play(seen, rules, end=30))} == {"TAB_HIDDEN"}


def test_leaving_full_screen_for_longer_than_a_slip_is_an_incident_until_it_is_back():
    seen = [*frames(0, 10), said(10, "FULLSCREEN_EXIT"), *frames(10, 12), said(12, "FULLSCREEN_EXIT", ended=True)]
    assert play([*seen, *frames(12.5, 30)], end=30) == []
    seen += [*frames(12.5, 20), said(20, "FULLSCREEN_EXIT"), *frames(20.5, 40)]
    changes = play([*seen, said(40, "FULLSCREEN_EXIT", ended=True), *frames(40.5, 50)])
    assert told(changes) == [("FULLSCREEN_EXIT", "opened", 20.0, None), ("FULLSCREEN_EXIT", "closed", 20.0, 40.0)]
    assert changes[0].decided_at == START + 23


def test_a_focus_that_stays_away_after_the_page_is_seen_again_counts_from_then_on():
    seen = [*frames(0, 10), said(10, "WINDOW_BLUR"), said(10.01, "TAB_HIDDEN"), *frames(10.5, 20)]
    seen += [
        said(20, "TAB_HIDDEN", ended=True),
        *frames(20, 40),
        said(40, "WINDOW_BLUR", ended=True),
        *frames(40.5, 50),
    ]
    assert told(play(seen)) == [
        ("TAB_HIDDEN", "opened", 10.01, None),
        ("TAB_HIDDEN", "closed", 10.01, 20.0),
        ("WINDOW_BLUR", "opened", 20.0, None),
        ("WINDOW_BLUR", "closed", 20.0, 40.0),
    ]


def test_a_use_of_the_clipboard_is_a_moment_and_several_shortly_after_one_another_are_one_incident():
    seen = [*frames(0, 5), said(5, "CLIPBOARD", action="copy"), *frames(5.5, 12), said(12, "CLIPBOARD", action="paste")]
    seen += [*frames(12.5, 40), said(40, "CLIPBOARD", action="cut"), *frames(40.5, 60)]
    changes = play(seen)
    assert told(changes) == [
        ("CLIPBOARD", "opened", 5.0, None),
        ("CLIPBOARD", "closed", 5.0, 12.0),
        ("CLIPBOARD", "opened", 40.0, None),
        ("CLIPBOARD", "closed", 40.0, 40.0),
    ]
    assert changes[0].measures["onset"]["browser"]["action"] == "copy"


def test_two_uses_far_apart_do_not_add_up_to_a_hold_time():
    seen = [said(5, "CLIPBOARD"), *frames(5.5, 60), said(60, "CLIPBOARD"), *frames(60.5, 90)]
    assert play(seen, policy(CLIPBOARD={"hold_s": 5}), end=90) == []


def test_what_the_page_could_tell_only_later_counts_when_it_happened():
    late = [said(10, "TAB_HIDDEN"), said(20, "TAB_HIDDEN", ended=True)]
    changes = play([*frames(0, 60), said(40, "CLIPBOARD"), *late, *frames(60, 65)])
    assert ("TAB_HIDDEN", "closed", 10.0, 20.0) in told(changes)


def test_what_is_told_twice_counts_once():
    hidden, seen_again = said(10, "TAB_HIDDEN"), said(20, "TAB_HIDDEN", ended=True)
    again = Observation("another", BROWSER, hidden.captured_at + 0.03, hidden.measures)  # dated by another answer time
    changes = play([*frames(0, 20), hidden, seen_again, *frames(20.5, 30), again, hidden, *frames(30, 60)], end=60)
    assert told(changes) == [("TAB_HIDDEN", "opened", 10.0, None), ("TAB_HIDDEN", "closed", 10.0, 20.0)]


def test_a_page_that_talks_does_not_bring_a_lost_connection_back():
    seen = [
        event(0, "peer_connected"),
        *frames(0, 5),
        event(5, "peer_lost"),
        said(8, "CLIPBOARD"),
        said(9, "TAB_HIDDEN"),
    ]
    step = advance(RulesState(), seen, policy())
    assert ("CONNECTION_LOST", "opened", 5.0, None) in told(step.changes)
    assert step.state.link.peer_down_at == START + 5


def test_a_rule_that_is_switched_off_opens_nothing():
    seen = [said(5, "TAB_HIDDEN"), *frames(5, 30)]
    assert play(seen, policy(TAB_HIDDEN={"enabled": False}), end=30) == []
