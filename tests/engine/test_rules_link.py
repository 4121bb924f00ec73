"""Connection, camera and microphone: what the gateway's technical events come to."""

from __future__ import annotations

import pytest

from detection.engine.link import _PARTS
from detection.engine.policy import Policy
from detection.engine.rules import RulesState, advance, close
from detection.messages import Technical
from tests.engine.observing import START, event, frames, play, policy, told, windows


def _passing(state: RulesState, until: float, *, every: float = 2.0):
    """Let time pass as the sweep does; return all changes and the state."""
    changes, now = [], 0.0
    while now < until:
        now += every
        step = advance(state, [], Policy(), now=START + now)
        state, changes = step.state, changes + step.changes
    return changes, state


def test_the_kinds_are_the_gateways():
    assert set(_PARTS) == {kind.value for kind in Technical} - {Technical.GAP.value}


def test_a_lost_connection_opens_as_time_passes_and_closes_with_the_next_peer():
    state = advance(RulesState(), [event(0, "peer_connected"), event(5, "peer_lost")], Policy()).state
    assert advance(state, [], Policy(), now=START + 6).changes == []
    step = advance(state, [], Policy(), now=START + 9)
    assert told(step.changes) == [("CONNECTION_LOST", "opened", 5.0, None)]
    assert step.changes[0].decided_at == START + 7
    assert step.changes[0].measures["decision"]["technical"]["kind"] == "peer_lost"
    assert step.changes[0].model == ""
    step = advance(step.state, [event(20, "peer_connected", peer_id="p2")], Policy(), flush=True)
    assert told(step.changes) == [("CONNECTION_LOST", "closed", 5.0, 20.0)]


def test_a_connection_that_recovers_within_the_hold_time_is_no_incident():
    seen = [event(0, "peer_connected"), event(5, "peer_lost"), event(6.5, "peer_connected", peer_id="p2")]
    assert play([*seen, *frames(7, 20)], end=20) == []


def test_a_peer_that_was_replaced_takes_nothing_with_it():
    seen = [event(0, "peer_connected"), event(5, "peer_connected", peer_id="p2"), event(5.1, "peer_lost")]
    seen += [event(5.2, "video_stopped"), *frames(5.5, 20)]
    assert play(seen, end=20) == []


def test_a_lost_connection_is_one_incident_not_three():
    seen = [event(0, "peer_connected"), *frames(0, 5), event(5, "video_stopped"), event(5, "audio_stopped")]
    changes, state = _passing(advance(RulesState(), [*seen, event(6, "peer_lost")], Policy()).state, 60)
    assert told(changes) == [("CONNECTION_LOST", "opened", 6.0, None)]
    assert told(close(state, START + 60, Policy()).changes) == [("CONNECTION_LOST", "closed", 6.0, 60.0)]


def test_a_lost_connection_ends_the_camera_incident_before_it():
    seen = [event(0, "peer_connected"), event(5, "video_stopped"), *windows(5, 30), event(30, "peer_lost")]
    changes, _ = _passing(advance(RulesState(), seen, Policy()).state, 40)
    assert told([*play(seen[:-1]), *changes][-3:]) == [
        ("CAMERA_LOST", "opened", 5.0, None),
        ("CONNECTION_LOST", "opened", 30.0, None),
        ("CAMERA_LOST", "closed", 5.0, 30.0),
    ]


@pytest.mark.parametrize(
    ("stopped", "started", "name", "hold_s"),
    [
        ("video_stopped", "video_started", "CAMERA_LOST", 2.0),
        ("audio_stopped", "audio_started", "MICROPHONE_SILENT", 10.0),
    ],
)
def test_media_that_stops_is_a_technical_incident(stopped, started, name, hold_s):
    state = advance(RulesState(), [event(0, "peer_connected"), event(10, stopped)], Policy()).state
    changes, state = _passing(state, 10 + hold_s)
    assert changes == []
    changes, state = _passing(state, 30)
    assert told(changes) == [(name, "opened", 10.0, None)]
    assert changes[0].decided_at == START + 10 + hold_s
    back = [event(30, started), *(windows(30, 33) if name == "MICROPHONE_SILENT" else frames(30, 33))]
    assert told(advance(state, back, Policy(), flush=True).changes) == [(name, "closed", 10.0, 30.0)]


def test_a_short_stop_of_the_camera_is_no_incident():
    assert play([event(5, "video_stopped"), event(6.9, "video_started"), *frames(7, 20)], end=20) == []


def test_frames_prove_that_the_camera_is_back_when_the_message_about_it_is_lost():
    changes = play([event(5, "video_stopped"), *windows(5, 9), *frames(10, 14)])
    assert told(changes) == [("CAMERA_LOST", "opened", 5.0, None), ("CAMERA_LOST", "closed", 5.0, 10.0)]


def test_a_frame_captured_just_before_the_camera_stopped_proves_nothing():
    seen = [event(5, "video_stopped"), *frames(5, 6), *windows(5, 9)]
    assert told(play(sorted(seen, key=lambda o: o.captured_at))) == [("CAMERA_LOST", "opened", 5.0, None)]


def test_silence_goes_on_when_the_microphone_then_stops():
    seen = [*windows(0, 6, rms_dbfs=-120), event(6.5, "audio_stopped"), event(30, "audio_started"), *windows(30, 35)]
    assert told(play(seen)) == [
        ("MICROPHONE_SILENT", "opened", 0.0, None),
        ("MICROPHONE_SILENT", "closed", 0.0, 30.0),
    ]


def test_the_last_sound_before_the_microphone_stopped_does_not_end_the_silence():
    seen = [event(5, "audio_stopped"), *windows(4, 6), event(25, "audio_started"), *windows(25, 30)]
    assert told(play(sorted(seen, key=lambda o: o.captured_at))) == [
        ("MICROPHONE_SILENT", "opened", 5.0, None),
        ("MICROPHONE_SILENT", "closed", 5.0, 25.0),
    ]


def test_a_connection_needs_its_release_time_to_count_as_back():
    slow = policy(CONNECTION_LOST={"release_s": 5})
    seen = [event(0, "peer_connected"), event(5, "peer_lost"), event(10, "peer_connected", peer_id="p2")]
    seen += [event(12, "peer_lost", peer_id="p2"), event(20, "peer_connected", peer_id="p3"), *frames(21, 30)]
    assert told(play(seen, slow)) == [
        ("CONNECTION_LOST", "opened", 5.0, None),
        ("CONNECTION_LOST", "closed", 5.0, 20.0),
    ]


def test_what_is_on_its_way_is_heard_before_time_passes_over_it():
    state = advance(RulesState(), [event(0, "peer_connected"), event(5, "peer_lost")], Policy()).state
    step = advance(state, [event(6.9, "peer_connected", peer_id="p2")], Policy(), now=START + 20)
    assert step.changes == []


def test_gaps_are_no_business_of_the_rules():
    step = advance(RulesState(), [event(5, "gap")], Policy(), flush=True)
    assert (step.late, step.state) == (0, RulesState())
