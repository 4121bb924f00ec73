"""Batches grow with the load, survive their process, and never wait for a timer that is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError

from detection.batches import SampleBatches
from detection.messages import SAMPLES
from detection.tasks import analyse_audio, analyse_frames


class Pool:
    """A pool whose jobs end when the test says so."""

    def __init__(self, num_processes: int = 1) -> None:
        self.num_processes = num_processes
        self.jobs: deque[tuple[list[dict[str, Any]], Callable[..., None], Callable[..., None]]] = deque()

    def apply_async(
        self, _target: Any, args: tuple[Any, ...], *, callback: Callable[..., None], error_callback: Callable[..., None]
    ) -> None:
        self.jobs.append((args[1][0], callback, error_callback))

    def finish(self) -> None:
        _, callback, _ = self.jobs.popleft()
        callback(None)

    def lose(self, error: Exception) -> None:
        _, _, error_callback = self.jobs.popleft()
        try:
            raise error
        except type(error):
            error_callback(ExceptionInfo())


class Request:
    """A message taken from the queue."""

    def __init__(self, *numbers: int) -> None:
        self.kwargs: dict[str, Any] = {SAMPLES: [{"number": number} for number in numbers]}
        self.fate = ""

    def acknowledge(self) -> None:
        self.fate = "acknowledged"

    def reject(self, *, requeue: bool) -> None:
        self.fate = "requeued" if requeue else "rejected"


class Timer:
    """Calls only when the test does."""

    def __init__(self) -> None:
        self.running = 0

    def call_repeatedly(self, *_: Any) -> Timer:
        self.running += 1
        return self

    def cancel(self) -> None:
        self.running -= 1


@pytest.fixture
def batches() -> SampleBatches:
    task = SampleBatches()
    task._pool = Pool()
    task._timer = Timer()
    return task


def receive(task: SampleBatches, count: int, *, samples: int = 1) -> list[Request]:
    requests = [Request(*range(number * samples, (number + 1) * samples)) for number in range(count)]
    for request in requests:
        task._buffer.put(request)
    return requests


def sizes(task: SampleBatches) -> list[int]:
    return [len(job[0]) for job in task._pool.jobs]


def test_the_product_s_tasks_are_such_batches() -> None:
    assert isinstance(analyse_frames, SampleBatches)
    assert isinstance(analyse_audio, SampleBatches)


def test_a_batch_is_sent_as_plain_arguments_and_acknowledged_when_done(batches: SampleBatches) -> None:
    requests = receive(batches, 3)

    batches._do_flush()

    assert batches._pool.jobs[0][0] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert {request.fate for request in requests} == {""}
    batches._pool.finish()
    assert {request.fate for request in requests} == {"acknowledged"}


def test_what_comes_while_the_process_is_busy_is_one_batch_afterwards(batches: SampleBatches) -> None:
    receive(batches, 1)
    batches._do_flush()
    for _ in range(5):
        receive(batches, 1)
        batches._do_flush()
    assert sizes(batches) == [1]

    batches._pool.finish()

    assert sizes(batches) == [5]


def test_a_batch_has_at_most_eight_and_each_idle_process_gets_one(batches: SampleBatches) -> None:
    batches._pool.num_processes = 2
    receive(batches, 20)

    batches._do_flush()
    assert sizes(batches) == [8, 8]

    batches._pool.finish()
    assert sizes(batches) == [8, 4]


def test_a_batch_counts_samples_whichever_messages_bring_them(batches: SampleBatches) -> None:
    requests = receive(batches, 3, samples=3)

    batches._do_flush()

    assert batches._pool.jobs[0][0] == [{"number": number} for number in range(6)]
    batches._pool.finish()
    assert [request.fate for request in requests] == ["acknowledged", "acknowledged", ""]
    assert sizes(batches) == [3]


def test_a_message_of_more_samples_than_a_batch_has_is_a_batch_of_its_own(batches: SampleBatches) -> None:
    receive(batches, 2, samples=10)

    batches._do_flush()

    assert sizes(batches) == [10]


def test_a_message_that_names_no_samples_is_left_for_the_task_to_report(batches: SampleBatches) -> None:
    request = Request()
    request.kwargs = {"samples": "none"}
    batches._buffer.put(request)

    batches._do_flush()

    assert batches._pool.jobs[0][0] == [{"samples": "none"}]


def test_the_batch_of_a_killed_process_goes_back_to_the_queue(batches: SampleBatches) -> None:
    requests = receive(batches, 2)
    batches._do_flush()
    receive(batches, 1)
    batches._do_flush()

    batches._pool.lose(WorkerLostError("signal 9 (SIGKILL)"))

    assert {request.fate for request in requests} == {"requeued"}
    assert sizes(batches) == [1]


def test_a_batch_that_cannot_be_run_is_not_tried_for_ever(batches: SampleBatches) -> None:
    requests = receive(batches, 2)
    batches._do_flush()

    batches._pool.lose(ValueError("cannot be pickled"))

    assert {request.fate for request in requests} == {"acknowledged"}


class Consumer:
    """What celery-batches asks of a worker's consumer."""

    hostname = "worker"
    connection_errors = ()
    event_dispatcher = None

    def __init__(self) -> None:
        self.pool = Pool()
        self.timer = Timer()


def test_a_new_connection_starts_the_timer_for_what_waited_and_forgets_jobs_of_the_old_one() -> None:
    task = analyse_frames
    first = Consumer()
    task.Strategy(task, task.app, first)
    receive(task, 1)
    task._do_flush()
    receive(task, 2)
    task._do_flush()
    assert sizes(task) == [1]

    second = Consumer()  # the broker was away; Celery has cleared the timers
    task.Strategy(task, task.app, second)
    assert second.timer.running == 1
    task._do_flush()
    assert sizes(task) == [2]

    first.pool.finish()  # a late answer of the old connection frees no process of the new one
    receive(task, 1)
    task._do_flush()
    assert sizes(task) == [2]
    second.pool.finish()
    assert sizes(task) == [1]
    second.pool.finish()
