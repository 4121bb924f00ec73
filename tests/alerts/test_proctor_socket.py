"""The proctor's socket over all sessions, through the whole ASGI application, with real Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.db import OperationalError
from django.utils import timezone

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts import proctor_access, sockets, stream
from alerts.following import hub, recent, tail
from alerts.models import Alert, Subscription
from detection.engine.policy import EventType
from sessions.models import ExamSession
from tests.alerts import builders, contract
from tests.alerts.builders import on_db
from tests.alerts.dialling import dial_path, headers_of, hear, hear_all, join_token, opened, refused
from tests.alerts.receiver import Receiver
from tests.alerts.test_notices import park

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_listener_outlives_its_test")]

apply = on_db(builders.apply)


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def maths(owner: Organisation) -> ExamSession:
    return builders.session(owner, exam_id="maths")


@pytest.fixture
def physics(owner: Organisation) -> ExamSession:
    return builders.session(owner, exam_id="physics")


@pytest.fixture
def api_key(owner: Organisation) -> str:
    return api_key_create(organisation=owner, name="platform", scopes=["sessions"])[1]


def dial(query: str = "", **how: Any) -> WebsocketCommunicator:
    return dial_path(f"/api/v1/proctor/ws{query}", **how)


def listening(query: str = "", **how: Any) -> AbstractAsyncContextManager[WebsocketCommunicator]:
    return opened(dial(query, **how))


def ids(told: list[dict[str, Any]]) -> list[str]:
    return [alert["event_id"] for alert in told]


# --- What is told -----------------------------------------------------------------------------------------------------
async def test_alerts_of_every_session_come_as_they_happen(
    maths: ExamSession, physics: ExamSession, api_key: str
) -> None:
    async with listening(token=api_key) as socket:
        ready = await hear(socket)
        assert ready["type"] == "ready"
        assert ready["data"] == {
            "organisation": maths.organisation.slug, "exam_ids": [], "event_types": [], "last_event_id": None,
        }  # fmt: skip
        sessions = [await hear(socket) for _ in range(2)]
        assert {message["data"]["id"] for message in sessions} == {str(maths.id), str(physics.id)}
        sent = [await apply(session) for session in (maths, physics, maths)]
        told = [await hear(socket) for _ in sent]
    assert told == [{"type": "alert", "data": alert.payload} for alert in sent]


async def test_every_message_is_as_the_contract_says(maths: ExamSession, api_key: str) -> None:
    async with listening(token=api_key) as socket:
        messages = [await hear(socket), await hear(socket)]
        await apply(maths, frames={"f1": (builders.ONSET, builders.jpeg())})
        messages.append(await hear(socket))
    refusing = dial(f"?after={uuid.uuid4()}", token=api_key)
    await refusing.connect(timeout=5)
    messages.append(await hear(refusing))
    await refusing.disconnect()
    assert [message["type"] for message in messages] == ["ready", "session", "alert", "error"]
    known = set(await on_db(contract.messages)("proctor"))
    assert {message["type"] for message in messages} == known - {"notice"}  # which has tests of its own
    for message in messages:
        await on_db(contract.require)("proctor", message["type"], message)


async def test_a_session_that_changes_is_told(
    maths: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "SESSIONS_S", 0.1)
    async with listening(token=api_key) as socket:
        assert [(await hear(socket))["type"] for _ in range(2)] == ["ready", "session"]
        for state in ("live", "ended"):
            await on_db(ExamSession.objects.filter(pk=maths.pk).update)(
                state=state, ended_at=timezone.now() if state == "ended" else None
            )
            told = await hear(socket)
            assert (told["type"], told["data"]["id"], told["data"]["state"]) == ("session", str(maths.id), state)
        later = await on_db(builders.session)(maths.organisation)
        assert (await hear(socket))["data"]["id"] == str(later.id)
        assert await socket.receive_nothing(timeout=0.5)


async def test_sessions_that_are_over_are_not_told_of_at_the_start(maths: ExamSession, api_key: str) -> None:
    await on_db(ExamSession.objects.filter(pk=maths.pk).update)(state="ended", ended_at=timezone.now())
    async with listening(token=api_key) as socket:
        assert (await hear(socket))["type"] == "ready"
        assert await socket.receive_nothing(timeout=0.3)


async def test_filters_choose_exams_and_event_types(maths: ExamSession, physics: ExamSession, api_key: str) -> None:
    lost, face = EventType.CAMERA_LOST, EventType.NO_FACE
    wanted: list[Alert] = []
    query = "?exam_id=maths&exam_id=chemistry&event_type=NO_FACE"
    async with listening(query, token=api_key) as socket:
        ready = (await hear(socket))["data"]
        assert (ready["exam_ids"], ready["event_types"]) == (["maths", "chemistry"], ["NO_FACE"])
        assert (await hear(socket))["data"]["exam_id"] == "maths"
        for session, kind in ((physics, face), (maths, lost), (maths, face), (physics, lost), (maths, face)):
            alert = await apply(session, builders.change(kind))
            wanted += [alert] if (session, kind) == (maths, face) else []
        assert ids(await hear_all(socket, 2)) == [str(alert.event_id) for alert in wanted]
        assert await socket.receive_nothing(timeout=0.3)


@pytest.mark.parametrize(
    ("query", "exams"),
    [
        ("", ["physics", "maths"]),
        ("?exam_id=maths", ["maths"]),
        ("?event_type=DELIVERY_PARKED", ["physics", "maths"]),
        ("?event_type=NO_FACE", []),
    ],
)
async def test_notices_of_alerts_that_were_given_up_come_by_the_filters(
    query: str, exams: list[str], maths: ExamSession, physics: ExamSession, api_key: str, receiver: Receiver
) -> None:
    refusing, _ = await on_db(builders.subscription)(maths.organisation, receiver.url("/status/400"))
    async with listening(query, token=api_key) as socket:
        await until_notices_are_heard(refusing, maths, api_key)
        await kinds_until_silent(socket)
        for session in (physics, maths):
            await on_db(park)(refusing, session)
        told = await hear_all(socket, len(exams), "notice")
        assert [notice["metadata"]["exam_id"] for notice in told] == exams
        for notice in told:
            await on_db(contract.require)("proctor", "notice", {"type": "notice", "data": notice})
            assert notice["metadata"]["subscription_id"] == str(refusing.id)
        assert "notice" not in await kinds_until_silent(socket)


async def test_a_notice_is_not_repeated_to_who_comes_later(
    maths: ExamSession, api_key: str, receiver: Receiver
) -> None:
    first = await apply(maths)
    refusing, _ = await on_db(builders.subscription)(maths.organisation, receiver.url("/status/400"))
    async with listening(token=api_key):
        await until_notices_are_heard(refusing, maths, api_key)
        async with listening(f"?after={first.event_id}", token=api_key) as later:
            assert await kinds_until_silent(later) == {"ready", "session", "alert"}


async def until_notices_are_heard(refusing: Subscription, session: ExamSession, api_key: str) -> None:
    """Give alerts up until a socket hears of it: what is told before the process listens is not kept for it."""
    async with listening(token=api_key) as probe, asyncio.timeout(10):
        await on_db(park)(refusing, session)
        while "notice" not in await kinds_until_silent(probe):
            await on_db(park)(refusing, session)


async def kinds_until_silent(socket: WebsocketCommunicator) -> set[str]:
    kinds: set[str] = set()
    while not await socket.receive_nothing(timeout=0.5):
        kinds.add((await hear(socket))["type"])
    return kinds


# --- Resuming ---------------------------------------------------------------------------------------------------------
async def test_who_comes_back_is_told_what_was_missed_once_and_in_order_before_what_is_new(
    maths: ExamSession, physics: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "PAGE", 4)
    sent = [await apply((maths, physics)[number % 2]) for number in range(20)]
    async with listening(f"?after={sent[2].event_id}", token=api_key) as socket:
        assert (await hear(socket))["data"]["last_event_id"] == str(sent[2].event_id)
        live = await apply(maths)
        told = await hear_all(socket, 18)
    assert ids(told) == [str(alert.event_id) for alert in (*sent[3:], live)]


async def test_who_falls_behind_what_is_kept_in_memory_misses_nothing(
    maths: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "KEPT", 3)
    async with listening(token=api_key) as socket:
        await hear(socket)
        sent = [await apply(maths) for _ in range(30)]
        assert ids(await hear_all(socket, 30)) == [str(alert.event_id) for alert in sent]


async def test_ready_names_the_last_alert_that_passes_the_filters(maths: ExamSession, api_key: str) -> None:
    face = await apply(maths)
    await apply(maths, builders.change(EventType.CAMERA_LOST))
    async with listening("?event_type=NO_FACE", token=api_key) as socket:
        assert (await hear(socket))["data"]["last_event_id"] == str(face.event_id)


@pytest.mark.parametrize("after", ["not-an-id", str(uuid.uuid4()), "", "%00"])
async def test_an_unknown_event_is_refused_with_the_oldest_there_is(
    maths: ExamSession, api_key: str, after: str
) -> None:
    await apply(maths, builders.change(EventType.CAMERA_LOST))
    first = await apply(maths)
    socket = dial(f"?after={after}&event_type=NO_FACE", token=api_key)
    await socket.connect(timeout=5)
    error = await hear(socket)
    assert error["data"]["code"] == "event_unknown"
    assert error["data"]["oldest_event_id"] == str(first.event_id)
    assert (await socket.receive_output())["code"] == 4410


async def test_a_purged_event_is_refused_and_where_nothing_is_kept_the_oldest_is_null(
    maths: ExamSession, api_key: str
) -> None:
    purged = await apply(maths)
    await on_db(Alert.objects.all().delete)()
    socket = dial(f"?after={purged.event_id}", token=api_key)
    await socket.connect(timeout=5)
    assert (await hear(socket))["data"]["oldest_event_id"] is None
    assert (await socket.receive_output())["code"] == 4410


async def test_an_event_of_another_organisation_is_unknown(api_key: str) -> None:
    elsewhere = await apply(await on_db(builders.session)())
    assert await refused(dial(f"?after={elsewhere.event_id}", token=api_key)) == (4410, "event_unknown")


# --- Redis and PostgreSQL away ----------------------------------------------------------------------------------------
async def test_without_wake_ups_alerts_come_by_polling(
    maths: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "POLL_S", 0.2)
    monkeypatch.setattr("alerts.wake.followers", lambda organisation_id: None)
    async with listening(token=api_key) as socket:
        await hear(socket)
        sent = [await apply(maths) for _ in range(3)]
        assert ids(await hear_all(socket, 3)) == [str(alert.event_id) for alert in sent]


async def test_a_database_that_is_away_for_a_while_loses_nothing(
    maths: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "RETRY_S", 0.1)

    def away(*_: object) -> None:
        raise OperationalError("gone")

    async with listening(token=api_key) as socket:
        await hear(socket)
        with monkeypatch.context() as patch:
            patch.setattr(stream, "alerts_after", away)
            first = await apply(maths)
            await asyncio.sleep(0.5)
            second = await apply(maths)
        assert ids(await hear_all(socket, 2)) == [str(first.event_id), str(second.event_id)]


async def test_a_database_that_is_away_at_the_start_asks_to_try_again(
    api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(proctor_access, "admit", away)
    socket = dial(token=api_key)
    await socket.connect(timeout=5)
    assert (await socket.receive_output(timeout=3))["code"] == 1013


# --- Who may listen ---------------------------------------------------------------------------------------------------
async def test_another_organisations_alerts_are_not_heard(maths: ExamSession, api_key: str) -> None:
    async with listening(token=api_key) as socket:
        assert [(await hear(socket))["type"] for _ in range(2)] == ["ready", "session"]
        await apply(await on_db(builders.session)())
        own = await apply(maths)
        assert ids(await hear_all(socket, 1)) == [str(own.event_id)]


async def test_keys_without_the_scope_join_tokens_and_nobody_are_refused(
    owner: Organisation, maths: ExamSession, settings: Any
) -> None:
    _, raw = await on_db(api_key_create)(organisation=owner, name="enroller", scopes=["enroll", "admin"])
    assert await refused(dial(token=raw)) == (4403, "scope_missing")
    assert await refused(dial(token=join_token(maths, settings))) == (4401, "key_invalid")
    assert await refused(dial(token="sdp_000000000000_" + "0" * 64)) == (4401, "key_invalid")
    assert await refused(dial()) == (4401, "not_authenticated")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?token=x", "token_in_query"),
        ("?event_type=NO_FACES", "event_type_unknown"),
        ("?event_types=NO_FACE", "parameter_unknown"),
        ("?exam_id=", "parameter_invalid"),
        ("?exam_id=a%00b", "parameter_invalid"),
        ("?organisation=%00", "parameter_invalid"),
        ("?after=a&after=b", "parameter_invalid"),
        ("?" + "&".join(f"exam_id=e{number}" for number in range(101)), "parameter_invalid"),
    ],
)
async def test_what_cannot_be_meant_is_said(api_key: str, query: str, code: str) -> None:
    assert await refused(dial(query, token=api_key)) == (4400, code)


async def test_an_unknown_event_type_is_answered_with_those_there_are(api_key: str) -> None:
    socket = dial("?event_type=NO_FACE&event_type=PHONES", token=api_key)
    await socket.connect(timeout=5)
    error = (await hear(socket))["data"]
    assert error["unknown"] == ["PHONES"]
    assert "PHONE" in error["known"]
    await socket.disconnect()


async def test_browsers_send_the_key_as_a_subprotocol(api_key: str) -> None:
    socket = dial(protocols=["sd-proctor.v1", f"bearer.{api_key}"])
    assert await socket.connect(timeout=5) == (True, "sd-proctor.v1")
    assert (await hear(socket))["type"] == "ready"
    await socket.disconnect()


async def test_staff_listen_with_their_login_and_see_pictures_only_with_the_permission(
    owner: Organisation, maths: ExamSession
) -> None:
    proctor = await on_db(builders.staff)(owner)
    reviewer = await on_db(builders.staff)(owner, may=["view_examsession", "view_incident"])
    links = {}
    for person in (proctor, reviewer):
        async with listening(headers=await headers_of(person)) as socket:
            await hear(socket)
            await apply(maths, frames={"f1": (builders.ONSET, builders.jpeg())})
            links[person.pk] = len((await hear_all(socket, 1))[0]["metadata"]["evidence"])
    assert links == {proctor.pk: 1, reviewer.pk: 0}


async def test_staff_without_the_permissions_or_from_a_foreign_page_are_refused(owner: Organisation) -> None:
    for may in (["view_examsession"], ["view_incident"]):
        person = await on_db(builders.staff)(owner, may=may)
        assert await refused(dial(headers=await headers_of(person))) == (4403, "permission_denied")
    proctor = await on_db(builders.staff)(owner)
    foreign = await headers_of(proctor) | {"origin": "https://evil.example"}
    assert await refused(dial(headers=foreign)) == (4403, "origin_refused")


async def test_only_superusers_listen_to_another_organisation(owner: Organisation) -> None:
    other = await on_db(builders.organisation)()
    proctor = await on_db(builders.staff)(owner)
    chief = await on_db(builders.staff)(owner, superuser=True)
    query = f"?organisation={other.slug}"
    assert await refused(dial(query, headers=await headers_of(proctor))) == (4404, "organisation_unknown")
    assert await refused(dial("?organisation=none", headers=await headers_of(chief))) == (4404, "organisation_unknown")
    async with listening(query, headers=await headers_of(chief)) as socket:
        assert (await hear(socket))["data"]["organisation"] == other.slug


async def test_a_key_that_is_revoked_closes_the_socket(owner: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "RECHECK_S", 0.2)
    key, raw = await on_db(api_key_create)(organisation=owner, name="short", scopes=["sessions"])
    socket = dial(token=raw)
    await socket.connect(timeout=5)
    await hear(socket)
    key.revoked_at = timezone.now()
    await on_db(key.save)()
    assert (await hear(socket))["data"]["code"] == "key_invalid"
    assert (await socket.receive_output())["code"] == 4401


async def test_a_client_that_takes_nothing_is_closed(
    maths: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(self: Any, text: str) -> None:
        async with asyncio.timeout(0.2):
            await asyncio.Event().wait()

    async with listening(token=api_key) as socket:
        await hear(socket)
        await hear(socket)
        monkeypatch.setattr(sockets.LiveConsumer, "_send_text", stuck)
        await apply(maths)
        assert (await socket.receive_output(timeout=3))["code"] == 4408


async def test_what_is_shared_ends_with_the_last_client(api_key: str) -> None:
    async with listening(token=api_key) as one, listening(token=api_key) as two:
        await asyncio.gather(hear(one), hear(two))
        (shared,) = hub._hubs.values()
        assert shared.clients == 2
    assert not hub._hubs
