"""The webhook transport against real HTTP servers, good and bad."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.exceptions import ImproperlyConfigured
from standardwebhooks import Webhook, WebhookVerificationError

from alerts import addresses, guarded, signing
from alerts.outgoing import Answer, Outgoing, TransportError
from alerts.transports import webhook
from tests.alerts.receiver import Receiver

SECRET = signing.secret_create()
EVENT_ID = "3f1c7a52-0d2e-4c55-9f5b-1f1c54b9a001"


def message(address: str, *secrets: str, session_id: str = "exam-1", event_id: str = EVENT_ID) -> Outgoing:
    body = json.dumps({"event_id": event_id, "name": "Zoë"}).encode()
    return Outgoing(
        event_id, session_id, "NO_FACE", "1.0", "2026-09-21T14:13:20.250Z", body, address, secrets or (SECRET,)
    )


def send(message: Outgoing) -> Answer:
    """Send one alert; raise when it was not taken."""
    (result,) = webhook.send([message])
    if isinstance(result, TransportError):
        raise result
    return result


def test_the_stock_library_verifies_what_is_sent(receiver: Receiver) -> None:
    answer = send(message(receiver.url()))

    assert (answer.status_code, answer.excerpt) == (200, "thanks")
    (request,) = receiver.requests
    assert Webhook(SECRET).verify(request.body, request.headers)["event_id"] == EVENT_ID
    assert request.headers["webhook-id"] == EVENT_ID
    assert request.headers["content-type"] == "application/json"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5


@pytest.mark.parametrize("spoil", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_the_stock_library_refuses_what_was_changed_on_the_way(receiver: Receiver, spoil: str) -> None:
    send(message(receiver.url()))
    (request,) = receiver.requests
    body, headers, secret = request.body, dict(request.headers), SECRET
    if spoil == "body":
        body = body.replace(b"3f", b"4f")
    elif spoil == "secret":
        secret = signing.secret_create()
    else:
        headers[spoil] = str(int(headers[spoil]) + 1) if spoil == "webhook-timestamp" else "other"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(receiver: Receiver, status: int) -> None:
    assert send(message(receiver.url(f"/status/{status}"))).status_code == status


@pytest.mark.parametrize("status", [300, 304, 400, 404, 429, 500, 502, 503])
def test_everything_else_is_failure_that_may_pass(receiver: Receiver, status: int) -> None:
    with pytest.raises(TransportError) as caught:
        send(message(receiver.url(f"/status/{status}")))
    assert caught.value.status_code == status
    assert not caught.value.permanent


def test_410_is_permanent_and_ends_the_subscription(receiver: Receiver) -> None:
    with pytest.raises(TransportError) as caught:
        send(message(receiver.url("/status/410")))
    assert caught.value.permanent
    assert caught.value.gone
    assert caught.value.excerpt == "why: because"


def test_after_a_failed_alert_the_later_ones_of_its_session_are_held(receiver: Receiver) -> None:
    receiver.statuses = [400, 200]
    url = receiver.url()
    sent = [message(url, event_id=name, session_id=name[0]) for name in ("a1", "b1", "a2", "b2")]
    first, second, third, fourth = webhook.send(sent)
    assert isinstance(first, TransportError)
    assert not first.held
    assert isinstance(third, TransportError)
    assert third.held
    assert isinstance(second, Answer)
    assert isinstance(fourth, Answer)
    assert [request.headers["webhook-id"] for request in receiver.requests] == ["a1", "b1", "b2"]


def test_a_subscriber_that_seems_to_be_away_is_left_alone(receiver: Receiver) -> None:
    receiver.statuses = [500]
    first, *others = webhook.send([message(receiver.url(), session_id=name) for name in "abc"])
    assert isinstance(first, TransportError)
    assert first.is_outage
    assert [isinstance(other, TransportError) and other.held for other in others] == [True, True]
    assert len(receiver.requests) == 1


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    with pytest.raises(TransportError) as caught:
        send(message(receiver.url("/redirect")))
    assert caught.value.status_code == 302
    assert [request.path for request in receiver.requests] == ["/redirect"]


def test_only_a_kilobyte_of_a_huge_answer_is_read(receiver: Receiver) -> None:
    started = time.monotonic()
    answer = send(message(receiver.url("/big")))
    assert answer.excerpt == "x" * 1024
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/nothing", "without response"),
        ("/garbage", "BadStatusLine|not this is not HTTP"),
        ("/cut-headers", "BadStatusLine"),
    ],
)
def test_what_is_no_answer_is_failure(receiver: Receiver, path: str, named: str) -> None:
    with pytest.raises(TransportError, match=named):
        send(message(receiver.url(path)))


def test_an_answer_cut_off_after_its_status_counts(receiver: Receiver) -> None:
    assert send(message(receiver.url("/cut"))).status_code == 200


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(guarded, "READ_TIMEOUT_S", 0.6)
    monkeypatch.setattr(guarded, "TOTAL_TIMEOUT_S", 1.2)


@pytest.mark.usefixtures("short_times")
def test_a_receiver_that_never_answers_is_left_after_the_read_time_out(receiver: Receiver) -> None:
    started = time.monotonic()
    with pytest.raises(TransportError, match="timed out"):
        send(message(receiver.url("/hang")))
    assert time.monotonic() - started < 1.5


@pytest.mark.usefixtures("short_times")
def test_dripping_headers_are_left_after_the_total_time_out(receiver: Receiver) -> None:
    started = time.monotonic()
    with pytest.raises(TransportError, match="No complete answer in time"):
        send(message(receiver.url("/drip-headers")))
    assert 1.0 < time.monotonic() - started < 2.5


@pytest.mark.usefixtures("short_times")
def test_a_dripping_body_is_left_after_the_total_time_out_and_its_status_counts(receiver: Receiver) -> None:
    started = time.monotonic()
    assert send(message(receiver.url("/drip-body"))).status_code == 200
    assert time.monotonic() - started < 2.5


def test_a_connection_is_kept_for_the_next_alert_and_looked_up_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = resolving(monkeypatch, ["127.0.0.1"])
    url = f"http://kept.example:{receiver.server_address[1]}/ok"
    for number in range(5):
        assert send(message(url, event_id=f"event-{number}")).status_code == 200
    assert calls == [1]
    assert len({request.port for request in receiver.requests}) == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew_at_once(receiver: Receiver) -> None:
    """The receiver takes the second request from the kept connection and hangs up without a word."""
    receiver.behaviours["/fickle"] = lambda handler: (
        handler.nothing() if len(receiver.requests) == 2 else handler.answer(200)
    )
    url = receiver.url("/fickle")
    assert send(message(url)).status_code == 200
    assert send(message(url)).status_code == 200
    assert len(receiver.requests) == 3
    assert len({request.port for request in receiver.requests}) == 2


def test_a_long_answer_gives_its_connection_up(receiver: Receiver) -> None:
    assert send(message(receiver.url("/big"))).status_code == 200
    assert send(message(receiver.url())).status_code == 200
    assert len({request.port for request in receiver.requests}) == 2


def test_cookies_of_one_answer_are_not_sent_with_the_next_alert(receiver: Receiver) -> None:
    receiver.behaviours["/sweet"] = lambda handler: handler.answer(200, **{"set-cookie": "crumb=1"})
    for _ in range(2):
        send(message(receiver.url("/sweet")))
    assert ["cookie" in request.headers for request in receiver.requests] == [False, False]


@pytest.mark.usefixtures("short_times")
def test_the_deadline_holds_on_a_kept_connection_too(receiver: Receiver) -> None:
    assert send(message(receiver.url())).status_code == 200
    started = time.monotonic()
    with pytest.raises(TransportError, match="No complete answer in time"):
        send(message(receiver.url("/drip-headers")))
    assert time.monotonic() - started < 2.5
    assert len({request.port for request in receiver.requests}) == 1


def test_what_the_time_of_a_call_does_not_suffice_for_is_held(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "CALL_BUDGET_S", 0.0)
    receiver.behaviours["/slow"] = lambda handler: (time.sleep(0.05), handler.answer(200))
    results = webhook.send([message(receiver.url("/slow"), session_id=name) for name in "ab"])
    assert [isinstance(result, TransportError) and result.held for result in results] == [True, True]


def test_a_body_that_is_too_large_is_never_sent(receiver: Receiver) -> None:
    large = dataclasses.replace(message(receiver.url()), body=b"x" * (webhook.BODY_BYTES + 1))
    with pytest.raises(TransportError, match="larger than 20000 bytes") as caught:
        send(large)
    assert caught.value.permanent
    assert receiver.requests == []


def test_both_secrets_verify_while_one_takes_the_others_place(receiver: Receiver) -> None:
    old, new = signing.secret_create(), signing.secret_create()
    send(message(receiver.url(), new, old))
    (request,) = receiver.requests
    for secret in (new, old):
        Webhook(secret).verify(request.body, request.headers)


def test_a_message_that_is_301_seconds_old_is_refused_by_the_stock_library(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook.time, "time", lambda: datetime.datetime.now().timestamp() - 301)
    send(message(receiver.url()))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(receiver.requests[0].body, receiver.requests[0].headers)


def test_no_sockets_or_threads_are_left_behind(receiver: Receiver) -> None:
    send(message(receiver.url()))
    before = threading.active_count()
    for _ in range(20):
        send(message(receiver.url()))
    time.sleep(0.2)
    assert threading.active_count() <= before + 1  # the receiver's own


def test_a_port_nobody_listens_on_is_failure(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(TransportError, match="refused"):
        send(message(f"http://127.0.0.1:{port}/"))


def test_proxies_and_credentials_of_the_environment_are_ignored(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    send(message(receiver.url()))
    assert "authorization" not in receiver.requests[0].headers


# --- Addresses --------------------------------------------------------------------------------------------------------
PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "168.63.129.16", "[::1]", "[::]", "[fe80::1]", "[fd00:ec2::254]", "[ff02::1]",
    "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[fec0::1]", "[::127.0.0.1]", "[100::1]",
    "[64:ff9b:1::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[4000::1]", "192.88.99.1", "192.0.2.1", "198.18.0.1",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost",
    "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "LOCALHOST",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_addresses_that_are_not_public_are_refused_at_the_socket(receiver: Receiver, settings: Any, host: str) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    port = receiver.server_address[1]
    with pytest.raises(TransportError, match="not public"):
        send(message(f"http://{host}:{port}/ok"))
    assert receiver.requests == []
    with pytest.raises(addresses.AddressRefusedError, match="not public"):
        webhook.check(f"http://{host}/")


@pytest.mark.parametrize("host", ["93.184.216.34", "[2606:4700::1111]", "1.1.1.1", "[2002:5db8:d822::]"])
def test_public_addresses_pass(settings: Any, host: str) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    webhook.check(f"https://{host}/hook")


@pytest.mark.parametrize(
    "url",
    ["", "hook", "ftp://example.org/", "http://", "https:///x", "http://u:p@93.184.216.34/", "http://1.1.1.1:99999/",
     "http://1.1.1.1:0/", "http://[::1/", "file:///etc/passwd", "javascript:alert(1)", "http://a b/",
     "http://example.org/\u202e"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(addresses.AddressRefusedError):
        webhook.check(url)


@pytest.mark.parametrize(
    "host",
    ["a..example", ".example.org", "-a.example", "xn--", "ex%61mple.org", "1.2.3.4.5", "a" * 64 + ".example",
     ".".join(["a" * 60] * 5)],
)  # fmt: skip
def test_a_host_that_can_have_no_such_name_is_refused_and_not_waited_for(host: str) -> None:
    with pytest.raises(addresses.AddressRefusedError, match="no host's name"):
        webhook.check(f"https://{host}/hook")


@pytest.mark.parametrize(
    "host", ["example.invalid.", "a_container.invalid", "b\u00fccher.invalid", "xn--bcher-kva.invalid"]
)
def test_a_name_that_may_come_to_be_passes_the_check(host: str) -> None:
    webhook.check(f"https://{host}/hook")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.0.0.1", "0177.0.0.1", "127.1"])
def test_an_address_in_one_of_the_old_ways_is_checked_as_what_it_means(settings: Any, host: str) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    with pytest.raises(addresses.AddressRefusedError, match="not public"):
        webhook.check(f"http://{host}/hook")


def test_a_network_that_is_none_is_named(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.0.0.300/8"]
    with pytest.raises(ImproperlyConfigured, match=r"WEBHOOK_ALLOWED_NETWORKS.*10\.0\.0\.300"):
        addresses.allowed_networks()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[int]:
    """Have the resolver give the answers one call after the other, the last one for ever; count the calls."""
    calls = [0]

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        found = answers[min(calls[0], len(answers) - 1)]
        calls[0] += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    return calls


def test_a_name_with_one_public_and_one_private_address_is_refused(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    resolving(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(TransportError, match="not public"):
        send(message(f"http://both.example:{receiver.server_address[1]}/ok"))
    assert receiver.requests == []


def test_of_two_addresses_the_one_that_answers_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["127.0.0.2", "127.0.0.1"])  # nobody listens on the first
    assert send(message(f"http://two.example:{receiver.server_address[1]}/ok")).status_code == 200


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer passes the check at subscribing; the second, at sending, is private and refused."""
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    url = f"http://rebind.example:{receiver.server_address[1]}/ok"
    resolving(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    webhook.check(url)
    with pytest.raises(TransportError, match="not public"):
        send(message(url))
    assert receiver.requests == []


def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look-up per send: were there a second one, it would go to a port-less nowhere."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    calls = resolving(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    assert send(message(f"http://hook.example:{receiver.server_address[1]}/ok")).status_code == 200
    assert receiver.requests[0].headers["host"].startswith("hook.example:")
    assert calls == [1]


def test_a_name_that_does_not_resolve_passes_the_check_and_fails_to_send() -> None:
    webhook.check("https://does-not-exist.invalid/hook")
    with pytest.raises(TransportError, match="cannot be resolved"):
        send(message("https://does-not-exist.invalid/hook"))


@pytest.mark.usefixtures("short_times")
def test_a_resolver_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: released.wait(20) and [])
    started = time.monotonic()
    with pytest.raises(TransportError, match="was not resolved within"):
        send(message("http://slow.example/"))
    assert time.monotonic() - started < 2
    released.set()


