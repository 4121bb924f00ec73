"""Alerts by Kafka: what arrives, in which order, and what counts as delivered when the cluster fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from django.core.exceptions import ImproperlyConfigured

from alerts import kafka_config, kafka_producer
from alerts.addresses import AddressRefusedError, TransportUnavailableError
from alerts.outgoing import Answer, Outgoing, Result, TransportError
from alerts.transports import kafka
from proctor_site.embedded.ports import free_port
from tests.alerts import kafka_login, tls_front
from tests.alerts.kafka_peers import (
    INIT_PRODUCER_ID,
    PRODUCE,
    Broker,
    MockCluster,
    alert,
    ids,
    mock_cluster,
    read,
    running,
)

ROOT = Path(__file__).resolve().parents[2]
TOPIC = "sdproctor.alerts"


@pytest.fixture(autouse=True)
def fresh_producer() -> Iterator[None]:
    """Let no test inherit another one's producer."""
    yield
    kafka_producer.close()


@pytest.fixture
def cluster(settings: Any) -> Iterator[MockCluster]:
    """A mock cluster that the settings name, with the deployment's topic."""
    with mock_cluster() as made:
        made.topic(TOPIC)
        settings.KAFKA_BOOTSTRAP_SERVERS = made.servers
        yield made


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give alerts up after a second and a half."""
    short = {"delivery.timeout.ms": 1500, "topic.metadata.propagation.max.ms": 500}
    monkeypatch.setattr(kafka_config, "FIXED", {**kafka_config.FIXED, **short})


def batch(sessions: int, alerts: int, *, first: int = 0) -> list[Outgoing]:
    """Alerts of several sessions, mixed, those of each session in order."""
    return [alert(f"s{session}-{number:04}") for number in range(first, first + alerts) for session in range(sessions)]


def delivered(messages: list[Outgoing], results: list[Result]) -> list[Outgoing]:
    return [message for message, result in zip(messages, results, strict=True) if isinstance(result, Answer)]


def kinds(results: list[Result]) -> list[str]:
    """Return in a word what came of each alert."""
    return [
        "delivered" if isinstance(result, Answer)
        else "held" if result.held
        else "permanent" if result.permanent
        else "transient"
        for result in results
    ]  # fmt: skip


def send_until_delivered(messages: list[Outgoing], *, timeout_s: float = 60) -> None:
    """Send again what was not delivered, as the delivery does."""
    deadline = time.monotonic() + timeout_s
    while messages:
        assert time.monotonic() < deadline, f"{len(messages)} not delivered"
        results = kafka.send(messages)
        messages = [m for m, result in zip(messages, results, strict=True) if isinstance(result, TransportError)]


class TestWhatArrives:
    def test_an_alert_is_a_cloudevent_in_binary_mode_keyed_by_its_session(self, broker: Broker, settings: Any) -> None:
        settings.PUBLIC_URL = "https://proctor.example.org"
        body = json.dumps({"event_id": "e-1", "name": "Zoë"}).encode()
        (result,) = kafka.send([alert("e-1", session_id="algebra-1-jané", body=body)])
        assert isinstance(result, Answer)
        (record,) = read(broker.servers, TOPIC, 1)
        assert record.value() == body
        assert (record.key() or b"").decode() == "algebra-1-jané"
        assert {name: value.decode() for name, value in record.headers() or []} == {
            "content-type": "application/json",
            "ce_specversion": "1.0",
            "ce_id": "e-1",
            "ce_source": "https://proctor.example.org",
            "ce_type": "sdproctor.NO_FACE",
            "ce_time": "2026-09-21T14:13:20.250Z",
            "ce_subject": "algebra-1-jané",
            "event_id": "e-1",
            "event_type": "NO_FACE",
            "schema_version": "1.0",
        }
        assert result.excerpt == f"partition {record.partition()}, offset {record.offset()}"

    def test_an_address_is_the_topic_and_an_empty_one_that_of_the_deployment(
        self, broker: Broker, settings: Any
    ) -> None:
        settings.KAFKA_ALLOWED_TOPICS = ["exams.*"]
        results = kafka.send([alert("a-1", topic="exams.algebra"), alert("b-1")])
        assert kinds(results) == ["delivered", "delivered"]
        assert ids(read(broker.servers, "exams.algebra", 1)) == {"a": ["a-1"]}
        assert ids(read(broker.servers, TOPIC, 1)) == {"b": ["b-1"]}

    def test_the_alerts_of_a_session_stay_in_order_and_in_one_partition(self, broker: Broker) -> None:
        messages = batch(sessions=20, alerts=25)
        assert set(kinds(kafka.send(messages))) == {"delivered"}
        records = read(broker.servers, TOPIC, len(messages))
        assert len(records) == len(messages)
        assert ids(records) == {f"s{s}": [f"s{s}-{n:04}" for n in range(25)] for s in range(20)}
        places = {(record.key(), record.partition()) for record in records}
        assert len(places) == 20
        assert len({partition for _, partition in places}) > 1

    def test_several_threads_share_one_producer_and_each_gets_its_own_reports(self, broker: Broker) -> None:
        batches = [[alert(f"t{thread}-{number}") for number in range(50)] for thread in range(6)]
        outcomes: list[list[Result]] = [[] for _ in batches]

        def work(number: int) -> None:
            outcomes[number] = kafka.send(batches[number])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {kind for results in outcomes for kind in kinds(results)} == {"delivered"}
        places = [result.excerpt for results in outcomes for result in results if isinstance(result, Answer)]
        assert len(set(places)) == 300
        assert sum(thread.name == "kafka reports" for thread in threading.enumerate()) == 1
        assert all(len(found) == 50 for found in ids(read(broker.servers, TOPIC, 300)).values())


class TestAddresses:
    @pytest.mark.parametrize("topic", ["", TOPIC, "exams.algebra", "audit"])
    def test_the_deployments_topic_and_allowed_ones_pass(self, settings: Any, topic: str) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
        settings.KAFKA_ALLOWED_TOPICS = ["exams.*", "audit"]
        kafka.check(topic)

    @pytest.mark.parametrize("topic", ["__consumer_offsets", "exams", "auditor"])
    def test_others_are_refused_and_the_setting_that_allows_them_is_named(self, settings: Any, topic: str) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
        settings.KAFKA_ALLOWED_TOPICS = ["exams.*", "audit"]
        with pytest.raises(AddressRefusedError, match="KAFKA_ALLOWED_TOPICS"):
            kafka.check(topic)

    @pytest.mark.parametrize("topic", [".", "..", "a b", "a/b", "ä", "a\n", "x" * 250, "https://example.org"])
    def test_what_kafka_does_not_take_is_refused_whatever_is_allowed(self, settings: Any, topic: str) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
        settings.KAFKA_ALLOWED_TOPICS = ["*"]
        with pytest.raises(AddressRefusedError, match="1 to 249"):
            kafka.check(topic)

    def test_without_a_cluster_every_topic_is_refused_and_nothing_is_sent(self, settings: Any) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = ""
        with pytest.raises(TransportUnavailableError, match="KAFKA_BOOTSTRAP_SERVERS"):
            kafka.check("")
        assert kinds(kafka.send([alert("a-1")])) == ["transient"]

    def test_a_topic_that_is_no_longer_allowed_gets_nothing(self, cluster: MockCluster) -> None:
        results = kafka.send([alert("a-1", topic="withdrawn"), alert("b-1")])
        assert kinds(results) == ["transient", "delivered"]


class TestErrors:
    def test_what_is_wrong_with_the_alert_itself_is_permanent(self, cluster: MockCluster) -> None:
        cluster.fail(PRODUCE, KafkaError.INVALID_RECORD, KafkaError.INVALID_RECORD)
        assert kinds(kafka.send([alert("a-1")])) == ["permanent"]

    @pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.POLICY_VIOLATION])
    def test_what_an_operator_can_mend_is_tried_again(self, cluster: MockCluster, code: int) -> None:
        cluster.fail(PRODUCE, code)
        (result,) = kafka.send([alert("a-1")])
        assert kinds([result]) == ["transient"]
        assert KafkaError(code).name() in str(result)
        send_until_delivered([alert("a-1")])

    @pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS])
    def test_what_passes_by_itself_costs_no_attempt(self, cluster: MockCluster, code: int) -> None:
        cluster.fail(PRODUCE, code, code)
        assert kinds(kafka.send([alert("a-1"), alert("a-2")])) == ["delivered", "delivered"]

    @pytest.mark.usefixtures("short_times")
    @pytest.mark.parametrize("code", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED])
    def test_a_topic_that_is_missing_or_forbidden_is_waited_for(self, cluster: MockCluster, code: int) -> None:
        cluster.topic_fails(TOPIC, code)
        assert kinds(kafka.send([alert("a-1"), alert("a-2")])) == ["transient", "held"]
        cluster.topic_fails(TOPIC, 0)
        send_until_delivered([alert("a-1"), alert("a-2")])

    def test_an_alert_larger_than_any_record_is_permanent_and_holds_up_only_its_session(self, broker: Broker) -> None:
        large = alert("a-2", body=b"x" * 1_100_000)
        results = kafka.send([alert("a-1"), large, alert("a-3"), alert("b-1"), alert("b-2")])
        assert kinds(results) == ["delivered", "permanent", "held", "delivered", "delivered"]
        assert ids(read(broker.servers, TOPIC, 3)) == {"a": ["a-1"], "b": ["b-1", "b-2"]}

    @pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD])
    @pytest.mark.parametrize("count", [1, 5])
    def test_alerts_that_share_the_fate_of_a_batch_go_alone(self, cluster: MockCluster, code: int, count: int) -> None:
        cluster.fail(PRODUCE, code)
        assert kinds(kafka.send([alert(f"s{n}-1") for n in range(count)])) == ["delivered"] * count

    def test_an_alert_too_large_on_its_own_is_permanent(self, cluster: MockCluster) -> None:
        kafka.send([alert("warm-1")])  # so that the five go in one batch
        cluster.fail(PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE, 0, 0, KafkaError.MSG_SIZE_TOO_LARGE)
        results = kafka.send([alert(f"s{n}-1") for n in range(5)])
        assert kinds(results) == ["delivered", "delivered", "permanent", "delivered", "delivered"]

    def test_after_a_failed_alert_the_later_ones_of_its_session_are_held(self, cluster: MockCluster) -> None:
        cluster.fail(PRODUCE, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        messages = [alert("a-1"), alert("a-2"), alert("a-3")]
        assert kinds(kafka.send(messages)) == ["delivered", "transient", "held"]
        assert ids(read(cluster.servers, TOPIC, 2, timeout_s=1)) == {"a": ["a-1"]}
        assert kinds(kafka.send(messages[1:])) == ["delivered", "delivered"]
        assert ids(read(cluster.servers, TOPIC, 3)) == {"a": ["a-1", "a-2", "a-3"]}

    def test_after_a_fatal_error_a_new_producer_goes_on(self, cluster: MockCluster) -> None:
        cluster.fail(INIT_PRODUCER_ID, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
        (first,) = kafka.send([alert("a-1")])
        assert kinds([first]) == ["transient"]
        assert "CLUSTER_AUTHORIZATION_FAILED" in str(first)
        assert kinds(kafka.send([alert("a-1")])) == ["delivered"]

    def test_a_property_that_the_client_does_not_know_is_said_without_any_value(self, settings: Any) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
        settings.KAFKA_CONFIG = {"sasl.pasword": "hidden-password"}
        (result,) = kafka.send([alert("a-1")])
        assert "sasl.pasword" in str(result)
        assert "hidden-password" not in str(result)

    @pytest.mark.usefixtures("short_times")
    def test_the_password_is_in_no_log(
        self, broker: Broker, settings: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        settings.KAFKA_CONFIG = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": "proctor",
            "sasl.password": "hidden-password",
            "log_level": 7,
        }
        (result,) = kafka.send([alert("a-1")])
        assert kinds([result]) == ["transient"]
        shown = capfd.readouterr()
        assert "hidden-password" not in caplog.text + shown.out + shown.err + str(result)

    @pytest.mark.usefixtures("short_times")
    def test_memory_is_bounded_and_what_finds_no_room_is_held(
        self, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kafka_config, "FIXED", {**kafka_config.FIXED, "queue.buffering.max.messages": 10})
        broker.kill()
        results = kinds(kafka.send([alert(f"s{n}-1") for n in range(30)]))
        assert results == ["transient"] * 10 + ["held"] * 20


class TestOutages:
    @pytest.mark.usefixtures("short_times")
    def test_without_a_broker_nothing_is_delivered_and_the_producer_is_replaced(self, broker: Broker) -> None:
        broker.kill()
        results = kafka.send([alert("a-1"), alert("a-2"), alert("b-1")])
        assert kinds(results) == ["transient", "held", "transient"]
        assert "may have arrived" in str(results[0])
        broker.start()
        send_until_delivered([alert("a-1"), alert("a-2"), alert("b-1")])
        assert ids(read(broker.servers, TOPIC, 3)) == {"a": ["a-1", "a-2"], "b": ["b-1"]}

    @pytest.mark.usefixtures("short_times")
    def test_a_broker_killed_in_mid_flight_has_reported_or_gets_every_alert_again(self, broker: Broker) -> None:
        messages: list[Outgoing] = []
        results: list[Result] = []

        def work() -> None:
            while set(kinds(results)) <= {"delivered"}:
                messages.extend(batch(sessions=10, alerts=20, first=len(messages) // 10))
                results.extend(kafka.send(messages[len(results) :]))

        sender = threading.Thread(target=work)
        sender.start()
        read(broker.servers, TOPIC, 1000)
        broker.kill()
        sender.join()
        reported = {message.event_id for message in delivered(messages, results)}
        assert reported
        assert set(kinds(kafka.send([alert("late-1")]))) == {"transient"}

        broker.start()  # with nothing of what it had
        left = [message for message in messages if message.event_id not in reported]
        assert left
        send_until_delivered(left)
        found = ids(read(broker.servers, TOPIC, len(left), timeout_s=5))
        assert found == {f"s{n}": [m.event_id for m in left if m.session_id == f"s{n}"] for n in range(10)}

    @pytest.mark.usefixtures("short_times")
    def test_a_broker_that_is_stopped_and_continued_loses_none_and_keeps_the_order(self, broker: Broker) -> None:
        messages: list[Outgoing] = []
        failures: list[str] = []
        resumed = threading.Event()

        def work() -> None:
            while not resumed.is_set():
                some = batch(sessions=10, alerts=20, first=len(messages) // 10)
                messages.extend(some)
                while left := [
                    m for m, result in zip(some, kafka.send(some), strict=True) if kinds([result])[0] != "delivered"
                ]:
                    failures.append(left[0].event_id)
                    some = left

        sender = threading.Thread(target=work)
        sender.start()
        read(broker.servers, TOPIC, 1000)
        broker.pause()
        while len(failures) < 2:
            time.sleep(0.1)
        broker.resume()
        resumed.set()
        sender.join()
        found = ids(read(broker.servers, TOPIC, 2 * len(messages), timeout_s=4))
        assert found == {f"s{n}": [m.event_id for m in messages if m.session_id == f"s{n}"] for n in range(10)}


class TestTls:
    @pytest.fixture
    def chain(self, tmp_path: Path, settings: Any) -> Iterator[Path]:
        """Run a broker that is reached by TLS alone, and return the certificate to trust."""
        chain, private = tls_front.certificate(tmp_path)
        port = free_port()
        with running(advertised_port=port) as broker, tls_front.listening(port, chain, private, behind=broker.port):
            settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{port}"
            yield chain
            kafka_producer.close()

    def test_with_the_certificate_of_the_cluster_alerts_are_delivered(self, chain: Path, settings: Any) -> None:
        settings.KAFKA_CONFIG = kafka_config.parse(
            json.dumps({"security.protocol": "SSL", "ssl.ca.location": str(chain)})
        )
        assert kinds(kafka.send([alert("a-1"), alert("a-2")])) == ["delivered", "delivered"]
        assert kafka_producer.brokers(5) == 1

    @pytest.mark.usefixtures("chain", "short_times")
    @pytest.mark.parametrize("config", [{"security.protocol": "SSL"}, {}])
    def test_a_cluster_that_nobody_vouches_for_gets_nothing(self, settings: Any, config: dict[str, str]) -> None:
        settings.KAFKA_CONFIG = config
        assert kinds(kafka.send([alert("a-1")])) == ["transient"]


USER, PASSWORD = "proctor", "hidden-password"


def login(password: str = PASSWORD, protocol: str = "SASL_PLAINTEXT", **more: str) -> dict[str, Any]:
    """Return what an operator writes into KAFKA_CONFIG."""
    written = {
        "security.protocol": protocol,
        "sasl.mechanisms": "PLAIN",
        "sasl.username": USER,
        "sasl.password": password,
    }
    return kafka_config.parse(json.dumps(written | {name.replace("_", "."): value for name, value in more.items()}))


class TestLogin:
    @pytest.fixture
    def front(self, settings: Any) -> Iterator[kafka_login.Front]:
        """Run a broker that is reached by who logs in alone."""
        port = free_port()
        with (
            running(advertised_port=port) as broker,
            kafka_login.listening(port, behind=broker.port, user=USER, password=PASSWORD) as front,
        ):
            settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{port}"
            yield front
            kafka_producer.close()

    def test_who_logs_in_delivers(self, front: kafka_login.Front, settings: Any) -> None:
        settings.KAFKA_CONFIG = login()
        assert kinds(kafka.send([alert("a-1"), alert("a-2")])) == ["delivered", "delivered"]
        assert set(front.logins) == {USER}
        found = read(settings.KAFKA_BOOTSTRAP_SERVERS, TOPIC, 2, config=settings.KAFKA_CONFIG)
        assert ids(found) == {"a": ["a-1", "a-2"]}

    @pytest.mark.usefixtures("short_times")
    def test_a_wrong_password_is_refused_and_told_without_it(self, front: kafka_login.Front, settings: Any) -> None:
        settings.KAFKA_CONFIG = login("another-password")
        (result,) = kafka.send([alert("a-1")])
        assert kinds([result]) == ["transient"]
        assert "_AUTHENTICATION" in str(result)
        assert "another-password" not in str(result)
        assert (front.logins, front.refused > 0) == ([], True)

        settings.KAFKA_CONFIG = login()  # the operator mends it
        kafka_producer.close()
        assert kinds(kafka.send([alert("a-1")])) == ["delivered"]

    def test_who_logs_in_within_tls_delivers(self, front: kafka_login.Front, tmp_path: Path, settings: Any) -> None:
        chain, private = tls_front.certificate(tmp_path)
        outside = free_port()
        with (
            running(advertised_port=outside) as broker,
            tls_front.listening(outside, chain, private, behind=front.server_address[1]),
        ):
            front.behind = broker.port
            settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{outside}"
            settings.KAFKA_CONFIG = login(protocol="SASL_SSL", ssl_ca_location=str(chain))
            assert kinds(kafka.send([alert("a-1")])) == ["delivered"]
            assert set(front.logins) == {USER}
            kafka_producer.close()

    @pytest.mark.usefixtures("short_times")
    @pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
    def test_user_and_mechanism_reach_the_cluster_whose_refusal_is_told(self, settings: Any, mechanism: str) -> None:
        with running(asks_for_login=True) as broker:
            settings.KAFKA_BOOTSTRAP_SERVERS = broker.servers
            settings.KAFKA_CONFIG = {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanisms": mechanism,
                "sasl.username": "nobody",
                "sasl.password": "hidden-password",
            }
            (result,) = kafka.send([alert("a-1")])
        assert kinds([result]) == ["transient"]
        assert "_AUTHENTICATION" in str(result)
        assert "hidden-password" not in str(result)

    @pytest.mark.usefixtures("short_times")
    def test_without_a_login_a_cluster_that_asks_for_one_gets_nothing(self, settings: Any) -> None:
        with running(asks_for_login=True) as broker:
            settings.KAFKA_BOOTSTRAP_SERVERS = broker.servers
            assert kinds(kafka.send([alert("a-1"), alert("a-2")])) == ["transient", "held"]


class TestProcess:
    def test_a_forked_process_makes_a_producer_of_its_own(self, broker: Broker) -> None:
        code = """
