"""docs/webhooks.md: its receiver works as printed, and its figures are the code's."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from alerts.delivery import breaker, schedule
from alerts.models import Delivery, Subscription
from proctor_site.embedded.ports import free_port
from tests.alerts import builders
from tests.alerts.test_delivery import drain

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text()


def wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the receiver does not start")


@pytest.mark.django_db(transaction=True)
def test_the_documented_receiver_takes_what_is_sent_once_and_refuses_what_is_not_signed_for_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "receiver.py").write_text(program)
    owner, port = builders.organisation(), free_port()
    subscription, secret = builders.subscription(owner, f"http://127.0.0.1:{port}/")
    command = [sys.executable, "receiver.py", str(port), secret]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as receiver:
        assert receiver.stdout is not None
        try:
            wait_for_port(port, receiver)
            alerts = [builders.apply(builders.session(owner)) for _ in range(3)]
            drain(subscription)
            Delivery.objects.update(state="pending")  # as if their answers had been lost
            drain(subscription)
            assert set(Delivery.objects.values_list("state", "attempt_count")) == {("delivered", 2)}
            said = sorted(receiver.stdout.readline() for _ in alerts)
            assert said == sorted(f"{alert.event_id} NO_FACE\n" for alert in alerts)

            stranger, _ = builders.subscription(builders.organisation(), subscription.url)
            builders.apply(builders.session(Subscription.objects.get(pk=stranger.pk).organisation))
            drain(stranger)
            assert Delivery.objects.get(subscription=stranger).attempts.get().status_code == 400
        finally:
            receiver.kill()


def test_the_documented_schedule_is_the_codes() -> None:
    (written,) = re.findall(r"tried again after (.+?), each up to", DOCUMENT)
    seconds = {"s": 1, "min": 60, "h": 3600}
    said = [int(number) * seconds[unit] for number, unit in re.findall(r"(\d+) (s|min|h)", written)]
    assert (0, *said) == schedule.SCHEDULE_S


def test_the_documented_breaker_is_the_codes() -> None:
    assert breaker.THRESHOLD == 5
    assert "Five failures in a row" in DOCUMENT
    assert f"After {breaker.OPEN_S:g} s one alert" in DOCUMENT
    assert f"up to {breaker.OPEN_MOST_S / 60:g} minutes" in DOCUMENT
    assert schedule.WHOLE.days == 3
    assert f"{schedule.RETRY_AFTER_MOST_S // 3600}" == "1"
