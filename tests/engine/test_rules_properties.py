"""What must hold for every session, whatever happens in it and however its observations arrive."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection.engine.observations import TECHNICAL, Observation
from detection.engine.policy import EventType, Policy
from detection.engine.rules import Change, RulesState, advance, close
from tests.engine.observing import START, counter, event, frame, frames, policy, told, window

LATENESS_S = Policy().lateness_s
LENGTH_S = 40

PEER_EVENTS = ("peer_connected", "peer_lost")
MEDIA_EVENTS = ("video_started", "video_stopped", "audio_started", "audio_stopped")


@dataclass(frozen=True)
class Arrival:
    """An observation and by how much it is delayed: less than the rules wait."""

    observation: Observation
    delay_s: float

    @property
    def at(self) -> float:
        return self.observation.captured_at + self.delay_s


@st.composite
def stretches(draw, values):
    """A value per second of the session, in stretches, so that hold times are reached."""
    line: list[object] = []
    while len(line) < LENGTH_S:
        line += [draw(values)] * draw(st.integers(1, 8))
    return line[:LENGTH_S]


faces = st.sampled_from([None, 0, 1, 1, 2, 3])
similarities = st.sampled_from([None, None, 0.0, 0.4, 0.74, 0.75, 0.99, "dark"])
shares = st.sampled_from([None, 0.0, 0.0, 0.34, 0.4, 0.5, 1.0])
levels = st.sampled_from([-120.0, -78.0, -40.0])


@st.composite
def sessions(draw):
    """Everything that was measured in a session, in order of capture; None is a time nobody saw."""
    counts, similar = draw(stretches(faces)), draw(stretches(similarities))
    speech, loud = draw(stretches(shares)), draw(stretches(levels))
    seen: list[Observation] = []
    for second in range(LENGTH_S):
        if counts[second] is not None:
            jitter = st.sampled_from([0, 0.01, 0.13])
            seen += [_frame(second + half + draw(jitter), counts[second], similar[second]) for half in (0.0, 0.5)]
        if speech[second] is not None:
            seen.append(window(float(second), share=speech[second], rms_dbfs=loud[second]))
    for at in draw(st.lists(st.integers(0, LENGTH_S * 4), max_size=8, unique=True)):
        kind = draw(st.sampled_from(PEER_EVENTS + MEDIA_EVENTS))
        seen.append(event(at / 4, kind, peer_id=draw(st.sampled_from(["p1", "p1", "p2"]))))
    return sorted(seen, key=lambda observation: observation.captured_at)


def _frame(at: float, count: int, similarity: object) -> Observation:
    if similarity == "dark":
        return frame(at, faces=count, similarity=0.1, decided=False, reason="dark")
    return frame(at, faces=count, similarity=similarity if count else None)


policies = st.builds(
    lambda hold_s, release_s, cooldown_s: policy(
        **{
            event_type.value: {"hold_s": hold_s, "release_s": release_s, "cooldown_s": cooldown_s}
            for event_type in EventType
        }
    ),
    st.sampled_from([0.0, 1.0, 2.0, 5.0]),
    st.sampled_from([0.0, 1.5, 3.0]),
    st.sampled_from([0.0, 0.0, 7.0]),
)


@st.composite
def shuffled(draw, observations):
    """The observations out of order within the lateness, some of them twice, cut into batches."""
    delays = st.floats(0, LATENESS_S, exclude_max=True, allow_subnormal=False)
    arrivals = [Arrival(observation, draw(delays)) for observation in observations]
    again = draw(st.lists(st.sampled_from(arrivals), max_size=6)) if arrivals else []
    arrivals += [Arrival(a.observation, a.delay_s + draw(st.sampled_from([0.0, 0.2, 3.0]))) for a in again]
    order = [arrival.observation for arrival in sorted(arrivals, key=lambda arrival: arrival.at)]
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=20)))
    return [order[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]


def run(batches: list[list[Observation]], rules: Policy) -> list[Change]:
    """Play batches as a worker does: the state from the database each time, and the session's end at last."""
    new_id, changes, state = counter(), [], RulesState()
    for batch in batches:
        step = advance(state, batch, rules, new_id=new_id)
        changes += step.changes
        state = RulesState.from_dict(json.loads(json.dumps(step.state.to_dict(), allow_nan=False)))
    step = close(state, START + LENGTH_S + 5, rules, new_id=new_id)
    assert not step.state.tracks
    return changes + step.changes


