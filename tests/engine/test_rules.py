"""Rules over time: when findings open and close, and what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from detection.engine.observations import Observation
from detection.engine.policy import EventType, Policy
from detection.engine.rules import RulesState, advance, close
from tests.engine.observing import START, event, frame, frames, play, policy, told, window, windows


def test_leaving_for_longer_than_the_hold_time_is_one_incident_from_the_first_empty_frame():
    changes = play([*frames(0, 5), *frames(5, 12, faces=0), *frames(12, 20)])
    assert told(changes) == [("NO_FACE", "opened", 5.0, None), ("NO_FACE", "closed", 5.0, 11.5)]


def test_an_incident_tells_when_it_was_decided_and_what_was_seen():
    opened, _ = play([*frames(0, 5), *frames(5, 12, faces=0), *frames(12, 20)])
    assert opened.decided_at == START + 8
    assert opened.sample_ids == ("f5.000", "f5.000", "f8.000")
    assert opened.frame_ids == ("f5.000", "f8.000")
    nobody = {"count": 0, "faces": 0, "visible": 0, "faceless": 0, "pictures": 0}
    assert opened.measures["onset"] == {"persons": nobody}
    assert opened.measures["decision"] == {"persons": nobody}
    assert opened.rule == Policy().rules[EventType.NO_FACE]
    assert opened.model == "yunet-2023mar"
    assert (opened.value, opened.peak_value) == (0, 0)


def test_a_short_absence_is_no_incident():
    assert play([*frames(0, 5), *frames(5, 7.5, faces=0), *frames(7.5, 20)], end=20) == []


def test_a_single_frame_with_a_face_starts_the_absence_anew():
    seen = [*frames(0, 2.5, faces=0), frame(2.5), *frames(3, 5.5, faces=0), *frames(5.5, 10)]
    assert play(seen, end=10) == []


def test_a_short_return_does_not_split_an_open_incident():
    seen = [*frames(0, 6, faces=0), *frames(6, 7), *frames(7, 12, faces=0), *frames(12, 20)]
    assert told(play(seen)) == [("NO_FACE", "opened", 0.0, None), ("NO_FACE", "closed", 0.0, 11.5)]


def test_a_doubtful_face_keeps_no_face_from_opening_and_is_no_second_person():
    assert play([*frames(0, 10, faces=0, possible=1), *frames(10, 20, faces=1, possible=2)], end=20) == []


def test_two_people_are_an_incident_and_its_peak_is_the_fullest_frame():
    seen = [*frames(0, 3, faces=2), frame(3, faces=4), *frames(3.5, 6, faces=2), *frames(6, 12)]
    opened, closed = play(seen)
    assert told([opened, closed])[1] == ("MULTIPLE_PERSONS", "closed", 0.0, 5.5)
    assert (opened.peak_value, closed.peak_value, closed.peak_at) == (2, 4, START + 3)
    assert closed.sample_ids == ("f0.000", "f3.000", "f1.500")
    assert closed.finding_id == opened.finding_id


def test_findings_of_different_kinds_overlap_freely():
    seen = sorted([*frames(0, 8, faces=0), *windows(0, 8, share=0.9)], key=lambda o: o.captured_at)
    assert {name for name, *_ in told(play(seen, end=8))} == {"NO_FACE", "SPEECH_DETECTED"}


def test_cooldown_keeps_the_next_incident_from_opening():
    seen = [*frames(0, 4, faces=0), *frames(4, 6), *frames(6, 20, faces=0)]
    calm = policy(NO_FACE={"cooldown_s": 8})
    assert told(play(seen, calm, end=20)) == [
        ("NO_FACE", "opened", 0.0, None),
        ("NO_FACE", "closed", 0.0, 3.5),
        ("NO_FACE", "opened", 11.5, None),
        ("NO_FACE", "closed", 11.5, 19.5),
    ]


def test_hysteresis_keeps_a_suspicion_between_exit_and_enter():
    loud = policy(SPEECH_DETECTED={"enter": 0.6, "exit": 0.3, "hold_s": 3})
    rising = [window(0, share=0.9), *windows(1, 5, share=0.4)]
    assert told(play(rising, loud)) == [("SPEECH_DETECTED", "opened", 0.0, None)]
    assert play(windows(0, 5, share=0.4), loud) == []


def test_a_disabled_rule_says_nothing():
    assert play(frames(0, 10, faces=0), policy(NO_FACE={"enabled": False}), end=10) == []


# --- Identity -------------------------------------------------------------------------------------------------------


def test_another_face_is_an_incident_with_its_raw_score():
    opened, closed = play([*frames(0, 4, similarity=0.1), *frames(4, 8, similarity=0.99)])
    assert told([opened, closed]) == [
        ("FACE_MISMATCH", "opened", 0.0, None),
        ("FACE_MISMATCH", "closed", 0.0, 3.5),
    ]
    assert opened.measures["decision"]["identity"]["comparison_score"] == 0.05
    assert opened.model == "sface-2021dec"


def test_one_mismatching_probe_is_not_enough_however_long_it_stands():
    seen = [frame(0, similarity=0.1), *frames(0.5, 4.5), *frames(4.5, 12, similarity=0.99)]
    assert play(seen, policy(FACE_MISMATCH={"hold_s": 0}), end=12) == []


def test_undecided_probes_accuse_nobody():
    assert play(frames(0, 10, similarity=0.1, decided=False, reason="dark"), end=10) == []


def test_an_undecided_probe_neither_feeds_nor_clears_a_suspicion():
    dark = {"similarity": 0.5, "decided": False, "reason": "dark"}
    seen = [frame(0, similarity=0.1), frame(0.5, **dark), frame(1, similarity=0.1), frame(1.5, **dark)]
    assert play(seen) == []
    assert told(play([*seen, frame(2, similarity=0.1)])) == [("FACE_MISMATCH", "opened", 0.0, None)]


def test_nobody_in_the_picture_is_no_mismatch_and_ends_an_open_one():
    seen = [*frames(0, 4, similarity=0.1), *frames(4, 20, faces=0)]
    assert told(play(seen)) == [
        ("FACE_MISMATCH", "opened", 0.0, None),
        ("NO_FACE", "opened", 4.0, None),
        ("FACE_MISMATCH", "closed", 0.0, 3.5),
    ]


def test_a_doubt_asks_for_every_frame_until_it_is_settled():
    state, rules = RulesState(), Policy()

    def attentive_after(*observations):
        nonlocal state
        step = advance(state, observations, rules, flush=True)
        state = step.state
        assert step.attentive == state.attentive
        return step.attentive

    assert not attentive_after(frame(0, similarity=0.99))
    assert attentive_after(frame(5, similarity=0.3))
    assert attentive_after(frame(5.5), frame(6, similarity=0.2, decided=False))
    assert not attentive_after(frame(6.5, similarity=0.9))
    assert attentive_after(*frames(10, 14, similarity=0.3))
    assert not attentive_after(*frames(14, 18, similarity=0.9))


def test_a_doubt_that_nothing_confirms_is_dropped():
    step = advance(RulesState(), [frame(0, similarity=0.3), *frames(0.5, 8, faces=0)], Policy(), flush=True)
    assert not step.attentive


# --- Sound ----------------------------------------------------------------------------------------------------------


def test_speech_starts_with_its_first_chunk_and_ends_with_its_last():
    late_start = window(3, share=0.6)
    late_start.measures["speech"].update(first_at=START + 3.4, last_at=START + 4.0)
    opened, closed = play([*windows(0, 3), late_start, window(4, share=1), window(5, share=0.8), *windows(6, 12)])
    assert told([opened, closed]) == [
        ("SPEECH_DETECTED", "opened", 3.4, None),
        ("SPEECH_DETECTED", "closed", 3.4, 5.8),
    ]
    assert opened.decided_at == START + 5
    assert "chunks" not in opened.measures["onset"]["speech"]


def test_one_word_is_not_speech():
    assert play([*windows(0, 3), window(3, share=0.6), *windows(4, 10)], end=10) == []


def test_speech_may_pause_before_and_after_it_is_decided():
    seen = [window(0, share=0.6), window(1), window(2, share=0.9), window(3), window(4, share=0.9), *windows(5, 10)]
    assert told(play(seen)) == [
        ("SPEECH_DETECTED", "opened", 0.0, None),
        ("SPEECH_DETECTED", "closed", 0.0, 4.9),
    ]


def test_frames_seen_during_speech_are_named():
    seen = sorted([*frames(0, 8), *windows(0, 8, share=0.9)], key=lambda o: (o.captured_at, o.stream))
    opened = play(seen)[0]
    assert opened.event_type == EventType.SPEECH_DETECTED
    assert len(opened.frame_ids) >= 1
    assert all(frame_id.startswith("f") for frame_id in opened.frame_ids)


def test_a_silent_microphone_is_a_technical_finding():
    opened, closed = play([*windows(0, 5), *windows(5, 20, rms_dbfs=-120), *windows(20, 25)])
    assert told([opened, closed]) == [
        ("MICROPHONE_SILENT", "opened", 5.0, None),
        ("MICROPHONE_SILENT", "closed", 5.0, 20.0),
    ]


# --- Time nobody saw ------------------------------------------------------------------------------------------------


def test_a_gap_ends_a_finding_at_the_last_sample():
    changes = play([*frames(0, 6, faces=0), *frames(16, 18, faces=0)])
    assert told(changes) == [("NO_FACE", "opened", 0.0, None), ("NO_FACE", "closed", 0.0, 5.5)]


def test_a_gap_forgets_a_suspicion():
    assert play([*frames(0, 2, faces=0), *frames(10, 12.5, faces=0)]) == []


def test_a_finding_ends_when_time_passes_without_samples():
    state = advance(RulesState(), frames(0, 6, faces=0), Policy(), flush=True).state
    assert advance(state, [], Policy(), now=START + 12).changes == []
    (closed,) = advance(state, [], Policy(), now=START + 30).changes
    assert told([closed]) == [("NO_FACE", "closed", 0.0, 5.5)]


def test_slow_sampling_is_no_gap():
    slow = Policy.from_dict({"sampling": {"frames_per_second": 0.2}})
    assert told(play(frames(0, 20, step=5.2, faces=0), slow))[0] == ("NO_FACE", "opened", 0.0, None)


# --- Order ----------------------------------------------------------------------------------------------------------


def test_an_observation_waits_until_the_newest_is_ahead_by_the_lateness():
    step = advance(RulesState(), frames(0, 4, faces=0), Policy())
    assert step.changes == []
    assert [o.sample_id for o in step.state.pending] == ["f3.000", "f3.500"]
    assert len(advance(step.state, [frame(4, faces=0)], Policy()).changes) == 1


def chain(*times: float, **measures: Any) -> list[Observation]:
    """Frames that each name the one before."""
    pairs = zip([None, *times], times, strict=False)
    return [
        replace(frame(at, **measures), previous_at=None if before is None else START + before) for before, at in pairs
    ]


def test_a_frame_that_follows_the_one_judged_last_is_judged_at_once():
    seen = chain(*(n / 2 for n in range(7)), faces=0)
    step = advance(RulesState(), seen[:-1], Policy())
    assert (step.changes, step.state.pending) == ([], ())
    assert told(advance(step.state, seen[-1:], Policy()).changes) == [("NO_FACE", "opened", 0.0, None)]


def test_a_frame_after_a_missing_one_waits_for_it():
    first, missing, after = chain(2, 2.5, 3)
    step = advance(RulesState(), [*frames(0, 2), first, after], Policy())
    assert [o.sample_id for o in step.state.pending] == ["f3.000"]
    step = advance(step.state, [missing], Policy())
    assert (step.late, [o.sample_id for o in step.state.pending]) == (0, [])


def test_what_comes_after_its_time_has_passed_is_counted_and_accuses_nobody():
    seen = frames(0, 10)
    step = advance(RulesState(), seen[6:], Policy())
    assert step.late == 0
    step = advance(step.state, [frame(at + 0.1, faces=0) for at in range(6)], Policy())
    assert (step.late, step.changes) == (6, [])


def test_the_same_sample_twice_counts_once_and_is_not_late():
    step = advance(RulesState(), [frame(0), frame(0), frame(0.5)], Policy(), flush=True)
    again = advance(step.state, [frame(0), frame(0.5)], Policy())
    assert (step.late, again.late, again.state) == (0, 0, step.state)


def test_a_slow_stream_is_not_late_because_another_is_ahead():
    state = advance(RulesState(), frames(0, 20), Policy()).state
    step = advance(state, windows(0, 6, share=0.9), Policy(), flush=True)
    assert step.late == 0
    assert told(step.changes) == [("SPEECH_DETECTED", "opened", 0.0, None)]


def test_a_detector_that_failed_says_nothing():
    failed = [
        type(o)(o.sample_id, o.stream, o.captured_at, {"errors": {"faces": "broken"}}) for o in frames(1, 4, faces=0)
    ]
    assert play([frame(0, faces=0), *failed, frame(4)], end=5) == []


# --- State ----------------------------------------------------------------------------------------------------------


def test_the_state_survives_json_exactly():
    seen = sorted(
        [*frames(0, 6, faces=2, similarity=0.1), *windows(0, 6, share=0.9), event(1, "audio_stopped")],
        key=lambda o: o.captured_at,
    )
    state = advance(RulesState(), seen, Policy()).state
    assert state.tracks
    assert state.pending
    again = RulesState.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False)))
    assert again == state


def test_an_empty_dictionary_is_a_new_session():
    assert RulesState.from_dict({}) == RulesState()


def test_a_new_state_is_as_small_as_json_allows():
    assert RulesState.from_dict(json.loads(json.dumps(RulesState().to_dict(), allow_nan=False))) == RulesState()


def test_advancing_leaves_the_old_state_as_it_was():
    state = advance(RulesState(), frames(0, 5, faces=2), Policy()).state
    before = json.dumps(state.to_dict())
    advance(state, [*frames(5, 9, faces=4), *frames(9, 15)], Policy(), flush=True)
    close(state, START + 20, Policy())
    assert json.dumps(state.to_dict()) == before


def test_what_waits_does_not_grow_with_the_session():
    state, sizes = RulesState(), []
    for second in range(60):
        seen = [*frames(second, second + 1), window(second, share=0.9 * (second % 7 > 3))]
        state = advance(state, seen, Policy()).state
        sizes.append(len(json.dumps(state.to_dict())))
    assert max(sizes[30:]) <= max(sizes[:30]) * 1.1
    assert max(sizes) < 6000


# --- The end --------------------------------------------------------------------------------------------------------


def test_the_end_closes_what_is_open_at_what_was_last_seen():
    seen = sorted([*frames(0, 9, faces=0), *windows(0, 9, share=0.5)], key=lambda o: o.captured_at)
    changes = play(seen, end=12)
    assert told(changes[2:]) == [
        ("NO_FACE", "closed", 0.0, 8.5),
        ("SPEECH_DETECTED", "closed", 0.0, 8.5),
    ]


def test_the_end_judges_what_still_waits():
    state = advance(RulesState(), frames(0, 3.5, faces=0), Policy()).state
    assert told(close(state, START + 10, Policy()).changes) == [
        ("NO_FACE", "opened", 0.0, None),
        ("NO_FACE", "closed", 0.0, 3.0),
    ]


def test_nothing_counts_after_the_end():
    state = advance(RulesState(), frames(0, 6, faces=0), Policy()).state
    ended = close(state, START + 5, Policy())
    assert ended.late == 1
    for step in (
        close(ended.state, START + 6, Policy()),
        advance(ended.state, frames(6, 12, faces=0), Policy(), flush=True, now=START + 60),
    ):
        assert step.changes == []
        assert step.state.closed
    assert advance(ended.state, frames(6, 12, faces=0), Policy()).late == 12


@pytest.mark.parametrize("at", [4.0, 100.0])
def test_a_session_that_saw_nothing_ends_quietly(at):
    assert close(RulesState(), START + at, Policy()).changes == []
