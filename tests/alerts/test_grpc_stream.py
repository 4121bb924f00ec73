"""``AlertStream.Subscribe`` over TCP: whose alerts come, in which order, from where on, and what ends it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from django.utils import timezone
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from accounts.models import APIKey, Organisation
from alerts.following import recent
from alerts.models import Alert
from alerts.rpc import access, service
from alerts.rpc.messages import RECEIVER, STREAM
from alerts.rpc.server import StreamServer
from detection.engine.policy import EventType
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.grpc_peers import PATH, admitted, api_key, refusal, serving, silent, subscribe, take

pytestmark = pytest.mark.django_db(transaction=True)
Code = grpc.StatusCode


@pytest.fixture
async def server() -> AsyncIterator[StreamServer]:
    async with serving() as running:
        yield running


@pytest.fixture
async def channel(server: StreamServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened


async def tenant(**fields: Any) -> tuple[Organisation, str]:
    owner = await on_db(builders.organisation)(**fields)
    return owner, await on_db(api_key)(owner)


async def alert(owner: Organisation, event_type: EventType = EventType.NO_FACE, **session: Any) -> Alert:
    def write() -> Alert:
        return builders.apply(builders.session(owner, **session), builders.change(event_type))

    return await on_db(write)()


async def test_a_client_gets_what_is_committed_from_its_admission_on(channel: grpc.aio.Channel) -> None:
    owner, key = await tenant()
    await alert(owner)
    call = await admitted(subscribe(channel, key))
    made = [await alert(owner) for _ in range(3)]
    assert [got.event_id for got in await take(call, 3)] == [str(each.event_id) for each in made]


async def test_a_client_that_names_its_last_alert_gets_all_after_it(channel: grpc.aio.Channel) -> None:
    owner, key = await tenant()
    made = [await alert(owner) for _ in range(5)]
    call = subscribe(channel, key, after_event_id=str(made[1].event_id))
    assert [got.event_id for got in await take(call, 3)] == [str(each.event_id) for each in made[2:]]
    later = await alert(owner)
    assert [got.event_id for got in await take(call, 1)] == [str(later.event_id)]


async def test_a_client_that_asks_from_the_beginning_gets_all_that_is_kept(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "PAGE", 3)
    owner, key = await tenant()
    made = [await alert(owner) for _ in range(8)]
    call = subscribe(channel, key, from_beginning=True)
    assert [got.event_id for got in await take(call, 8)] == [str(each.event_id) for each in made]
    assert await silent(call)


@pytest.mark.parametrize("event_id", [str(uuid.uuid4()), "no-id", "x" * 2000])
async def test_an_unknown_event_to_resume_after_is_answered_with_the_oldest_there_is(
    channel: grpc.aio.Channel, event_id: str
) -> None:
    owner, key = await tenant()
    other, _ = await tenant()
    await alert(other)
    oldest = await alert(owner)
    await alert(owner)
    code, trailers, details = await refusal(subscribe(channel, key, after_event_id=event_id))
    assert code is Code.OUT_OF_RANGE
    assert trailers[access.CODE_KEY] == "event_unknown"
    assert trailers[access.OLDEST_KEY] == str(oldest.event_id)
    assert details.startswith("There is no alert")


async def test_another_organisations_alerts_can_be_neither_heard_nor_resumed_after(channel: grpc.aio.Channel) -> None:
    (owner, key), (other, _) = await tenant(), await tenant()
    foreign = await alert(other)
    call = await admitted(subscribe(channel, key, from_beginning=True))
    await alert(other)
    own = await alert(owner)
    assert [got.event_id for got in await take(call, 1)] == [str(own.event_id)]
    assert await silent(call)
    code, trailers, _ = await refusal(subscribe(channel, key, after_event_id=str(foreign.event_id)))
    assert (code, trailers[access.CODE_KEY]) == (Code.OUT_OF_RANGE, "event_unknown")
    foreign_name = await on_db(lambda: foreign.session.session_id)()
    code, trailers, _ = await refusal(subscribe(channel, key, session_id=foreign_name))
    assert (code, trailers[access.CODE_KEY]) == (Code.NOT_FOUND, "session_unknown")


async def test_filters_hold_for_what_is_stored_and_for_what_comes(channel: grpc.aio.Channel) -> None:
    owner, key = await tenant()
    wanted = {"exam_ids": ["algebra"], "event_types": ["SPEECH_DETECTED"]}

    async def write() -> str:
        await alert(owner, EventType.SPEECH_DETECTED, exam_id="biology")
        await alert(owner, EventType.NO_FACE, exam_id="algebra")
        await alert(owner, EventType.SPEECH_DETECTED)
        return str((await alert(owner, EventType.SPEECH_DETECTED, exam_id="algebra")).event_id)

    stored = await write()
    call = subscribe(channel, key, from_beginning=True, **wanted)
    assert [got.event_id for got in await take(call, 1)] == [stored]
    came = await write()
    assert [got.event_id for got in await take(call, 1)] == [came]
    assert await silent(call)


async def test_a_filter_for_a_session_takes_the_platforms_name_and_our_id(channel: grpc.aio.Channel) -> None:
    owner, key = await tenant()
    await alert(owner)
    session = await on_db(builders.session)(owner)
    wanted = str((await on_db(builders.apply)(session)).event_id)
    for name in (session.session_id, str(session.pk)):
        call = subscribe(channel, key, from_beginning=True, session_id=name)
        assert [got.event_id for got in await take(call, 1)] == [wanted]
        assert await silent(call)


async def test_an_alert_says_what_its_document_says(channel: grpc.aio.Channel) -> None:
    owner, key = await tenant()
    await alert(owner, exam_id="algebra")
    call = subscribe(channel, key, from_beginning=True)
    (got,) = await take(call, 1)
    stored = await on_db(Alert.objects.get)()
    document = stored.payload
    assert got.exam_session_id == document["exam_session_id"]
    assert got.timestamp.ToJsonString() == document["timestamp"]
    assert dict(got.evidence.confidence_metrics) == document["evidence"]["confidence_metrics"]
    assert got.metadata.exam_id == "algebra"
    assert not got.metadata.HasField("ended_at")
    assert got.metadata.more["policy_version"] == document["metadata"]["policy_version"]


@pytest.mark.parametrize(
    ("request_fields", "code", "name"),
    [
        ({"event_types": ["NO_SUCH_THING"]}, Code.INVALID_ARGUMENT, "event_type_unknown"),
        (
            {"event_types": ["DELIVERY_PARKED"]},
            Code.INVALID_ARGUMENT,
            "event_type_unknown",
        ),  # the stream has no notices
        ({"session_id": "nobody"}, Code.NOT_FOUND, "session_unknown"),
        ({"session_id": "\x00"}, Code.INVALID_ARGUMENT, "request_invalid"),
        ({"exam_ids": ["a\x00"]}, Code.INVALID_ARGUMENT, "request_invalid"),
        ({"exam_ids": ["a"] * 101}, Code.INVALID_ARGUMENT, "request_invalid"),
        ({"after_event_id": ""}, Code.OUT_OF_RANGE, "event_unknown"),
        ({"after_event_id": "\x00"}, Code.OUT_OF_RANGE, "event_unknown"),
    ],
)
async def test_a_wish_that_cannot_be_met_is_refused_with_its_code(
    channel: grpc.aio.Channel, request_fields: dict[str, Any], code: grpc.StatusCode, name: str
) -> None:
    _, key = await tenant()
    status, trailers, details = await refusal(subscribe(channel, key, **request_fields))
    assert (status, trailers[access.CODE_KEY]) == (code, name)
    assert details


async def test_bytes_that_are_no_request_are_refused(channel: grpc.aio.Channel) -> None:
    _, key = await tenant()
    call = channel.unary_stream(PATH)(b"\xff\xff\xff", metadata=(("authorization", f"Bearer {key}"),))
    status, trailers, _ = await refusal(call)  # type: ignore[arg-type]
    assert (status, trailers[access.CODE_KEY]) == (Code.INVALID_ARGUMENT, "request_invalid")


async def test_a_call_without_a_valid_key_learns_why_it_is_refused(channel: grpc.aio.Channel) -> None:
    owner, good = await tenant()
    narrow = await on_db(api_key)(owner, scopes=["admin", "subscriptions", "enroll", "verify"])
    expired, revoked = await on_db(api_key)(owner), await on_db(api_key)(owner)
    past = {expired: {"expires_at": timezone.now()}, revoked: {"revoked_at": timezone.now()}}
    for raw, fields in past.items():
        await on_db(APIKey.objects.filter(prefix=raw.split("_")[1]).update)(**fields)
    expected = {
        None: (Code.UNAUTHENTICATED, "not_authenticated"),
        "": (Code.UNAUTHENTICATED, "not_authenticated"),
        good[:-1]: (Code.UNAUTHENTICATED, "key_invalid"),
        "eyJhbGciOi.x.y": (Code.UNAUTHENTICATED, "key_invalid"),
        expired: (Code.UNAUTHENTICATED, "key_expired"),
        revoked: (Code.UNAUTHENTICATED, "key_revoked"),
        narrow: (Code.PERMISSION_DENIED, "scope_missing"),
    }
    for key, (code, name) in expected.items():
        status, trailers, _ = await refusal(subscribe(channel, key))
        assert (status, trailers[access.CODE_KEY]) == (code, name)


async def test_wrong_keys_are_counted_by_address(channel: grpc.aio.Channel, settings: Any, redis_client: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"failed_authentication": "2/h"}
    for code in (Code.UNAUTHENTICATED, Code.UNAUTHENTICATED, Code.RESOURCE_EXHAUSTED):
        status, trailers, _ = await refusal(subscribe(channel, "sdp_0_0"))
        assert status is code
    assert trailers[access.CODE_KEY] == "too_many_requests"
    assert 0 < int(trailers[access.RETRY_KEY]) <= 3600
    _, key = await tenant()
    await admitted(subscribe(channel, key))  # a right key is never refused


async def test_a_key_that_is_revoked_meanwhile_ends_the_stream(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RECHECK_S", 0.1)
    _, key = await tenant()
    call = await admitted(subscribe(channel, key))
    await on_db(APIKey.objects.update)(revoked_at=timezone.now())
    status, trailers, _ = await refusal(call)
    assert (status, trailers[access.CODE_KEY]) == (Code.UNAUTHENTICATED, "key_revoked")


async def test_a_server_that_stops_says_so_to_health_checks_and_clients_first(channel: grpc.aio.Channel) -> None:
    async with serving() as stopping, grpc.aio.insecure_channel(f"127.0.0.1:{stopping.port}") as to_it:
        _, key = await tenant()
        call = await admitted(subscribe(to_it, key))
        health = health_pb2_grpc.HealthStub(to_it)  # type: ignore[no-untyped-call]
        watch = health.Watch(health_pb2.HealthCheckRequest(service=STREAM))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        ended = asyncio.ensure_future(stopping.stop(grace_s=2))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        status, trailers, _ = await refusal(call)
        assert (status, trailers[access.CODE_KEY]) == (Code.UNAVAILABLE, "server_stopping")
        watch.cancel()
        await ended


async def test_reflection_tells_of_the_service_and_its_messages(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=STREAM),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    names = {each.name for each in listed.list_services_response.service}
    assert {STREAM, "grpc.health.v1.Health"} <= names
    assert RECEIVER not in names
    assert b"after_event_id" in described.file_descriptor_response.file_descriptor_proto[0]
