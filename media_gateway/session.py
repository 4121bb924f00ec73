"""One exam session at this gateway: its present peer, and what must outlive a peer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from aiortc.exceptions import InvalidStateError

from detection.messages import Stream, Technical, TechnicalMessage
from media_gateway.config import IceServer
from media_gateway.peer import Peer, PeerState
from media_gateway.problems import ProblemError
from media_gateway.publisher import Publisher
from media_gateway.tokens import JoinClaims

logger = logging.getLogger(__name__)

_PROBE_TIMEOUT_S = 1.5
_STARTED = {Stream.VIDEO: Technical.VIDEO_STARTED, Stream.AUDIO: Technical.AUDIO_STARTED}
_STOPPED = {Stream.VIDEO: Technical.VIDEO_STOPPED, Stream.AUDIO: Technical.AUDIO_STOPPED}


def _replaced() -> ProblemError:
    return ProblemError("peer_replaced", "Another peer of this session came while this one was answered.")


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the gateway is, in seconds; see ``config.Config``."""

    connect_timeout_s: float
    grace_s: float
    media_timeout_s: float


class _Feed:
    """What one stream of a session delivers: passes samples on, and knows when there were any."""

    def __init__(self, session: MediaSession, stream: Stream) -> None:
        self._session = session
        self._stream = stream
        self._publisher = session.publisher
        self._last_at = 0.0  # samples go forward in time, whatever the clocks of two peers say
        self.is_running: bool | None = None  # None: not told yet
        self.seen_at = 0.0  # monotonic

    def refusal(self) -> str | None:
        return self._publisher.refusal(self._stream)

    def seen(self, captured_at: float) -> None:
        """Note media of this time."""
        self._session.media_resumed()
        self.seen_at = time.monotonic()
        if not self.is_running:
            self.is_running = True
            self._session.report(_STARTED[self._stream], at=captured_at)

    def reset(self) -> None:
        """Begin anew, with another peer or one found again."""
        self.is_running = None
        self.seen_at = time.monotonic()

    def stop_if_silent(self, now: float, timeout_s: float) -> bool:
        """Report that the stream has stopped, once; return whether this is the moment."""
        if self.is_running is False or now - self.seen_at < timeout_s:
            return False
        self.is_running = False
        self._session.report(_STOPPED[self._stream])
        return True

    def forward(self, at: float, *, least_step_s: float) -> float:
        """Return ``at``, or the earliest time that keeps the samples in order."""
        return max(at, self._last_at + least_step_s)

    def advance(self, to: float) -> None:
        self._last_at = max(self._last_at, to)


class VideoFeed(_Feed):
    """See ``video.VideoSink``."""

    def __init__(self, session: MediaSession) -> None:
        super().__init__(session, Stream.VIDEO)

    def offer(self, captured_at: float, jpeg: bytes) -> None:
        at = self.forward(captured_at, least_step_s=0.001)
        self.advance(at)
        self._publisher.offer_frame(self._session.id, at, jpeg)

    def skip(self, captured_at: float, reason: str) -> None:
        at = self.forward(captured_at, least_step_s=0.0)
        self._publisher.skip(self._session.id, Stream.VIDEO, at, at, reason)


class AudioFeed(_Feed):
    """See ``audio.AudioSink``."""

    def __init__(self, session: MediaSession) -> None:
        super().__init__(session, Stream.AUDIO)

    def offer(self, started_at: float, ended_at: float, lead_in_samples: int, pcm: bytes) -> None:
        at = self.forward(started_at, least_step_s=0.0)
        end = at + (ended_at - started_at)
        self.advance(end)
        self._publisher.offer_window(self._session.id, at, end, lead_in_samples, pcm)

    def skip(self, started_at: float, ended_at: float, reason: str) -> None:
        at = self.forward(started_at, least_step_s=0.0)
        self._publisher.skip(self._session.id, Stream.AUDIO, at, max(at, ended_at), reason)


