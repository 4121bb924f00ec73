"""What happens to a session happens once, in the order of capture, whatever the order of arrival."""

from __future__ import annotations

import random
import threading
import uuid

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from accounts.redis_client import get_redis
from alerts.models import Alert, Evidence, Incident
from detection import commit as commit_module
from detection import services
from detection.commit import SessionBatch
from detection.contexts import SessionContexts
from detection.engine.observations import Observation
from detection.frame_store import FrameStore
from detection.gaps import Dropped
from detection.messages import Technical, frame_key
from detection.models import Detection, RuleState
from sessions.models import ExamSession, MediaGap
from sessions.services import session_end
from tests.alerts.builders import jpeg
from tests.detection.builders import START, batched, commit, frame, frames, sequences, sound, story, technical
from tests.factories import make_session

State = ExamSession.State


def exam() -> list[Observation]:
    """Eight seconds of calm, four of nobody, eight of calm; sound all the while, and three seconds of speech in it."""
    pictures = [*frames(0, 8), *frames(8, 12, faces=0), *frames(12, 20)]
    windows = [sound(second + 1.02, share=0.8 if 14 <= second < 17 else 0.0) for second in range(20)]
    return sorted([*pictures, *windows], key=lambda o: o.captured_at)


EXAM = [("NO_FACE", 8.0, 11.0, 11.5), ("SPEECH_DETECTED", 14.22, 16.02, 17.02)]


@pytest.mark.django_db
def test_what_was_measured_is_stored_and_decided() -> None:
    session = make_session()

    for batch in batched(exam(), 7):
        commit(session, batch)

    assert Detection.objects.filter(session=session).count() == 60
    assert story(session) == EXAM
    assert sequences(session) == [1, 2, 3, 4]
    assert [incident.state for incident in Incident.objects.filter(session=session)] == ["closed", "closed"]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(5))
def test_messages_out_of_order_and_twice_change_nothing(seed: int) -> None:
    rng = random.Random(seed)
    session, observations = make_session(), exam()
    # Each arrives up to 0.9 s late, within the policy's lateness of one second, and every third one twice.
    arrivals = [(o.captured_at + rng.uniform(0, 0.9), o) for o in observations]
    arrivals += [(o.captured_at + rng.uniform(0, 9), o) for o in observations[::3]]
    arriving = [o for _, o in sorted(arrivals, key=lambda arrival: arrival[0])]

    for batch in batched(arriving, 5):
        commit(session, batch)

    assert Detection.objects.filter(session=session).count() == 60
    assert story(session) == EXAM
    assert sequences(session) == [1, 2, 3, 4]


@pytest.mark.django_db
def test_a_sample_twice_in_one_batch_counts_once() -> None:
    session, alone = make_session(), frame(0.0, faces=0)

    commit(session, [alone, alone])

    assert Detection.objects.filter(session=session).count() == 1
    state = RuleState.objects.get(session=session).state
    assert [pending["sample_id"] for pending in state["pending"]] == [alone.sample_id]


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_find_what_one_finds() -> None:
    session = make_session()
    # Worker one gets every other batch. Both commit the n-th at once, in either order: less than lateness apart.
    batches = batched(exam(), 2)
    pairs = list(zip(batches[::2], batches[1::2], strict=True))
    barrier = threading.Barrier(2, timeout=20)
    failures: list[BaseException] = []

    def work(batches: list[list[Observation]]) -> None:
        try:
            for batch in batches:
                barrier.wait()
                commit(session, batch)
        except BaseException as error:
            failures.append(error)
            barrier.abort()
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=([pair[n] for pair in pairs],)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert Detection.objects.filter(session=session).count() == 60
    assert story(session) == EXAM
    assert sequences(session) == [1, 2, 3, 4]


