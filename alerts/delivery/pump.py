"""Deliver until nothing is due: one thread claims and settles for all subscriptions, others wait for the subscribers.

One worker process has one pump. Waking it names subscriptions; it looks at them, and again whenever a call to them is
over. The threads that make the calls never touch the database. A slow subscriber keeps a few of them busy, by its
``concurrency``, and more than one only while half of them are free: so none can take the others' places.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from django.db import InterfaceError, OperationalError, connection

from alerts.delivery import call as calling
from alerts.delivery.call import Call, Sent
from alerts.delivery.claim import claim
from alerts.delivery.settle import settle

logger = logging.getLogger(__name__)

SLOTS = 128
"""Calls under way at once in a process."""
GATHER_S = 0.01
"""When a call is over, those that end within this time are settled with it."""
DATABASE_AWAY_S = 0.5
"""Pause before a database that was away is tried again."""


class Pump:
    """Claims, sends and settles. Any thread may ``wake`` it; the one whose ``run`` finds it at rest does the work."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="deliver")
        self._lock = threading.Lock()
        self._ready: dict[uuid.UUID, float] = {}  # when to look at it, monotonic seconds
        self._events: queue.SimpleQueue[Sent | None] = queue.SimpleQueue()  # None: somebody woke it
        self._under_way = 0
        self._unsettled: list[Sent] = []
        self._running = False
        self._stopping = False

    def wake(self, subscription_ids: Iterable[uuid.UUID]) -> None:
        """Have these subscriptions looked at."""
        with self._lock:
            self._ready |= dict.fromkeys(subscription_ids, 0.0)
        self._events.put(None)

    def stop(self) -> None:
        """Claim no more; ``run`` returns when the calls under way are settled."""
        self._stopping = True
        self._events.put(None)

    def run(self) -> None:
        """Deliver until nothing is due and all is settled; return at once if another thread is at it."""
        with self._lock:
            if self._running:
                return
            self._running = True
        try:
            while not self._at_rest():
                self._round()
        except BaseException:
            self._running = False
            raise

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown()

    def _at_rest(self) -> bool:
        """Tell whether there is nothing to do, and if so leave: whoever wakes the pump from now on runs it."""
        with self._lock:
            waiting = self._ready and not self._stopping
            if waiting or self._under_way or self._unsettled or not self._events.empty():
                return False
            self._running = False
            return True

    def _round(self) -> None:
        self._collect()
        try:
            self._settle()
            self._claim()
        except (OperationalError, InterfaceError) as error:
            # What is not settled is kept; what cannot be settled within its lease is sent again under the same id.
            logger.warning("The database is away, deliveries wait: %s", error)
            connection.close()
            time.sleep(DATABASE_AWAY_S)

    # --- What has come ------------------------------------------------------------------------------------------------
    def _collect(self) -> None:
        """Wait for something to do; then take all that is over, and what follows closely."""
        if not self._take(self._pause_s()) or not self._under_way:
            return
        until = time.monotonic() + GATHER_S
        while self._under_way and (left_s := until - time.monotonic()) > 0:
            if not self._take(left_s):
                return

    def _pause_s(self) -> float | None:
        """Return how long there is nothing to do; None: until something comes."""
        if self._unsettled or not self._events.empty():
            return 0.0
        with self._lock:
            times = list(self._ready.values())
        if self._stopping or not times or self._under_way >= self._slots:
            return None
        return max(0.0, min(times) - time.monotonic())

    def _take(self, pause_s: float | None) -> bool:
        """Take one event; tell whether it was a call that is over."""
        try:
            sent = self._events.get(timeout=pause_s)
        except queue.Empty:
            return False
        if sent is None:
            return False
        self._under_way -= 1
        self._unsettled.append(sent)
        return True

    def _settle(self) -> None:
        over = {sent.call.subscription_id for sent in self._unsettled}
        told = self._settle_all()
        self._unsettled = []
        with self._lock:
            self._ready |= dict.fromkeys(over | told, 0.0)

    def _settle_all(self) -> set[uuid.UUID]:
        """Settle together, or one by one where one cannot be: that one comes back after its lease."""
        try:
            return settle(self._unsettled)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("%d calls cannot be settled together", len(self._unsettled))
        told: set[uuid.UUID] = set()
        for sent in self._unsettled:
            try:
                told |= settle([sent])
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                logger.exception("A call to subscription %s cannot be settled", sent.call.subscription_id)
        return told

    # --- What goes ----------------------------------------------------------------------------------------------------
    def _claim(self) -> None:
        chosen = self._choose()
        if not chosen:
            return
        free = self._slots // 2 - self._under_way - len(chosen)
        try:
            made = claim(chosen, calls_each=1 + max(0, free) // len(chosen))
        except BaseException:
            with self._lock:
                self._ready |= dict.fromkeys(chosen, 0.0)
            raise
        now = time.monotonic()
        with self._lock:
            for subscription_id, pause_s in made.again_s.items():
                self._ready.setdefault(subscription_id, now + pause_s)
        for call in made.calls:
            self._start(call)

    def _choose(self) -> list[uuid.UUID]:
        """Take those whose time has come off the list, as many as there are free threads."""
        if self._stopping:
            return []
        now = time.monotonic()
        with self._lock:
            come = [key for key, at in self._ready.items() if at <= now][: self._slots - self._under_way]
            for key in come:
                del self._ready[key]
        return come

    def _start(self, call: Call) -> None:
        self._under_way += 1
        self._threads.submit(calling.make, call).add_done_callback(partial(self._finished, call))

    def _finished(self, call: Call, future: Future[Sent]) -> None:
        error = future.exception()
        if error is not None:
            logger.error("The transport %s broke down", call.transport, exc_info=error)
        self._events.put(future.result() if error is None else calling.broken(call, error))


def drain(subscription_ids: Iterable[uuid.UUID]) -> None:
    """Make the due deliveries of these subscriptions with a pump of their own, in this thread."""
    pump = Pump(slots=16)
    try:
        pump.wake(subscription_ids)
        pump.run()
    finally:
        pump.close()
