"""The live socket through the whole ASGI application, with real Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisAway

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts import consumers, feed, services, sockets, wake
from alerts.following import hub, watch
from alerts.models import Alert
from detection.engine.policy import EventType
from media_gateway.tokens import JoinClaims, mint
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.dialling import cookie_of, dial_path, headers_of, hear, hear_all, join_token, opened, refused

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_listener_outlives_its_test")]


apply = on_db(builders.apply)


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def session(owner: Organisation) -> ExamSession:
    return builders.session(owner, exam_id="maths")


@pytest.fixture
def api_key(owner: Organisation) -> str:
    return api_key_create(organisation=owner, name="platform", scopes=["sessions"])[1]


def dial(name: object, *, query: str = "", **how: Any) -> WebsocketCommunicator:
    """Prepare a connection to the socket of the session ``name``."""
    return dial_path(f"/api/v1/session/ws/{name}{query}", **how)


def listening(name: object, **how: Any) -> AbstractAsyncContextManager[WebsocketCommunicator]:
    """Listen to the session ``name`` while the block runs."""
    return opened(dial(name, **how))


# --- What is told -----------------------------------------------------------------------------------------------------
async def test_the_state_comes_first_then_incident_and_alert_as_they_happen(session: ExamSession, api_key: str) -> None:
    async with listening(session.session_id, token=api_key) as socket:
        state = await hear(socket)
        assert state["type"] == "state"
        assert state["data"]["state"] == "created"
        assert state["data"]["session_id"] == session.session_id
        assert state["data"]["last_event_id"] is None
        assert state["data"]["open_incidents"] == []

        alert = await apply(session, frames={"f1": (builders.ONSET, builders.jpeg())})

        incident, told = await hear(socket), await hear(socket)
        assert incident["type"] == "incident"
        assert incident["data"]["incident_id"] == str(alert.incident_id)
        assert incident["data"]["state"] == "open"
        assert "signature=" in incident["data"]["evidence"][0]["url"]
        assert told == {"type": "alert", "data": alert.payload}


async def test_sessions_are_found_by_the_platforms_name_and_by_ours(session: ExamSession, api_key: str) -> None:
    for name in (session.session_id, session.id):
        async with listening(name, token=api_key) as socket:
            assert (await hear(socket))["data"]["id"] == str(session.id)


async def test_a_change_of_state_is_told(session: ExamSession, api_key: str) -> None:
    async with listening(session.id, token=api_key) as socket:
        await hear(socket)
        await on_db(ExamSession.objects.filter(pk=session.pk).update)(state="live", live_at=timezone.now())
        services.broadcast(session.id, {"type": "state", "data": {}})
        told = await hear(socket)
        assert (told["type"], told["data"]["state"]) == ("state", "live")


async def test_detections_are_passed_on_and_only_to_this_session(session: ExamSession, api_key: str) -> None:
    async with listening(session.id, token=api_key) as socket:
        await hear(socket)
        await asyncio.sleep(0.2)
        services.broadcast(uuid.uuid4(), {"type": "detections", "data": {"video": {"faces": 7}}})
        services.broadcast(session.id, {"type": "detections", "data": {"video": {"faces": 1}}})
        assert await hear(socket) == {"type": "detections", "data": {"video": {"faces": 1}}}


# --- Resuming ---------------------------------------------------------------------------------------------------------
async def test_after_replays_every_later_alert_in_order_before_live_ones(
    session: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE", 5)
    sent = [await apply(session) for _ in range(25)]
    async with listening(session.id, token=api_key, query=f"?after={sent[2].event_id}") as socket:
        live = await apply(session)
        told = await hear_all(socket, 23)
    assert [alert["metadata"]["sequence"] for alert in told] == list(range(4, 27))
    assert told[0] == sent[3].payload
    assert told[-1]["event_id"] == str(live.event_id)


async def test_without_after_nothing_old_is_told(session: ExamSession, api_key: str) -> None:
    await apply(session)
    async with listening(session.id, token=api_key) as socket:
        assert (await hear(socket))["type"] == "state"
        new = await apply(session)
        assert [alert["event_id"] for alert in await hear_all(socket, 1)] == [str(new.event_id)]


@pytest.mark.parametrize("after", ["not-an-id", str(uuid.uuid4()), ""])
async def test_an_unknown_event_is_refused_with_the_oldest_there_is(
    session: ExamSession, api_key: str, after: str
) -> None:
    first = await apply(session)
    await apply(session)
    socket = dial(session.id, token=api_key, query=f"?after={after}")
    await socket.connect()
    error = await hear(socket)
    assert error["data"]["code"] == "event_unknown"
    assert error["data"]["oldest_event_id"] == str(first.event_id)
    assert (await socket.receive_output())["code"] == 4410


@pytest.mark.parametrize(
    ("query", "code"), [("?afer=1", "parameter_unknown"), ("?after=a&after=b", "parameter_invalid")]
)
async def test_a_resume_that_is_misspelt_is_refused_and_not_overlooked(
    session: ExamSession, api_key: str, query: str, code: str
) -> None:
    assert await refused(dial(session.id, token=api_key, query=query)) == (4400, code)


async def test_an_event_of_another_session_is_unknown(owner: Organisation, session: ExamSession, api_key: str) -> None:
    other = await on_db(builders.session)(owner)
    elsewhere = await apply(other)
    assert await refused(dial(session.id, token=api_key, query=f"?after={elsewhere.event_id}")) == (
        4410, "event_unknown",
    )  # fmt: skip


# --- Redis and PostgreSQL away ----------------------------------------------------------------------------------------
class DeadLayer:
    async def new_channel(self) -> str:
        raise RedisAway("gone")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        raise RedisAway("gone")


async def test_without_redis_alerts_still_come_in_order_by_polling(
    session: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "POLL_S", 0.3)
    monkeypatch.setattr(watch, "get_channel_layer", DeadLayer)
    monkeypatch.setattr(wake, "get_channel_layer", DeadLayer)
    async with listening(session.id, token=api_key) as socket:
        await hear(socket)
        sent = [await apply(session) for _ in range(5)]
        told = await hear_all(socket, 5)
    assert [alert["event_id"] for alert in told] == [str(alert.event_id) for alert in sent]


async def test_a_layer_that_comes_back_is_subscribed_to(
    session: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RECONNECT_S", 0.2)
    with monkeypatch.context() as away:
        away.setattr(watch, "get_channel_layer", DeadLayer)
        socket = dial(session.id, token=api_key)
        await socket.connect()
        await hear(socket)
    await asyncio.sleep(0.6)
    services.broadcast(session.id, {"type": "detections", "data": {"video": {"faces": 1}}})
    assert (await hear(socket, within_s=1))["type"] == "detections"
    await socket.disconnect()


async def test_a_database_that_is_away_for_a_while_loses_nothing(
    session: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_S", 0.2)

    def away(*_: object) -> None:
        raise OperationalError("gone")

    async with listening(session.id, token=api_key) as socket:
        await hear(socket)
        with monkeypatch.context() as patch:
            patch.setattr(feed, "read", away)
            first = await apply(session)
            await asyncio.sleep(0.5)
            second = await apply(session)
        told = await hear_all(socket, 2)
    assert [alert["event_id"] for alert in told] == [str(first.event_id), str(second.event_id)]


# --- Who may listen ---------------------------------------------------------------------------------------------------
async def test_no_credentials_are_refused(session: ExamSession) -> None:
    assert await refused(dial(session.id)) == (4401, "not_authenticated")


@pytest.mark.parametrize("token", ["sdp_000000000000_" + "0" * 64, "sdp_", "nonsense", "a.b.c"])
async def test_wrong_tokens_are_refused(session: ExamSession, token: str) -> None:
    code, reason = await refused(dial(session.id, token=token))
    assert code == 4401
    assert reason in ("key_invalid", "token_invalid")


async def test_tokens_in_the_query_are_refused_even_when_they_are_right(session: ExamSession, api_key: str) -> None:
    for name in ("token", "access_token", "Key"):
        assert await refused(dial(session.id, query=f"?{name}={api_key}")) == (4400, "token_in_query")
    assert await refused(dial(session.id, token=api_key, query=f"?token={api_key}")) == (4400, "token_in_query")


async def test_a_key_without_the_scope_is_refused(owner: Organisation, session: ExamSession) -> None:
    _, raw = await on_db(api_key_create)(organisation=owner, name="enroller", scopes=["enroll"])
    assert await refused(dial(session.id, token=raw)) == (4403, "scope_missing")


async def test_sessions_of_another_organisation_are_unknown(session: ExamSession) -> None:
    stranger = await on_db(builders.organisation)()
    _, raw = await on_db(api_key_create)(organisation=stranger, name="platform", scopes=["sessions"])
    for name in (session.id, session.session_id, "nothing", uuid.uuid4()):
        assert await refused(dial(name, token=raw)) == (4404, "session_unknown")


@pytest.mark.parametrize("offered", [["bearer.{}"], ["sd-proctor.v1", "bearer.{}"], ["bearer.{}", "sd-proctor.v1"]])
async def test_browsers_send_the_token_as_a_subprotocol(session: ExamSession, api_key: str, offered: list[str]) -> None:
    protocols = [name.format(api_key) for name in offered]
    socket = dial(session.id, protocols=protocols)
    connected, chosen = await socket.connect()
    assert connected
    assert chosen == ("sd-proctor.v1" if len(protocols) == 2 else protocols[0])
    assert (await hear(socket))["type"] == "state"
    await socket.disconnect()


async def test_an_unknown_address_is_closed_with_4404() -> None:
    socket = dial_path("/api/v1/nothing")
    await socket.connect()
    assert (await socket.receive_output())["code"] == 4404


# --- Candidates -------------------------------------------------------------------------------------------------------
async def test_candidates_hear_state_and_technical_alerts_but_nothing_about_behaviour(
    session: ExamSession, settings: Any
) -> None:
    token = join_token(session, settings)
    opened = builders.change(EventType.FACE_MISMATCH)
    await apply(session, opened)
    async with listening(session.id, protocols=[f"bearer.{token}"]) as socket:
        state = await hear(socket)
        assert state["data"]["open_incidents"] == []
        assert state["data"]["last_event_id"] is None
        await asyncio.sleep(0.2)

        services.broadcast(session.id, {"type": "detections", "data": {"video": {"similarity": 0.1}}})
        await apply(session, builders.closing(opened))
        await apply(session, builders.change(EventType.NO_FACE), frames={"f1": (builders.ONSET, builders.jpeg())})
        technical = await apply(
            session, builders.change(EventType.CAMERA_LOST), frames={"f1": (builders.ONSET, builders.jpeg())}
        )

        incident, alert = await hear(socket), await hear(socket)
        assert (incident["type"], incident["data"]["event_type"]) == ("incident", "CAMERA_LOST")
        assert incident["data"]["evidence"] == []
        assert (alert["type"], alert["data"]["event_id"]) == ("alert", str(technical.event_id))
        assert await socket.receive_nothing(timeout=0.3)


async def test_a_candidates_replay_leaves_behaviour_out_too(session: ExamSession, settings: Any) -> None:
    first = await apply(session, builders.change(EventType.CAMERA_LOST))
    await apply(session, builders.change(EventType.NO_FACE))
    third = await apply(session, builders.change(EventType.MICROPHONE_SILENT))
    token = join_token(session, settings)
    async with listening(session.id, token=token, query=f"?after={first.event_id}") as socket:
        assert [alert["event_id"] for alert in await hear_all(socket, 1)] == [str(third.event_id)]
        assert await socket.receive_nothing(timeout=0.3)


async def test_a_candidate_may_not_listen_to_another_session(
    owner: Organisation, session: ExamSession, settings: Any
) -> None:
    other = await on_db(builders.session)(owner)
    token = join_token(other, settings)
    assert await refused(dial(session.id, token=token)) == (4403, "token_wrong_session")
    assert await refused(dial(uuid.uuid4(), token=token)) == (4403, "token_wrong_session")


async def test_expired_forged_and_revoked_join_tokens_are_refused(session: ExamSession, settings: Any) -> None:
    expired = join_token(session, settings, lasts_s=-1)
    assert await refused(dial(session.id, token=expired)) == (4401, "token_expired")
    now = time.time()
    forged = mint(JoinClaims(str(session.id), now, now + 60, 2.0, 1.0), key="another-key-0123456789abcdef-0123")
    assert await refused(dial(session.id, token=forged)) == (4401, "token_invalid")
    good = join_token(session, settings)
    await on_db(ExamSession.objects.filter(pk=session.pk).update)(state="ended")
    assert await refused(dial(session.id, token=good)) == (4401, "token_revoked")


async def test_a_candidate_is_told_the_end_and_the_socket_closes(session: ExamSession, settings: Any) -> None:
    socket = dial(session.id, token=join_token(session, settings))
    await socket.connect()
    await hear(socket)
    await on_db(ExamSession.objects.filter(pk=session.pk).update)(state="ended", ended_at=timezone.now())
    services.broadcast(session.id, {"type": "state", "data": {}})
    assert (await hear(socket))["data"]["state"] == "ended"
    assert (await socket.receive_output())["code"] == 1000


# --- Staff ------------------------------------------------------------------------------------------------------------
async def test_staff_listen_with_their_login_from_our_own_pages(owner: Organisation, session: ExamSession) -> None:
    cookie = await on_db(cookie_of)(await on_db(builders.staff)(owner))
    for origin in ("http://localhost:8000",):
        async with listening(session.id, headers={"cookie": cookie, "origin": origin}) as socket:
            assert (await hear(socket))["type"] == "state"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:9000", "null", None])
async def test_a_login_is_worth_nothing_on_a_foreign_page(
    owner: Organisation, session: ExamSession, origin: str | None
) -> None:
    cookie = await on_db(cookie_of)(await on_db(builders.staff)(owner))
    headers = {"cookie": cookie} | ({"origin": origin} if origin else {})
    assert await refused(dial(session.id, headers=headers)) == (4403, "origin_refused")


async def test_a_host_that_is_not_ours_makes_no_origin_ours(owner: Organisation, session: ExamSession) -> None:
    cookie = await on_db(cookie_of)(await on_db(builders.staff)(owner))
    headers = {"cookie": cookie, "origin": "http://evil.example", "host": "evil.example"}
    assert (await refused(dial(session.id, headers=headers)))[0] == 4403


async def test_staff_of_another_organisation_and_people_who_are_no_staff_are_refused(
    owner: Organisation, session: ExamSession
) -> None:
    stranger = await on_db(builders.staff)(await on_db(builders.organisation)())
    headers = {"cookie": await on_db(cookie_of)(stranger), "origin": "http://localhost:8000"}
    assert await refused(dial(session.id, headers=headers)) == (4404, "session_unknown")
    student = await on_db(builders.staff)(owner)
    student.is_staff = False
    await on_db(student.save)()
    headers = {"cookie": await on_db(cookie_of)(student), "origin": "http://localhost:8000"}
    assert await refused(dial(session.id, headers=headers)) == (4403, "permission_denied")


async def test_staff_who_may_not_view_sessions_are_refused(owner: Organisation, session: ExamSession) -> None:
    nobody = await on_db(builders.staff)(owner, may=["view_incident", "view_evidence"])
    assert await refused(dial(session.id, headers=await headers_of(nobody))) == (4403, "permission_denied")


async def test_staff_hear_of_incidents_only_with_the_permission(owner: Organisation, session: ExamSession) -> None:
    onlooker = await on_db(builders.staff)(owner, may=["view_examsession", "view_evidence"])
    async with listening(session.id, headers=await headers_of(onlooker)) as socket:
        assert (await hear(socket))["type"] == "state"
        await apply(session)
        await apply(session, builders.change(EventType.CAMERA_LOST))
        session.state = ExamSession.State.LIVE
        await on_db(session.save)()
        told = await hear(socket, within_s=7)  # found by polling
        assert (told["type"], told["data"]["open_incidents"], told["data"]["last_event_id"]) == ("state", [], None)


async def test_staff_get_links_to_pictures_only_with_the_permission(owner: Organisation, session: ExamSession) -> None:
    reviewer = await on_db(builders.staff)(owner, may=["view_examsession", "view_incident"])
    proctor = await on_db(builders.staff)(owner)
    texts = {}
    for user in (reviewer, proctor):
        async with listening(session.id, headers=await headers_of(user)) as socket:
            await hear(socket)
            alert = await apply(session, frames={"f1": (builders.ONSET, builders.jpeg())})
            incident, told = await hear(socket), await hear(socket)
            assert (incident["type"], told["type"]) == ("incident", "alert")
            assert told["data"]["event_id"] == str(alert.event_id)
            texts[user.pk] = json.dumps([incident, told])
    assert "signature=" in texts[proctor.pk]
    assert "signature=" not in texts[reviewer.pk]


async def test_a_superuser_listens_everywhere_by_our_id(session: ExamSession) -> None:
    chief = await on_db(builders.staff)(await on_db(builders.organisation)(), superuser=True)
    headers = await headers_of(chief)
    async with listening(session.id, headers=headers) as socket:
        assert (await hear(socket))["data"]["id"] == str(session.id)
    # Names are not unique over organisations: another one's session is not found by it.
    assert await refused(dial(session.session_id, headers=headers)) == (4404, "session_unknown")


@pytest.mark.parametrize("name", ["a%00b", "%7f", "a" * 200, "no-such-session", uuid.UUID(int=0).hex])
async def test_a_name_that_is_none_is_unknown(api_key: str, name: str) -> None:
    assert await refused(dial(name, token=api_key)) == (4404, "session_unknown")


async def test_a_session_that_is_named_like_anothers_id_is_the_one_meant(
    owner: Organisation, session: ExamSession, api_key: str
) -> None:
    namesake = await on_db(builders.session)(owner, session_id=str(session.id))
    async with listening(session.id, token=api_key) as socket:
        assert (await hear(socket))["data"]["id"] == str(namesake.id)


# --- While it is open -------------------------------------------------------------------------------------------------
@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_S", 0.1)
    monkeypatch.setattr(sockets, "RECHECK_S", 0.2)


def _revoke(key: Any) -> None:
    key.revoked_at = timezone.now()
    key.save()


def _sign_out(_: Any) -> None:
    Session.objects.all().delete()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("who", "spoil"), [("key", _revoke), ("staff", _sign_out)])
async def test_a_right_that_is_lost_closes_the_socket(
    owner: Organisation, session: ExamSession, who: str, spoil: Callable[[Any], None]
) -> None:
    key, raw = await on_db(api_key_create)(organisation=owner, name="short", scopes=["sessions"])
    if who == "key":
        socket = dial(session.id, token=raw)
    else:
        cookie = await on_db(cookie_of)(await on_db(builders.staff)(owner))
        socket = dial(session.id, headers={"cookie": cookie, "origin": "http://localhost:8000"})
    await socket.connect()
    await hear(socket)
    await on_db(spoil)(key)
    assert (await hear(socket))["type"] == "error"
    assert (await socket.receive_output())["code"] == 4401


@pytest.mark.usefixtures("impatient")
async def test_a_permission_that_is_lost_silences_an_open_socket(owner: Organisation, session: ExamSession) -> None:
    proctor = await on_db(builders.staff)(owner)
    async with listening(session.id, headers=await headers_of(proctor)) as socket:
        await hear(socket)
        await on_db(proctor.user_permissions.set)(
            await on_db(lambda: list(Permission.objects.filter(codename="view_examsession")))()
        )
        await asyncio.sleep(0.5)
        await apply(session)
        assert await socket.receive_nothing(timeout=1)


@pytest.mark.usefixtures("impatient")
async def test_a_join_token_that_expires_closes_the_socket(session: ExamSession, settings: Any) -> None:
    socket = dial(session.id, token=join_token(session, settings, lasts_s=1))
    await socket.connect()
    await hear(socket)
    assert (await hear(socket))["data"]["code"] == "token_expired"
    assert (await socket.receive_output())["code"] == 4401


@pytest.mark.usefixtures("impatient")
async def test_the_socket_of_an_erased_session_closes(session: ExamSession, api_key: str) -> None:
    socket = dial(session.id, token=api_key)
    await socket.connect()
    await hear(socket)
    await on_db(session.delete)()
    assert (await hear(socket))["data"]["code"] == "session_unknown"
    assert (await socket.receive_output())["code"] == 4404


async def test_what_the_client_says_is_ignored(session: ExamSession, api_key: str) -> None:
    async with listening(session.id, token=api_key) as socket:
        await hear(socket)
        for text in ("hello", "{", '{"type": "alert"}'):
            await socket.send_to(text_data=text)
        await socket.send_to(bytes_data=b"\x00\xff")
        alert = await apply(session)
        assert (await hear_all(socket, 1))[0]["event_id"] == str(alert.event_id)


async def test_summaries_for_a_client_that_is_behind_are_dropped_not_piled_up(
    session: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client makes no room; what comes meanwhile must not grow. Then it is closed with 4408."""
    stuck = asyncio.Event()
    kept: list[int] = []

    class Stuck(consumers.SessionConsumer):  # type: ignore[misc]
        async def _send_text(self, text: str) -> None:
            if stuck.is_set():
                kept.append(len(self._detections))
                async with asyncio.timeout(1.5):
                    await asyncio.Event().wait()
            await super()._send_text(text)

    scope_app = Stuck.as_asgi()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await scope_app({**scope, "url_route": {"kwargs": {"session_id": str(session.id)}}}, receive, send)

    socket = WebsocketCommunicator(app, "/", headers=[(b"authorization", f"Bearer {api_key}".encode())])
    await socket.connect()
    await hear(socket)
    await asyncio.sleep(0.2)
    stuck.set()
    for number in range(500):
        services.broadcast(session.id, {"type": "detections", "data": {"n": number}})
    assert (await socket.receive_output(timeout=4))["code"] == 4408
    assert kept == [1] or max(kept) <= consumers.DETECTIONS_WAITING