@pytest.mark.django_db(transaction=True)
def test_workers_that_share_sessions_never_wait_in_a_circle() -> None:
    sessions = [make_session() for _ in range(6)]
    contexts = SessionContexts().get([str(session.id) for session in sessions])
    outcomes: list[int] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for step in range(15):
                chosen = rng.sample(sorted(contexts), 4)
                batches = {name: SessionBatch(contexts[name], [frame(step + seed / 10)]) for name in chosen}
                outcomes.append(len(services.observations_commit(batches=batches)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert outcomes == [4] * 60
    assert Detection.objects.filter(session__in=sessions).count() == 240


@pytest.mark.django_db
def test_a_batch_of_many_sessions_takes_as_many_queries_as_one_of_one() -> None:
    sessions = [make_session() for _ in range(8)]
    contexts = SessionContexts().get([str(session.id) for session in sessions])
    for session in sessions:
        commit(session, [frame(0)])

    def queries(count: int, at: float) -> int:
        batches = {name: SessionBatch(context, [frame(at)]) for name, context in list(contexts.items())[:count]}
        with CaptureQueriesContext(connection) as captured:
            services.observations_commit(batches=batches)
        return len(captured)

    assert queries(1, 0.5) == queries(8, 1.0) <= 5


@pytest.mark.django_db
def test_a_bad_session_never_holds_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = make_session(), make_session()
    contexts = SessionContexts().get([str(good.id), str(bad.id)])
    batches = {
        str(good.id): SessionBatch(contexts[str(good.id)], frames(0, 5, faces=0)),
        str(bad.id): SessionBatch(contexts[str(bad.id)], [frame(0, faces=0, broken=float("nan"))]),
    }

    services.observations_commit(batches=batches)
    services.observations_commit(batches={str(good.id): SessionBatch(contexts[str(good.id)], frames(5, 6, faces=0))})

    assert [event for event, *_ in story(good)] == ["NO_FACE"]
    assert not Detection.objects.filter(session=bad).exists()
    gap = MediaGap.objects.get(session=bad)
    assert (gap.reason, gap.skipped, gap.stream) == ("failed", 1, "video")


@pytest.mark.django_db
def test_an_alert_that_cannot_be_written_takes_back_the_state_too(monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session()
    contexts = SessionContexts().get([str(session.id)])
    commit(session, frames(0, 3, faces=0))

    def refuse(**_: object) -> None:
        raise RuntimeError("no alert today")

    with monkeypatch.context() as patched:
        patched.setattr(commit_module, "incident_apply", refuse)
        with pytest.raises(RuntimeError):
            commit_module.commit({str(session.id): SessionBatch(contexts[str(session.id)], frames(3, 4, faces=0))})
    assert story(session) == []
    assert Detection.objects.filter(session=session).count() == 6

    commit(session, frames(3, 4, faces=0))
    assert story(session) == [("NO_FACE", 0.0, 3.0, None)]
    assert sequences(session) == [1]


@pytest.mark.django_db
def test_an_erased_session_is_left_out() -> None:
    session, erased = make_session(), make_session()
    contexts = SessionContexts().get([str(session.id), str(erased.id)])
    erased_id = str(erased.id)
    erased.delete()

    outcomes = services.observations_commit(
        batches={name: SessionBatch(context, [frame(0)]) for name, context in contexts.items()}
    )

    assert [outcome.context.session.id for outcome in outcomes] == [session.id]
    assert not Detection.objects.filter(session_id=erased_id).exists()


@pytest.mark.django_db
def test_pictures_of_onset_peak_and_decision_become_evidence() -> None:
    session = make_session()
    seen, gone = frames(0, 2), frames(2, 6, faces=0)
    store = FrameStore(get_redis())
    for observation in [*seen, *gone]:
        store.put(frame_key(str(session.id), observation.sample_id), jpeg())

    commit(session, [*seen, *gone])

    evidence = {e.frame_id: e for e in Evidence.objects.filter(session=session)}
    onset, decision = gone[0], gone[6]
    assert set(evidence) == {onset.sample_id, decision.sample_id}
    assert evidence[decision.sample_id].captured_at.timestamp() == decision.captured_at
    alert = Alert.objects.get(session=session)
    assert {link["frame_id"] for link in alert.payload["metadata"]["evidence"]} == set(evidence)


@pytest.mark.django_db
def test_an_incident_opens_without_its_pictures_when_they_are_gone_or_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, other = make_session(), make_session()
    commit(session, frames(0, 4, faces=0))
    assert story(session) == [("NO_FACE", 0.0, 3.0, None)]

    gone = frames(0, 4, faces=0)
    for observation in gone:
        FrameStore(get_redis()).put(frame_key(str(other.id), observation.sample_id), b"picture")
    monkeypatch.setattr("alerts.evidence.storage", lambda: FullDisk())
    commit(other, gone)

    assert story(other) == [("NO_FACE", 0.0, 3.0, None)]
    assert sequences(other) == [1]
    assert not Evidence.objects.exists()


class FullDisk:
    """A storage with no room left."""

    def save(self, *_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    exists = delete = open = save


# --- The session's state follows its media ----------------------------------------------------------------------------


def state_of(session: ExamSession) -> str:
    session.refresh_from_db()
    return session.state


@pytest.mark.django_db
def test_a_session_is_live_from_its_first_peer_and_interrupted_when_it_is_lost() -> None:
    session = make_session()
    assert state_of(session) == State.CREATED

    commit(session, [technical(session, Technical.PEER_CONNECTED, 0)])
    assert state_of(session) == State.LIVE
    assert session.live_at is not None
    assert session.live_at.timestamp() == START

    commit(session, [technical(session, Technical.PEER_LOST, 5)])
    assert state_of(session) == State.INTERRUPTED

    commit(session, [technical(session, Technical.PEER_CONNECTED, 9, peer_id="peer-2")])
    assert state_of(session) == State.LIVE


@pytest.mark.django_db
def test_what_a_replaced_peer_reports_is_about_nobody() -> None:
    session = make_session()

    commit(session, [technical(session, Technical.PEER_CONNECTED, 0)])
    commit(session, [technical(session, Technical.PEER_CONNECTED, 5, peer_id="peer-2")])
    commit(session, [technical(session, Technical.PEER_LOST, 5.1)])

    assert state_of(session) == State.LIVE


@pytest.mark.django_db
def test_media_without_a_word_of_a_peer_makes_a_session_live() -> None:
    session = make_session()

    commit(session, [frame(0)])

    assert state_of(session) == State.LIVE


@pytest.mark.django_db
def test_a_frame_from_before_the_loss_that_comes_after_it_leaves_the_session_interrupted() -> None:
    session = make_session()
    commit(session, [technical(session, Technical.PEER_CONNECTED, 0)])
    commit(session, [technical(session, Technical.PEER_LOST, 5)])

    commit(session, [frame(4.9)])
    assert state_of(session) == State.INTERRUPTED

    commit(session, [frame(7)])
    assert state_of(session) == State.LIVE


# --- The end ----------------------------------------------------------------------------------------------------------


def end(session: ExamSession, at: float) -> None:
    session_end(session=session, reason="requested", at=commit_module.moment(START + at))


@pytest.mark.django_db
def test_closing_ends_what_is_open_at_the_sessions_end_and_may_be_repeated() -> None:
    session = make_session()
    commit(session, frames(0, 5, faces=0))
    end(session, 5.0)

    assert services.session_close(session_id=str(session.id))
    assert not services.session_close(session_id=str(session.id))

    session.refresh_from_db()
    assert session.closed_at is not None
    assert story(session) == [("NO_FACE", 0.0, 3.0, 4.5)]
    assert sequences(session) == [1, 2]
    assert RuleState.objects.get(session=session).due_at is None


@pytest.mark.django_db
def test_a_session_that_has_not_ended_is_not_closed() -> None:
    session = make_session()
    commit(session, frames(0, 5, faces=0))

    assert not services.session_close(session_id=str(session.id))

    session.refresh_from_db()
    assert session.closed_at is None
    assert story(session) == [("NO_FACE", 0.0, 3.0, None)]


@pytest.mark.django_db
def test_a_session_without_any_media_can_be_closed() -> None:
    session = make_session()
    end(session, 5.0)

    assert services.session_close(session_id=str(session.id))

    session.refresh_from_db()
    assert session.closed_at is not None


@pytest.mark.django_db
def test_closing_an_unknown_session_is_no_error() -> None:
    assert not services.session_close(session_id=str(uuid.uuid4()))


@pytest.mark.django_db
def test_what_was_captured_after_the_end_does_not_count() -> None:
    session = make_session()
    commit(session, frames(0, 2))
    end(session, 4.0)

    commit(session, frames(2, 8, faces=0))

    assert Detection.objects.filter(session=session).count() == 4 + 5
    services.session_close(session_id=str(session.id))
    assert story(session) == []
    assert not MediaGap.objects.filter(session=session).exists()


@pytest.mark.django_db
def test_frames_that_arrive_after_the_close_are_a_gap() -> None:
    session = make_session()
    commit(session, frames(0, 2))
    end(session, 5.0)
    services.session_close(session_id=str(session.id))

    commit(session, frames(2, 5, faces=0))

    assert story(session) == []
    gap = MediaGap.objects.get(session=session)
    assert (gap.reason, gap.skipped) == ("closed", 6)


@pytest.mark.django_db
def test_dropped_samples_keep_the_sweep_from_thinking_that_the_session_is_quiet() -> None:
    session = make_session()
    commit(session, [frame(0)])
    before = RuleState.objects.get(session=session)

    commit(session, [], dropped=[Dropped(str(session.id), "f" * 32, "video", START + 9, "stale")])

    after = RuleState.objects.get(session=session)
    assert after.last_sample_at is not None
    assert before.last_sample_at is not None
    assert after.last_sample_at > before.last_sample_at
    assert after.newest_at is not None
    assert after.newest_at.timestamp() == START + 9