class MediaSession:
    """At most one peer is current; one more may be connecting, to replace it."""

    def __init__(
        self,
        session_id: str,
        *,
        publisher: Publisher,
        executor: Executor,
        ice_servers: Sequence[IceServer],
        limits: Limits,
    ) -> None:
        self.id = session_id
        self.publisher = publisher
        self.current: Peer | None = None
        self.pending: Peer | None = None
        self._executor = executor
        self._ice_servers = ice_servers
        self._limits = limits
        self._video = VideoFeed(self)
        self._audio = AudioFeed(self)
        self._expires_at = 0.0
        self._reported_at = 0.0
        self._is_lost = False
        self._idle_since = time.monotonic()  # while nobody is connected
        self._probe: asyncio.Task[None] | None = None
        self._probed_at = 0.0

    @property
    def peers(self) -> list[Peer]:
        """Return the peers that are connected or connecting."""
        return [peer for peer in (self.current, self.pending) if peer is not None]

    @property
    def is_over(self) -> bool:
        """Whether nobody has come back within the grace time."""
        return not self.peers and time.monotonic() - self._idle_since > self._limits.grace_s

    async def join(self, claims: JoinClaims, offer: str) -> tuple[Peer, str]:
        """Let a peer in and return it with the answer; it becomes the current one when it has connected."""
        if self.pending is not None:
            self.pending.close()
        peer = Peer(ice_servers=self._ice_servers, executor=self._executor, on_change=self._peer_changed)
        self.pending = peer
        self._expires_at = claims.expires_at
        try:
            answer = await peer.answer(
                offer,
                video=self._video,
                audio=self._audio,
                frames_per_second=claims.frames_per_second,
                audio_window_s=claims.audio_window_s,
            )
        except InvalidStateError as error:  # closed meanwhile
            raise _replaced() from error
        except BaseException:
            self._drop(peer)
            raise
        if peer.state is PeerState.GONE:
            raise _replaced()
        return peer, answer

    def hang_up(self, peer: Peer, reason: str) -> None:
        """Close ``peer``, and report it lost if it was the current one."""
        if peer is self.current:
            self._lose(reason)
        self._drop(peer)

    def end(self) -> None:
        """Close every peer without a report: the session itself is over."""
        for peer in self.peers:
            self._drop(peer)

    def report(self, kind: Technical, *, at: float | None = None, reason: str = "") -> None:
        """Send a technical message about the current peer; their times never go back."""
        self._reported_at = max(self._reported_at, time.time() if at is None else at)
        self.publisher.note(
            TechnicalMessage(
                session_id=self.id,
                kind=kind,
                at=self._reported_at,
                peer_id=self.current.id if self.current else "",
                reason=reason,
            )
        )

    def media_resumed(self) -> None:
        """Note that a peer taken for lost sends again."""
        if self._is_lost and self.current is not None:
            self._welcome("media_resumed")

    def tick(self, now: float) -> None:
        """Look after what takes time: a few times a second."""
        if self.pending is not None and now - self.pending.created > self._limits.connect_timeout_s:
            logger.info("Session %s: peer %s did not connect.", self.id, self.pending.id)
            self._drop(self.pending)
        if self.current is None:
            return
        if time.time() >= self._expires_at:
            self.hang_up(self.current, "token_expired")
        elif self._is_lost:
            if now - self._idle_since > self._limits.grace_s:
                self._drop(self.current)
        else:
            self._watch(self.current, now)

    def _watch(self, peer: Peer, now: float) -> None:
        timeout_s = self._limits.media_timeout_s
        silent_s = now - max(self._video.seen_at, self._audio.seen_at)
        if silent_s > timeout_s / 2 and self._probe is None and now - self._probed_at > timeout_s:
            self._probe = asyncio.create_task(self._ask_if_there(peer))
        # A peer about to be found lost has not stopped its camera.
        if silent_s > timeout_s / 2 and self._probe is not None:
            return
        if not (peer.video and peer.video.is_busy):
            self._video.stop_if_silent(now, timeout_s)
        if self._audio.stop_if_silent(now, timeout_s) and peer.audio is not None:
            peer.audio.flush(time.time())

    async def _ask_if_there(self, peer: Peer) -> None:
        try:
            silent_since = max(self._video.seen_at, self._audio.seen_at)
            reachable = await peer.is_reachable(timeout_s=_PROBE_TIMEOUT_S)
            came_back = max(self._video.seen_at, self._audio.seen_at) > silent_since
            if not reachable and not came_back and peer is self.current and not self._is_lost:
                self._lose("silent")
        finally:
            self._probed_at = time.monotonic()
            self._probe = None

    def _peer_changed(self, peer: Peer) -> None:
        if peer.state is PeerState.CONNECTED:
            self._adopt(peer)
        elif peer is self.current:
            self._lose("connection")
            self._drop(peer)
        else:
            self._drop(peer)

    def _adopt(self, peer: Peer) -> None:
        """Make ``peer`` the current one. The one it replaces was not lost, so nothing is said about it."""
        if self.current is not None:
            self._drop(self.current)
        if peer is self.pending:
            self.pending = None
        self.current = peer
        self._welcome("")

    def _welcome(self, reason: str) -> None:
        self._is_lost = False
        self._video.reset()
        self._audio.reset()
        self.report(Technical.PEER_CONNECTED, reason=reason)

    def _lose(self, reason: str) -> None:
        """Report the current peer lost, unless that has been said."""
        if not self._is_lost:
            self._is_lost = True
            self._idle_since = time.monotonic()
            self._video.is_running = self._audio.is_running = None
            self.report(Technical.PEER_LOST, reason=reason)

    def _drop(self, peer: Peer) -> None:
        peer.close()
        if peer is self.current:
            self.current = None
            if self._probe is not None:
                self._probe.cancel()
        if peer is self.pending:
            self.pending = None
        if not self.peers and not self._is_lost:
            self._idle_since = time.monotonic()