# --- TLS --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def tls_receiver(receiver: Receiver, tmp_path: Path) -> tuple[Receiver, Path, list[str | None]]:
    """The receiver behind TLS with a certificate for ``hook.example``; notes the server names it is asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hook.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    chain = tmp_path / "hook.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = tmp_path / "hook.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, server_name, _context: asked.append(server_name)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    return receiver, chain, asked


def test_tls_asks_for_and_checks_the_hosts_name(
    tls_receiver: tuple[Receiver, Path, list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, chain, asked = tls_receiver
    resolving(monkeypatch, ["127.0.0.1"])
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(chain))
    port = receiver.server_address[1]

    assert send(message(f"https://hook.example:{port}/ok")).status_code == 200
    assert asked == ["hook.example"]
    with pytest.raises(TransportError, match=r"hostname|match"):
        send(message(f"https://other.example:{port}/ok"))
    assert len(receiver.requests) == 1


def test_a_certificate_nobody_vouches_for_is_refused(
    tls_receiver: tuple[Receiver, Path, list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, _, _ = tls_receiver
    resolving(monkeypatch, ["127.0.0.1"])
    with pytest.raises(TransportError, match=r"self-signed|certificate verify failed"):
        send(message(f"https://hook.example:{receiver.server_address[1]}/ok"))
    assert receiver.requests == []


@pytest.mark.usefixtures("short_times")
def test_a_handshake_that_drips_is_left_after_the_total_time_out(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopping = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            for byte in b"\x16\x03\x03\x40\x00\x02" + b"\x00" * 1000:  # a record that goes on and on
                if stopping.wait(0.1):
                    return
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(TransportError):
            send(message(f"https://127.0.0.1:{listener.getsockname()[1]}/"))
        assert time.monotonic() - started < 2.5
        stopping.set()
        thread.join(2)


# --- Secrets ----------------------------------------------------------------------------------------------------------
def test_a_made_secret_has_the_standards_form() -> None:
    assert SECRET.startswith("whsec_")
    assert len(base64.b64decode(SECRET.removeprefix("whsec_"))) == 32
    assert signing.secret_create() != SECRET


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "secret", base64.b64encode(b"x" * 32).decode(), "whsec_" + base64.b64encode(b"x" * 23).decode(),
     "whsec_" + base64.b64encode(b"x" * 65).decode(), "whsec_not base64!", "whsec_" + "é" * 32,
     "WHSEC_" + base64.b64encode(b"x" * 32).decode()],
)  # fmt: skip
def test_secrets_of_another_shape_are_refused(secret: str) -> None:
    with pytest.raises(signing.SecretInvalidError):
        signing.secret_check(secret)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_24_to_64_bytes_are_taken(size: int) -> None:
    signing.secret_check("whsec_" + base64.b64encode(b"x" * size).decode())
