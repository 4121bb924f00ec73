"""Collect queued samples of many candidates into batches, one pool job each. A message names one or a few samples."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from celery_batches import Batches
from celery_batches.trace import apply_batches_task

from detection.messages import SAMPLES

logger = logging.getLogger(__name__)


class SampleBatches(Batches):  # type: ignore[misc]  # celery-batches ships no types
    """celery-batches for samples: ``run`` receives the list of the samples that the messages name.

    It differs from the original where that would lose or delay samples:

    - As many batches are under way as the pool has processes; meanwhile messages collect, so batches grow with the load
      and the cost of a transaction is shared by more samples.
    - When a pool process dies, its batch goes back to the queue. (The original forgets it, and its messages hold the
      prefetch window until the worker restarts.) A message that kills again and again is dropped at its deadline.
    - After the broker was away the flush timer starts anew. (Celery clears its timers then; the original never knows.)
    """

    abstract = True
    flush_every = 8
    # The cost around the models is per batch and wake-up. The gateway waits as long already for samples that travel
    # together, so what comes within this time comes from other gateways, or is the next message.
    flush_interval = 0.1
    acks_late = True
    ignore_result = True

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Request] = deque()
        self._under_way = 0
        self._connection_number = 0

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802  # Celery's name
        """Start anew on a (new) connection to the broker; return the handler of its messages."""
        self._connection_number += 1
        self._under_way = 0
        self._tref = None
        handler = super().Strategy(task, app, consumer)
        self._timer = consumer.timer
        if self._waiting or not self._buffer.empty():
            self._tref = self._timer.call_repeatedly(self.flush_interval, self._do_flush)
        return handler

    def _do_flush(self) -> None:
        """Send what has collected to idle pool processes: at the timer, a full batch, or when a process gets free."""
        while not self._buffer.empty():
            self._waiting.append(self._buffer.get_nowait())
        while self._waiting and self._under_way < (self._pool.num_processes or 1):
            self.flush(self._next_batch())
        # What still waits is sent when a process is free; the next message starts the timer again.
        if self._tref is not None:
            self._tref.cancel()
            self._tref = None

    def _next_batch(self) -> list[Request]:
        """Take the oldest messages, together ``flush_every`` samples at most, but always one."""
        batch = [self._waiting.popleft()]
        count = len(_samples(batch[0]))
        while self._waiting and (count := count + len(_samples(self._waiting[0]))) <= self.flush_every:
            batch.append(self._waiting.popleft())
        return batch

    def flush(self, requests: list[Request]) -> None:
        """Run one batch in the pool; acknowledge its messages when it is done, requeue them if its process died."""
        connection_number = self._connection_number
        self._under_way += 1

        def finish() -> None:
            # A batch of the connection before was forgotten with that connection.
            if connection_number == self._connection_number:
                self._under_way -= 1
                if self._waiting:
                    self._do_flush()

        def on_return(_result: Any) -> None:
            for request in requests:
                request.acknowledge()
            finish()

        def on_error(info: ExceptionInfo) -> None:
            lost = info.type is not None and issubclass(info.type, WorkerLostError)
            logger.error("A batch of %d %s failed: %s", len(requests), self.name, info.exception)
            for request in requests:
                if lost:
                    request.reject(requeue=True)
                else:
                    request.acknowledge()
            finish()

        arguments = [sample for request in requests for sample in _samples(request)]
        self._pool.apply_async(
            apply_batches_task, (self, (arguments,), 0, None), callback=on_return, error_callback=on_error
        )


def _samples(request: Request) -> list[Any]:
    """Return what a message names; one without samples counts as a sample, which the task will not understand."""
    samples = request.kwargs.get(SAMPLES)
    return samples if isinstance(samples, list) else [request.kwargs]