import os
from alerts.transports import kafka
from alerts.outgoing import Answer
from tests.alerts.kafka_peers import alert
assert isinstance(kafka.send([alert("a-1")])[0], Answer)
child = os.fork()
if child == 0:
    os._exit(0 if isinstance(kafka.send([alert("a-2")])[0], Answer) else 9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert isinstance(kafka.send([alert("a-3")])[0], Answer)
"""
        done = self.run(broker, code)
        assert (done.returncode, done.stderr) == (0, "")
        assert ids(read(broker.servers, TOPIC, 3)) == {"a": ["a-1", "a-2", "a-3"]}

    def test_at_its_exit_a_process_waits_for_what_is_under_way(self, broker: Broker) -> None:
        code = """
import threading
from alerts import kafka_producer
from alerts.transports import kafka
from tests.alerts.kafka_peers import alert
kafka.send([alert("a-1")])
taken = threading.Event()
produce = kafka_producer._Client._produce
def tell(*arguments):
    produce(*arguments)
    taken.set()
kafka_producer._Client._produce = tell
threading.Thread(target=kafka.send, args=([alert("a-2")],), daemon=True).start()
taken.wait()
"""
        done = self.run(broker, code, **{"linger.ms": 3000})  # without waiting it would still lie in the queue
        assert (done.returncode, done.stderr) == (0, "")
        assert ids(read(broker.servers, TOPIC, 2)) == {"a": ["a-1", "a-2"]}

    def run(self, broker: Broker, code: str, **config: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": broker.servers, "KAFKA_CONFIG": json.dumps(config)}
        return subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{code}"],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


class TestConfig:
    def test_sasl_and_tls_are_passed_on_and_our_own_stay(self, settings: Any) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = "one:9093,two:9093"
        settings.KAFKA_CONFIG = kafka_config.parse('{"security.protocol": "SASL_SSL", "linger.ms": 20}')
        made = kafka_config.producer()
        assert made["bootstrap.servers"] == "one:9093,two:9093"
        assert (made["security.protocol"], made["linger.ms"]) == ("SASL_SSL", 20)
        assert (made["enable.idempotence"], made["acks"]) == (True, "all")

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("sasl.password=hidden", "not JSON"),
            ('["hidden"]', "not a JSON object"),
            ('{"acks": "hidden"}', "acks"),
            ('{"request.required.acks": "hidden"}', "request.required.acks"),
            ('{"enable.idempotence": false, "hidden": 1}', "enable.idempotence"),
            ('{"bootstrap.servers": "hidden"}', "bootstrap.servers"),
            ('{"test.mock.num.brokers": 3}', "test.mock.num.brokers"),
            ('{"oauth_cb": "hidden"}', "oauth_cb"),
            ('{"sasl.password": ["hidden"]}', "sasl.password"),
            ('{"sasl.password": null}', "sasl.password"),
        ],
    )
    def test_what_cannot_be_passed_on_is_named_and_no_value_is(self, text: str, named: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=named) as caught:
            kafka_config.parse(text)
        assert "hidden" not in str(caught.value).replace('"hidden": 1', "")

    @pytest.mark.parametrize("name", ["", "a b", "..", "x" * 250])
    def test_a_topic_that_kafka_does_not_take_is_refused_at_the_start(self, name: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="KAFKA_ALERT_TOPIC"):
            kafka_config.topic(name)
