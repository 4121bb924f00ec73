"""Every socket and every gRPC call, opened by another tenant: nothing of the first is heard."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from alerts.models import Alert
from alerts.routing import websocket_urlpatterns
from alerts.rpc import alerts_pb2
from tests.access.world import Intruder, Tenant, make_intruder, make_tenant
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.dialling import dial_path, headers_of, hear, opened, refused
from tests.alerts.grpc_peers import admitted, refusal, serving, silent, subscribe

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_listener_outlives_its_test", "redis_client"),
]

SOCKETS = {"api/v1/session/ws/<str:session_id>", "api/v1/proctor/ws", ""}
"""Every socket; the last answers all other addresses by closing."""
SERVED = {"sdproctor.alerts.v1.AlertStream/Subscribe"}
PUSHED = {"sdproctor.alerts.v1.AlertReceiver/Deliver"}
"""What subscribers serve and we call."""


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def intruder() -> Intruder:
    return make_intruder()


async def credentials(intruder: Intruder) -> dict[str, dict[str, Any]]:
    return {
        "key": {"token": intruder.key},
        "person": {"headers": await headers_of(intruder.user)},
        "candidate": {"token": intruder.join_token},
    }


def test_these_are_all_sockets_and_calls() -> None:
    assert {str(pattern.pattern) for pattern in websocket_urlpatterns} == SOCKETS
    services = alerts_pb2.DESCRIPTOR.services_by_name.values()
    assert {f"{one.full_name}/{method.name}" for one in services for method in one.methods} == SERVED | PUSHED


@pytest.mark.parametrize("who", ["key", "person", "candidate"])
async def test_a_sessions_socket_does_not_open_for_another_tenant(tenant: Tenant, intruder: Intruder, who: str) -> None:
    how = (await credentials(intruder))[who]
    for name in tenant.given["session_id"]:
        close, code = await refused(dial_path(f"/api/v1/session/ws/{name}", **how))
        expected = (4403, "token_wrong_session") if who == "candidate" else (4404, "session_unknown")
        assert (close, code) == expected


@pytest.mark.parametrize("who", ["key", "person", "candidate"])
async def test_the_proctors_socket_does_not_open_over_another_tenant(
    tenant: Tenant, intruder: Intruder, who: str
) -> None:
    how = (await credentials(intruder))[who]
    close, code = await refused(dial_path(f"/api/v1/proctor/ws?organisation={tenant.organisation.slug}", **how))
    assert (close, code) == ((4401, "key_invalid") if who == "candidate" else (4404, "organisation_unknown"))
    if who != "candidate":
        event = tenant.given["event_id"][0]
        assert (await refused(dial_path(f"/api/v1/proctor/ws?after={event}", **how)))[0] == 4410


@pytest.mark.parametrize("who", ["key", "person"])
async def test_what_happens_at_another_tenants_is_not_heard(tenant: Tenant, intruder: Intruder, who: str) -> None:
    how = (await credentials(intruder))[who]
    exam = tenant.given["exam_id"][0]
    for query in ("", f"?exam_id={exam}"):
        async with opened(dial_path(f"/api/v1/proctor/ws{query}", **how)) as socket:
            assert (await hear(socket))["data"]["organisation"] == intruder.organisation.slug
            while not await socket.receive_nothing(timeout=0.3):
                assert not tenant.leaks(await socket.receive_from(), exam)
            await on_db(builders.apply)(tenant.session)
            assert await socket.receive_nothing(timeout=0.7)


async def test_no_call_tells_of_another_tenant(tenant: Tenant, intruder: Intruder) -> None:
    exam, event = tenant.given["exam_id"][0], tenant.given["event_id"][0]
    async with serving() as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for name in tenant.given["session_id"]:
            status, trailers, _ = await refusal(subscribe(channel, intruder.key, session_id=name))
            assert (status, trailers["sdproctor-code"]) == (grpc.StatusCode.NOT_FOUND, "session_unknown")
        status, trailers, details = await refusal(subscribe(channel, intruder.key, after_event_id=event))
        assert (status, trailers["sdproctor-code"]) == (grpc.StatusCode.OUT_OF_RANGE, "event_unknown")
        assert not tenant.leaks(f"{trailers} {details}", event)
        for wish in ({"from_beginning": True}, {"exam_ids": [exam], "from_beginning": True}, {}):
            call = await admitted(subscribe(channel, intruder.key, **wish))
            await on_db(builders.apply)(tenant.session)
            assert await silent(call, 0.7)
            call.cancel()
        status, trailers, _ = await refusal(subscribe(channel, intruder.join_token))
        assert status is grpc.StatusCode.UNAUTHENTICATED


async def test_the_first_tenant_itself_hears_it(tenant: Tenant) -> None:
    """Without this, silence above would say nothing."""
    from tests.alerts.grpc_peers import api_key, take

    key = await on_db(api_key)(tenant.organisation)
    async with serving() as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = subscribe(channel, key, from_beginning=True)
        told = await take(call, await on_db(Alert.objects.filter(organisation=tenant.organisation).count)())
        assert tenant.given["event_id"][0] in {alert.event_id for alert in told}
        call.cancel()
