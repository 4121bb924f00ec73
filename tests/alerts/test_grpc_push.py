"""The gRPC transport against real servers over TCP: delivered, refused, and what hostile addresses get."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from accounts.problems import Problem
from alerts import addresses, delivery, payload, signing
from alerts.addresses import AddressRefusedError
from alerts.models import Delivery
from alerts.outgoing import Answer, Outgoing, Result, TransportError
from alerts.rpc import alerts_pb2
from alerts.rpc.channels import CHANNELS
from alerts.subscriptions import secret_rotate, subscription_create, subscription_update
from alerts.transports import grpc as transport
from proctor_site.embedded.ports import free_port
from tests.alerts import builders
from tests.alerts.certificates import Authority
from tests.alerts.grpc_peers import GrpcReceiver, receiving

pytestmark = pytest.mark.django_db(transaction=True)
Code = grpc.StatusCode


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    CHANNELS.clear()


@pytest.fixture
def grpc_receiver() -> Iterator[GrpcReceiver]:
    with receiving() as made:
        yield made


def outgoing(address: str, session: Any = None, **fields: Any) -> Outgoing:
    document = builders.apply(session or builders.session()).payload
    values: dict[str, Any] = {
        "event_id": document["event_id"],
        "session_id": document["exam_session_id"],
        "event_type": document["event_type"],
        "schema_version": document["metadata"]["schema_version"],
        "timestamp": document["timestamp"],
        "body": payload.body(document),
        "address": address,
        "secrets": ("whsec_new", "whsec_old"),
    }
    return Outgoing(**(values | fields))


def failure(result: Result) -> TransportError:
    assert isinstance(result, TransportError)
    return result


def test_an_alert_is_delivered_with_the_secret_as_bearer(grpc_receiver: GrpcReceiver) -> None:
    message = outgoing(f"grpc://127.0.0.1:{grpc_receiver.port}")
    (result,) = transport.send([message])
    assert isinstance(result, Answer)
    assert result.excerpt == "noted"
    assert [alert.event_id for alert in grpc_receiver.got] == [message.event_id]
    assert grpc_receiver.metadata[0]["authorization"] == "Bearer whsec_new"
    transport.send([outgoing(message.address, secrets=())])
    assert "authorization" not in grpc_receiver.metadata[1]


def test_while_a_secret_is_changed_receivers_that_know_either_are_delivered_to(grpc_receiver: GrpcReceiver) -> None:
    known: list[str] = []

    def require_known(alert: alerts_pb2.Alert, context: grpc.ServicerContext) -> str:
        if dict(context.invocation_metadata())["authorization"] not in known:
            context.abort(Code.UNAUTHENTICATED, "another secret")
        return ""

    grpc_receiver.behaviour = require_known
    address = f"grpc://127.0.0.1:{grpc_receiver.port}"
    for secret, calls in (("Bearer whsec_old", 2), ("Bearer whsec_new", 1)):
        known[:] = [secret]
        grpc_receiver.got.clear()
        batch = [outgoing(address) for _ in range(3)]
        assert all(isinstance(result, Answer) for result in transport.send(batch))
        assert len(grpc_receiver.got) == calls * len(batch)

    known[:] = ["Bearer whsec_another"]
    grpc_receiver.got.clear()
    assert failure(transport.send([outgoing(address)])[0]).excerpt == "another secret"
    assert len(grpc_receiver.got) == 2


def test_a_private_key_is_no_secret_to_show(settings: Any) -> None:
    """The receiver would be shown it as it is, and could sign with it."""
    owner = builders.organisation()
    subscription, _ = subscription_create(organisation=owner, transport="grpc", url="grpc://127.0.0.1:50051")
    private = signing.secret_create(signing.Kind.ED25519)
    for attempt in (
        lambda: subscription_create(organisation=owner, transport="grpc", url="grpc://127.0.0.1:1", secret=private),
        lambda: subscription_create(
            organisation=owner, transport="grpc", url="grpc://127.0.0.1:1", signature="ed25519"
        ),
        lambda: subscription_update(subscription=subscription, secret=private),
        lambda: secret_rotate(subscription=subscription, signature="ed25519"),
    ):
        with pytest.raises(Problem, match="private key") as problem:
            attempt()
        assert problem.value.code == "secret_invalid"


def test_a_channel_is_used_again(grpc_receiver: GrpcReceiver) -> None:
    for _ in range(3):
        transport.send([outgoing(f"grpc://127.0.0.1:{grpc_receiver.port}")])
    assert len(grpc_receiver.peers) == 3
    assert len(set(grpc_receiver.peers)) == 1


def test_a_batch_keeps_each_sessions_order_and_its_sessions_do_not_wait_for_one_another(
    grpc_receiver: GrpcReceiver,
) -> None:
    one, two = builders.session(), builders.session()
    together = threading.Barrier(2)

    def meet(alert: alerts_pb2.Alert, context: grpc.ServicerContext) -> str:
        together.wait(5)  # both sessions' alerts are under way at once, or this fails
        return ""

    grpc_receiver.behaviour = meet
    address = f"grpc://127.0.0.1:{grpc_receiver.port}"
    batch = [outgoing(address, session) for session in (one, one, two, two, one, two)]
    assert all(isinstance(result, Answer) for result in transport.send(batch))
    for session in (one, two):
        got = [alert.metadata.sequence for alert in grpc_receiver.got if alert.exam_session_id == session.session_id]
        assert got == [1, 2, 3]


def test_after_a_failed_alert_the_later_ones_of_its_session_are_held(grpc_receiver: GrpcReceiver) -> None:
    one, two = builders.session(), builders.session()

    def refuse_one(alert: alerts_pb2.Alert, context: grpc.ServicerContext) -> str:
        if alert.exam_session_id == one.session_id:
            context.abort(Code.UNAVAILABLE, "not now")
        return ""

    grpc_receiver.behaviour = refuse_one
    address = f"grpc://127.0.0.1:{grpc_receiver.port}"
    results = transport.send([outgoing(address, session) for session in (one, two, one, two)])
    assert [type(result) for result in results] == [TransportError, Answer, TransportError, Answer]
    assert not failure(results[0]).held
    assert failure(results[2]).held
    assert len(grpc_receiver.got) == 3


TRANSIENT = (
    Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.INTERNAL, Code.UNKNOWN,
    Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.CANCELLED,
)  # fmt: skip
PERMANENT = (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.OUT_OF_RANGE)


@pytest.mark.parametrize("code", [*TRANSIENT, *PERMANENT], ids=lambda code: code.name)
def test_what_the_receiver_answers_decides_whether_it_is_tried_again(
    grpc_receiver: GrpcReceiver, code: grpc.StatusCode
) -> None:
    def refuse(alert: alerts_pb2.Alert, context: grpc.ServicerContext) -> str:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "2500"),))
        context.abort(code, "because\x00 of this")
        return ""

    grpc_receiver.behaviour = refuse
    error = failure(transport.send([outgoing(f"grpc://127.0.0.1:{grpc_receiver.port}")])[0])
    assert error.permanent == (code in PERMANENT)
    assert error.retry_after_s == 2.5
    assert code.name in str(error)
    assert error.excerpt == "because\ufffd of this"
    assert "\x00" not in str(error)


def test_an_alert_that_the_receiver_has_had_already_is_delivered(grpc_receiver: GrpcReceiver) -> None:
    grpc_receiver.behaviour = lambda alert, context: context.abort(Code.ALREADY_EXISTS, "had it")
    (result,) = transport.send([outgoing(f"grpc://127.0.0.1:{grpc_receiver.port}")])
    assert isinstance(result, Answer)


def test_a_receiver_that_never_answers_costs_the_deadline(
    grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "DEADLINE_S", 0.3)
    monkeypatch.setattr(transport, "BUDGET_S", 0.2)
    over = threading.Event()
    grpc_receiver.behaviour = lambda alert, context: str(over.wait(20))
    one, two = builders.session(), builders.session()
    address = f"grpc://127.0.0.1:{grpc_receiver.port}"
    results = transport.send([outgoing(address, session) for session in (one, two, one)])
    over.set()
    assert [failure(result).held for result in results] == [False, False, True]
    assert "DEADLINE_EXCEEDED" in str(results[0])
    assert not failure(results[0]).permanent


def test_a_reply_that_is_too_large_is_not_taken_for_success(grpc_receiver: GrpcReceiver) -> None:
    grpc_receiver.behaviour = lambda alert, context: "x" * 10_000_000
    error = failure(transport.send([outgoing(f"grpc://127.0.0.1:{grpc_receiver.port}")])[0])
    assert "RESOURCE_EXHAUSTED" in str(error)
    assert not error.permanent


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"\x00\x01 no HTTP"])
def test_a_server_that_speaks_no_grpc_is_an_outage(says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "DEADLINE_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(says)

        threading.Thread(target=answer, daemon=True).start()
        error = failure(transport.send([outgoing(f"grpc://127.0.0.1:{listening.getsockname()[1]}")])[0])
        listening.shutdown(socket.SHUT_RDWR)
    assert error.is_outage


def test_a_receiver_that_comes_back_is_reached_at_the_next_try() -> None:
    port = free_port()
    message = outgoing(f"grpc://127.0.0.1:{port}")
    for _ in range(4):
        assert failure(transport.send([message])[0]).is_outage
    with receiving(port) as back:
        assert isinstance(transport.send([message])[0], Answer)
        assert len(back.got) == 1


def test_a_name_with_a_dead_address_and_a_living_one_is_reached(
    grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (["127.0.0.9", "127.0.0.1"], ["::1", "127.0.0.1"]):
        monkeypatch.setattr(addresses, "allowed_networks", lambda: addresses._parse_networks(("127.0.0.0/8", "::1")))
        monkeypatch.setattr(addresses, "_look_up", lambda *_, found=found: found)
        assert isinstance(transport.send([outgoing(f"grpc://two.example:{grpc_receiver.port}")])[0], Answer)


@pytest.mark.parametrize(
    "address",
    [
        "grpc://10.0.0.1:443", "grpcs://[::1]:443", "grpc://169.254.169.254:80", "http://93.184.216.34:80",
        "grpc://93.184.216.34", "grpc://93.184.216.34:0", "grpc://93.184.216.34:70000", "grpc://:50051", "grpc://",
        "grpc://user:secret@93.184.216.34:1", "grpc://93.184.216.34:1/path", "grpc://93.184.216.34:1?a=b",
        "grpc://93.184.216.34 :1", "grpc://93.184.216.34:1\n", "grpc://[1.2.3:1", "grpc://" + "a" * 70 + ".example:1",
        "grpc://a..example:1", "dns:///93.184.216.34:1", "unix:/run/redis.sock", "",
    ],
)  # fmt: skip
def test_addresses_that_alerts_never_go_to_are_refused(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        transport.check(address)
    assert failure(transport.send([outgoing(address)])[0]).permanent is False
    with pytest.raises(Problem) as problem:
        subscription_create(organisation=builders.organisation(), transport="grpc", url=address)
    assert problem.value.code == "address_refused"


@pytest.mark.parametrize("address", ["grpc://93.184.216.34:50051", "grpcs://[2606:2800:220:1::1]:443"])
def test_public_addresses_are_taken(address: str) -> None:
    transport.check(address)


def test_a_name_that_turns_inward_after_it_was_checked_is_refused(
    grpc_receiver: GrpcReceiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    address = f"grpc://rebinding.example:{grpc_receiver.port}"
    monkeypatch.setattr(addresses, "_look_up", lambda *_: ["93.184.216.34"])
    transport.check(address)
    monkeypatch.setattr(addresses, "_look_up", lambda *_: ["127.0.0.1"])
    error = failure(transport.send([outgoing(address)])[0])
    assert "not public" in str(error)
    assert not grpc_receiver.got


def test_the_environments_proxy_is_not_asked(grpc_receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(transport.send([outgoing(f"grpc://127.0.0.1:{grpc_receiver.port}")])[0], Answer)


# --- TLS --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def tls(authority: Authority, *names: str, require_client: bool = False) -> grpc.ServerCredentials:
    signed = authority.sign("server", *names)
    return grpc.ssl_server_credentials(
        [(signed.key.read_bytes(), signed.certificate.read_bytes())],
        authority.path.read_bytes() if require_client else None,
        require_client,
    )


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_look_up", lambda *_: ["127.0.0.1"])


@pytest.mark.usefixtures("named")
def test_the_certificate_is_checked_for_the_name_though_numbers_are_connected_to(
    authority: Authority, settings: Any
) -> None:
    settings.GRPC_PUSH_CA = str(authority.path)
    with receiving(credentials=tls(authority, "alerts.example", "127.0.0.1")) as receiver:
        for host in ("alerts.example", "127.0.0.1"):
            assert isinstance(transport.send([outgoing(f"grpcs://{host}:{receiver.port}")])[0], Answer)
        wrong = failure(transport.send([outgoing(f"grpcs://other.example:{receiver.port}")])[0])
        assert wrong.is_outage
        plain = failure(transport.send([outgoing(f"grpc://alerts.example:{receiver.port}")])[0])
        assert plain.is_outage
        assert len(receiver.got) == 2


@pytest.mark.usefixtures("named")
def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    with receiving(credentials=tls(authority, "alerts.example")) as receiver:
        assert failure(transport.send([outgoing(f"grpcs://alerts.example:{receiver.port}")])[0]).is_outage
        assert not receiver.got


@pytest.mark.usefixtures("named")
def test_a_receiver_that_wants_a_certificate_is_shown_ours(authority: Authority, settings: Any) -> None:
    ours = authority.sign("sd-proctor")
    settings.GRPC_PUSH_CA = str(authority.path)
    with receiving(credentials=tls(authority, "alerts.example", require_client=True)) as receiver:
        address = f"grpcs://alerts.example:{receiver.port}"
        assert failure(transport.send([outgoing(address)])[0]).is_outage
        settings.GRPC_PUSH_CERTIFICATE, settings.GRPC_PUSH_KEY = str(ours.certificate), str(ours.key)
        assert isinstance(transport.send([outgoing(address)])[0], Answer)


def test_a_missing_file_of_the_settings_fails_the_delivery_and_not_the_worker(settings: Any) -> None:
    settings.GRPC_PUSH_CA = "/nowhere/ca.pem"
    error = failure(transport.send([outgoing("grpcs://127.0.0.1:1")])[0])
    assert "/nowhere/ca.pem" in str(error)


# --- Through the outbox -----------------------------------------------------------------------------------------------
def test_alerts_of_a_subscription_arrive_in_order_and_are_marked_delivered(grpc_receiver: GrpcReceiver) -> None:
    owner = builders.organisation()
    address = f"grpc://127.0.0.1:{grpc_receiver.port}"
    subscription, secret = subscription_create(organisation=owner, transport="grpc", url=address)
    session = builders.session(owner)
    made = [builders.apply(session) for _ in range(4)]
    delivery.drain([subscription.pk])
    assert [alert.event_id for alert in grpc_receiver.got] == [str(alert.event_id) for alert in made]
    assert {each["authorization"] for each in grpc_receiver.metadata} == {f"Bearer {secret}"}
    assert set(Delivery.objects.values_list("state", flat=True)) == {Delivery.State.DELIVERED}