async def test_alerts_of_an_open_socket_are_not_lost_among_many(session: ExamSession, api_key: str) -> None:
    async with listening(session.id, token=api_key) as one, listening(session.id, token=api_key) as two:
        await asyncio.gather(hear(one), hear(two))
        for _ in range(30):
            await apply(session)
        for socket in (one, two):
            told = await hear_all(socket, 30)
            assert [alert["metadata"]["sequence"] for alert in told] == list(range(1, 31))
    assert await on_db(Alert.objects.count)() == 30


async def test_a_poll_without_news_costs_two_queries(session: ExamSession, owner: Organisation) -> None:
    def count() -> int:
        viewer = feed.Viewer(session, is_candidate=False)
        position = feed.start(viewer, None)
        position.state = "created"
        with CaptureQueriesContext(connection) as queries:
            assert feed.read(viewer, position).messages == []
        return len(queries)

    assert await on_db(count)() == 2


async def test_all_sessions_that_are_listened_to_are_polled_by_one_query(owner: Organisation) -> None:
    sessions = [await on_db(builders.session)(owner) for _ in range(3)]
    alert = await apply(sessions[1])

    def poll() -> tuple[dict[uuid.UUID, Any], int]:
        with CaptureQueriesContext(connection) as queries:
            found = watch.standing([session.pk for session in sessions] + [uuid.uuid4()])
        return found, len(queries)

    created = [("created", None), ("created", alert.sequence), ("created", None)]
    assert await on_db(poll)() == ({session.pk: state for session, state in zip(sessions, created, strict=True)}, 1)


async def test_sockets_of_a_session_look_once_together_and_each_hears_all(
    session: ExamSession, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    read = feed.read

    def counting(*arguments: Any) -> feed.News:
        nonlocal looks
        looks += 1
        return read(*arguments)

    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(listening(session.id, token=api_key)) for _ in range(8)]
        for socket in listeners:
            await hear(socket)
        await asyncio.sleep(0.3)
        monkeypatch.setattr(feed, "read", counting)
        alert = await apply(session)
        for socket in listeners:
            assert (await hear_all(socket, 1))[0]["event_id"] == str(alert.event_id)
    assert 1 <= looks <= 3
