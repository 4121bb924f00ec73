"""All sessions of this gateway."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from concurrent.futures import Executor

from media_gateway.config import Config
from media_gateway.peer import Peer
from media_gateway.problems import ProblemError
from media_gateway.publisher import Publisher
from media_gateway.session import Limits, MediaSession
from media_gateway.tokens import JoinClaims

logger = logging.getLogger(__name__)

_TICK_S = 0.25
_RETRY_AFTER_S = 10


class Registry:
    """Sessions come with their first peer and go when the grace time after the last one is over."""

    def __init__(self, config: Config, *, publisher: Publisher, executor: Executor) -> None:
        self._config = config
        self._publisher = publisher
        self._executor = executor
        self._limits = Limits(config.connect_timeout_s, config.grace_s, config.media_timeout_s)
        self._sessions: dict[str, MediaSession] = {}
        self._is_stopping = False

    @property
    def session_ids(self) -> list[str]:
        """Return the sessions that have a peer, or had one a short while ago."""
        return list(self._sessions)

    @property
    def peer_count(self) -> int:
        return sum(len(session.peers) for session in self._sessions.values())

    async def join(self, claims: JoinClaims, offer: str) -> tuple[Peer, str]:
        """Let a peer in and return it with the answer; raise ``ProblemError`` if there is no room."""
        if self._is_stopping:
            raise ProblemError("gateway_stopping", "This gateway is stopping.", headers={"Retry-After": "2"})
        others = sum(len(s.peers) for s in self._sessions.values() if s.id != claims.session_id)
        if others >= self._config.max_peers:
            headers = {"Retry-After": str(_RETRY_AFTER_S)}
            raise ProblemError("gateway_full", "This gateway serves as many peers as it may.", headers=headers)
        session = self._sessions.get(claims.session_id)
        if session is None:
            session = self._sessions[claims.session_id] = MediaSession(
                claims.session_id,
                publisher=self._publisher,
                executor=self._executor,
                ice_servers=self._config.ice_servers,
                limits=self._limits,
            )
        peer, answer = await session.join(claims, offer)
        if self._sessions.get(session.id) is not session:
            session.end()
            raise ProblemError("session_ended", "The session has ended.")
        return peer, answer

    def peer(self, session_id: str, peer_id: str) -> Peer:
        """Return a connected or connecting peer; raise ``ProblemError`` (``peer_unknown``) if there is none."""
        session = self._sessions.get(session_id)
        for peer in session.peers if session else []:
            if peer.id == peer_id:
                return peer
        raise ProblemError("peer_unknown", "There is no such peer, or it is gone.")

    def hang_up(self, session_id: str, peer: Peer) -> None:
        """Close a peer that says goodbye."""
        self._sessions[session_id].hang_up(peer, "hung_up")

    def end(self, session_ids: Iterable[str]) -> None:
        """Let go of the peers of sessions that have ended."""
        for session_id in session_ids:
            session = self._sessions.pop(session_id, None)
            if session is not None:
                logger.info("Session %s has ended.", session_id)
                session.end()
                self._publisher.forget(session_id)

    async def run(self) -> None:
        """Look after the sessions until cancelled."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            for session in list(self._sessions.values()):
                session.tick(now)
                if session.is_over:
                    del self._sessions[session.id]
                    self._publisher.forget(session.id)

    async def close(self) -> None:
        """Let nobody in any more, report every peer lost and hang up on all of them."""
        self._is_stopping = True
        peers = [peer for session in self._sessions.values() for peer in session.peers]
        for session in self._sessions.values():
            for peer in session.peers:
                session.hang_up(peer, "gateway_stopped")
        self._sessions.clear()
        await asyncio.gather(*(peer.close() for peer in peers))
