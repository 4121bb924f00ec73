"""What carries alerts, as real processes, and alerts going through it. Imported once Django is set up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from accounts.api_keys import api_key_create
from alerts.models import Alert, Delivery, DeliveryAttempt, Subscription
from alerts.subscriptions import subscription_create
from proctor_site.embedded.ports import port_is_free
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.fault_receivers import (
    Audience,
    Client,
    SocketClient,
    StreamClient,
    TopicReader,
    Written,
    audience,
    judge,
)
from tests.alerts.kafka_peers import Broker
from tests.plays import Servers, wait_for
from tests.stack import Stack, environment

_PORTS = {"web": "WEB_PORT", "stream": "GRPC_PORT"}
_READY = {"alerts": " ready."}
"""What a process logs once it takes work."""
SESSIONS = 40
WRITERS = 4
RATE_PER_S = 50.0
RETRY_S = 0.2
"""Before a writer tries an alert again whose commit failed."""
AFTERMATH_S = 1.0
"""How long is listened for a second copy after all is there."""


class Writing:
    """Alerts on their way into the database, by several writers at once, each with sessions of its own.

    A writer whose transaction broke repeats the same change, as detection does.
    """

    def __init__(self, sessions: Sequence[ExamSession], count: int) -> None:
        self.count = 0
        self.broken = 0
        self._lock = threading.Lock()
        shares = [(sessions[n::WRITERS], count // WRITERS) for n in range(WRITERS)]
        self._threads = [threading.Thread(target=self._write, args=share, daemon=True) for share in shares]
        for thread in self._threads:
            thread.start()

    def reached(self, count: int) -> bool:
        """Tell whether so many are committed."""
        return self.count >= count

    def join(self) -> None:
        """Wait for the last commit."""
        for thread in self._threads:
            thread.join()

    def _write(self, sessions: Sequence[ExamSession], count: int) -> None:
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number * WRITERS / RATE_PER_S - time.monotonic()))
            self._commit(sessions[number % len(sessions)])
        connection.close()

    def _commit(self, session: ExamSession) -> None:
        change = builders.change()
        while True:
            try:
                builders.apply(session, change)
            except (OperationalError, InterfaceError):
                with self._lock:
                    self.broken += 1
                connection.close()
                time.sleep(RETRY_S)
            else:
                with self._lock:
                    self.count += 1
                return


class Bed:
    """The processes, and one organisation with its sessions."""

    def __init__(self, servers: Servers, broker: Broker) -> None:
        self.servers = servers
        self.broker = broker
        self.stack = Stack(servers.directory, environment(servers.directory))
        self.owner = builders.organisation()
        self.sessions = [builders.session(self.owner) for _ in range(SESSIONS)]
        self._starts: Counter[str] = Counter()

    def start(self, *names: str) -> None:
        """Start processes of the Procfile, and wait until they are there."""
        self.stack.start(*names)
        for name in names:
            wait_for(f"{name} there", lambda name=name: self._is_there(name))

    # --- Alerts -------------------------------------------------------------------------------------------------------
    @contextmanager
    def listening(self) -> Iterator[Audience]:
        """Subscribe a receiver by every transport, and connect the clients that follow."""
        with audience(self._clients) as listening:
            self.subscribe("webhook", listening.webhooks.url())
            self.subscribe("grpc", f"grpc://127.0.0.1:{listening.pushed.port}")
            self.subscribe("kafka", "")
            for client in listening.clients.values():
                if isinstance(client, SocketClient):
                    wait_for(f"the {client.name}", client.greeted.is_set)
            # One alert for everybody to resume after: who has had none yet has no place to go on from.
            for session in self.sessions[:1]:
                builders.apply(session)
            wait_for("the first alert", lambda: all(client.receipts for client in listening.clients.values()))
            yield listening

    def subscribe(self, transport: str, address: str) -> None:
        """Have the alerts sent there."""
        subscription_create(organisation=self.owner, transport=transport, url=address)

    def _clients(self) -> dict[str, Client]:
        _, key = api_key_create(organisation=self.owner, name="follows", scopes=["sessions"])
        sockets = f"ws://127.0.0.1:{self.stack.environment['WEB_PORT']}/api/v1"
        return {
            "stream": StreamClient(f"127.0.0.1:{self.stack.environment['GRPC_PORT']}", key),
            "proctor's socket": SocketClient(f"{sockets}/proctor/ws", key),
            "kafka": self.topic_reader(),
            "session's socket": SocketClient(f"{sockets}/session/ws/{self.sessions[0].id}", key),
        }

    def write(self, count: int) -> Writing:
        """Begin to write alerts, dealt out to the sessions."""
        return Writing(self.sessions, count)

    def settled(self, listening: Audience) -> dict[str, Any]:
        """Wait until every alert is delivered, and return what came of all."""
        self.deliver_all()
        wait_for("all receipts", lambda: self._all_have_come(listening))
        time.sleep(AFTERMATH_S)
        self.stack.require_running()
        return {
            "written": len(self.written()),
            "came": {name: judge(came, self._meant_for(name)) for name, came in listening.receipts().items()},
            "refused": {name: client.refused for name, client in listening.clients.items()},
            "connections": {name: client.connections for name, client in listening.clients.items()},
            "parked": Delivery.objects.filter(state=Delivery.State.PARKED).count(),
        }

    def deliver_all(self) -> None:
        """Wait until every alert is marked delivered."""
        waiting = Delivery.objects.exclude(state=Delivery.State.DELIVERED)
        wait_for("all deliveries", lambda: not waiting.exists())

    def _all_have_come(self, listening: Audience) -> bool:
        return all(
            len({receipt.event_id for receipt in came}) >= len(self._meant_for(name))
            for name, came in listening.receipts().items()
        )

    def _meant_for(self, name: str) -> Written:
        return self.written(self.sessions[0] if name == "session's socket" else None)

    def written(self, session: ExamSession | None = None) -> Written:
        """Return all alerts, or a session's, as the database has them."""
        alerts = Alert.objects.all() if session is None else Alert.objects.filter(session=session)
        rows = alerts.values_list("event_id", "session__session_id", "sequence")
        return {str(event_id): (session_id, sequence) for event_id, session_id, sequence in rows}

    # --- Kafka ------------------------------------------------------------------------------------------------------
    def topic_reader(self) -> TopicReader:
        """Return a consumer of the alerts' topic, to be started."""
        return TopicReader(self.broker.servers, settings.KAFKA_ALERT_TOPIC)

    def reported(self) -> dict[str, str]:
        """Return of each alert that is marked delivered the place that the cluster reported, by event id."""
        taken = DeliveryAttempt.objects.filter(delivery__state=Delivery.State.DELIVERED, error="")
        return {str(event_id): place for event_id, place in taken.values_list("delivery__alert_id", "response")}

    def wait_for_failures(self) -> None:
        """Wait until what is under way now is over and an attempt has failed."""
        failed = DeliveryAttempt.objects.exclude(error="")
        before = failed.count()
        leases = list(Delivery.objects.exclude(lease=None).values_list("lease", flat=True).distinct())
        wait_for("a failed attempt", lambda: failed.count() > before)
        wait_for("the calls under way", lambda: not Delivery.objects.filter(lease__in=leases).exists())

    # --- Faults -------------------------------------------------------------------------------------------------------
    def kill(self, name: str) -> None:
        """SIGKILL a process, and start it again as a supervisor does.

        What a dead worker held comes back after its lease. That minute is not waited for: nobody else holds anything.
        """
        self.stack.kill(name)
        if name == "alerts":
            Delivery.objects.exclude(lease=None).update(leased_until=timezone.now())
            Subscription.objects.update(calls={})
        self._starts[name] += 1
        self.stack.start(name)

    def wait_until_at_work(self, name: str) -> None:
        """Wait until a process is there, after its last start; the worker, until it has delivered something."""
        wait_for(f"{name} there", lambda: self._is_there(name))
        if name == "alerts":
            attempts = DeliveryAttempt.objects.count()
            wait_for("a delivery", lambda: DeliveryAttempt.objects.count() > attempts)

    def _is_there(self, name: str) -> bool:
        if name in _PORTS:
            return not port_is_free(int(self.stack.environment[_PORTS[name]]))
        return name not in _READY or self.stack.log(name).read_text().count(_READY[name]) > self._starts[name]

    def crash_postgres(self, away_s: float) -> None:
        """Have PostgreSQL die, and come back after a while."""
        self.servers.postgres.crash()
        time.sleep(away_s)
        self.servers.postgres.start()
        connection.close()


@contextmanager
def running(servers: Servers, broker: Broker) -> Iterator[Bed]:
    """Stop afterwards what was started on the bed."""
    bed = Bed(servers, broker)
    try:
        yield bed
    finally:
        bed.stack.stop()
