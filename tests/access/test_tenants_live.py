"""Every socket and every gRPC call, opened by another tenant: nothing of the first is heard."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session

from accounts.models import Organisation, User
from accounts.roles import Role
from alerts import sockets
from alerts.models import Alert
from alerts.routing import websocket_urlpatterns
from alerts.rpc import alerts_pb2
from tests.access.people import PASSWORD
from tests.access.world import Intruder, Tenant, make_intruder, make_tenant
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.dialling import dial_path, headers_of, hear, opened, refused
from tests.alerts.grpc_peers import admitted, refusal, serving, silent, subscribe
from tests.factories import make_user

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


# --- Sockets, by role and while a sign-in lasts -----------------------------------------------------------------------
def _person(role: Role, owner: Organisation) -> User:
    user = make_user(owner)
    user.groups.add(Group.objects.get(name=role.value))
    return user


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_hears_what_it_sees(tenant: Tenant, role: Role) -> None:
    user = await on_db(_person)(role, tenant.organisation)
    proctors = dial_path("/api/v1/proctor/ws", headers=await headers_of(user))
    if role is Role.INTEGRATOR:  # sees sessions and no incidents
        assert await refused(proctors) == (4403, "permission_denied")
        return
    async with opened(proctors) as socket:
        assert (await hear(socket))["type"] == "ready"
        alert = (await on_db(builders.apply)(tenant.session, frames={"f1": (builders.ONSET, builders.jpeg())})).payload
        while (told := await hear(socket))["type"] != "alert":
            pass
        assert told["data"]["event_id"] == alert["event_id"]
        assert ("signature=" in str(told)) == (role is not Role.AUDITOR)


async def _ends(socket: Any) -> int:
    async with asyncio.timeout(10):
        while (told := await socket.receive_output(timeout=10))["type"] != "websocket.close":
            pass
    return int(told["code"])


@pytest.mark.parametrize(
    ("what", "code"),
    [("password", 4401), ("time", 4401), ("second factor", 4403), ("deactivated", 4401), ("signed out", 4401)],
)
async def test_an_open_socket_ends_with_the_sign_in(
    intruder: Intruder, what: str, code: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(sockets, "RECHECK_S", 0.2)
    intruder.user.set_password(PASSWORD)  # of whom a second factor can be asked
    await on_db(intruder.user.save)()
    async with opened(dial_path("/api/v1/proctor/ws", headers=await headers_of(intruder.user))) as socket:
        assert (await hear(socket))["type"] == "ready"

        def change() -> None:
            person = User.objects.get(pk=intruder.user.pk)
            if what == "password":
                person.set_password("another-Long-2-one")
            elif what == "time":
                settings.SESSION_HOURS = 0
            elif what == "second factor":
                settings.REQUIRE_SECOND_FACTOR = ["all"]
            elif what == "deactivated":
                person.is_active = False
            else:
                Session.objects.all().delete()
            person.save()

        await on_db(change)()
        assert await _ends(socket) == code