@settings(max_examples=150, deadline=None)
@given(st.data(), sessions(), policies)
def test_order_repetition_and_batches_change_nothing(data, session, rules):
    batches = data.draw(shuffled(session))
    assert run(batches, rules) == run([session], rules)


def linked(session: list[Observation]) -> list[Observation]:
    """The same samples, each naming the one before it in its stream, as the gateway's do."""
    before: dict[str, float] = {}
    chained = []
    for observation in sorted(session, key=lambda o: o.captured_at):
        if observation.stream == TECHNICAL:
            chained.append(observation)
        else:
            chained.append(replace(observation, previous_at=before.get(observation.stream)))
            before[observation.stream] = observation.captured_at
    return chained


@settings(max_examples=150, deadline=None)
@given(st.data(), sessions(), policies)
def test_samples_that_name_the_one_before_find_the_same(data, session, rules):
    samples = [observation for observation in session if observation.stream != TECHNICAL]
    batches = data.draw(shuffled(linked(samples)))
    assert sorted(told(run(batches, rules))) == sorted(told(run([samples], rules)))


@settings(max_examples=150, deadline=None)
@given(sessions(), policies)
def test_every_finding_opens_once_and_closes_once(session, rules):
    changes = run([session], rules)
    phases = defaultdict(list)
    for change in changes:
        phases[change.finding_id].append(change)
    for opened, closed in phases.values():
        assert (opened.phase, closed.phase) == ("opened", "closed")
        assert (opened.event_type, opened.started_at, opened.decided_at) == (
            closed.event_type,
            closed.started_at,
            closed.decided_at,
        )


@settings(max_examples=150, deadline=None)
@given(sessions(), policies)
@example(frames(0, 40, faces=0), Policy())
def test_times_are_in_order_and_findings_of_a_kind_never_overlap(session, rules):
    ended: dict[EventType, float] = {}
    for change in run([session], rules):
        assert change.started_at <= change.decided_at
        assert change.started_at <= change.peak_at
        if change.phase == "opened":
            assert change.ended_at is None
            cooldown_s = rules.rules[change.event_type].cooldown_s
            assert change.started_at >= ended.get(change.event_type, 0) + cooldown_s
        else:
            assert change.decided_at <= change.ended_at
            assert change.peak_at <= change.ended_at + 1e-6
            ended[change.event_type] = change.ended_at


@settings(max_examples=100, deadline=None)
@given(sessions(), policies)
def test_a_finding_lasts_at_least_its_hold_time(session, rules):
    for change in run([session], rules):
        if change.phase == "closed":
            assert change.ended_at - change.started_at >= rules.rules[change.event_type].hold_s - 1e-2


@settings(max_examples=100, deadline=None)
@given(sessions(), policies)
def test_nobody_is_accused_over_time_that_nobody_saw(session, rules):
    """No behaviour finding spans a stretch without samples of its stream that is longer than a gap."""
    streams = {EventType.NO_FACE: "video", EventType.MULTIPLE_PERSONS: "video", EventType.SPEECH_DETECTED: "audio"}
    for change in run([session], rules):
        stream = streams.get(change.event_type)
        if stream is None or change.ended_at is None:
            continue
        times = sorted(
            o.captured_at
            for o in session
            if o.stream == stream and change.started_at <= o.captured_at <= change.ended_at
        )
        steps = [b - a for a, b in zip([change.started_at, *times], [*times, change.ended_at], strict=True)]
        assert max(steps) <= rules.gap_s + 1.01


@settings(max_examples=60, deadline=None)
@given(st.data(), sessions(), policies)
def test_letting_time_pass_between_batches_never_doubles_or_loses_a_closing(data, session, rules):
    new_id, changes, state = counter(), [], RulesState()
    for batch in data.draw(shuffled(session)):
        step = advance(state, batch, rules, new_id=new_id)
        changes += step.changes
        state = step.state
        if state.newest_at > 0:
            step = advance(
                state, [], rules, now=state.newest_at + data.draw(st.sampled_from([0, 3, 30])), new_id=new_id
            )
            changes += step.changes
            state = step.state
    changes += close(state, START + LENGTH_S + 5, rules, new_id=new_id).changes
    opened = [change.finding_id for change in changes if change.phase == "opened"]
    closed = [change.finding_id for change in changes if change.phase == "closed"]
    assert sorted(opened) == sorted(closed)
    assert len(set(opened)) == len(opened)
    assert all(change.ended_at >= change.decided_at >= change.started_at for change in changes if change.ended_at)
