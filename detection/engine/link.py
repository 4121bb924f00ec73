"""Whether the candidate's peer and its media are up, as the gateway's technical events tell it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detection.engine.observations import AUDIO, TECHNICAL, VIDEO, Observation

# The kinds of ``detection.messages.Technical`` that say something about the link; a test keeps them equal.
PEER_CONNECTED, PEER_LOST = "peer_connected", "peer_lost"
VIDEO_STARTED, VIDEO_STOPPED = "video_started", "video_stopped"
AUDIO_STARTED, AUDIO_STOPPED = "audio_started", "audio_stopped"

_PARTS = {
    PEER_CONNECTED: "peer",
    PEER_LOST: "peer",
    VIDEO_STARTED: VIDEO,
    VIDEO_STOPPED: VIDEO,
    AUDIO_STARTED: AUDIO,
    AUDIO_STOPPED: AUDIO,
}

_ALIVE_AFTER_S = 1.0
"""A sample this much newer than the news of a loss proves that all is well again, should that message be lost."""


def part_of(observation: Observation) -> str | None:
    """Return which part of the link a technical observation is about: ``peer``, ``video``, ``audio``; None: neither."""
    return _PARTS.get(_kind(observation))


def _kind(observation: Observation) -> str:
    return str(observation.measures.get(TECHNICAL, {}).get("kind", ""))


def _is_over(down_at: float | None, seen_at: float) -> bool:
    return down_at is not None and seen_at > down_at + _ALIVE_AFTER_S


@dataclass(frozen=True, slots=True)
class Link:
    """The link at one moment. Each ``…_down_at`` is when that part went away; None while it is up or nothing is known.

    ``peer_id`` is the peer that counts: what an older, replaced one still reports is about nobody.
    """

    peer_id: str = ""
    peer_down_at: float | None = None
    video_down_at: float | None = None
    audio_down_at: float | None = None

    def after(self, observation: Observation) -> Link:
        """Return the link after a technical event, or after the sight of a sample."""
        if observation.stream in (VIDEO, AUDIO):
            return self._after_sample(observation)
        if observation.stream != TECHNICAL:
            return self
        kind, at = _kind(observation), observation.captured_at
        peer_id = str(observation.measures[TECHNICAL].get("peer_id", ""))
        if kind == PEER_CONNECTED:
            return dataclasses.replace(self, peer_id=peer_id, peer_down_at=None)
        if peer_id and self.peer_id and peer_id != self.peer_id:
            return self
        if kind == PEER_LOST:  # what its media did before no longer matters
            return Link(peer_id=self.peer_id, peer_down_at=at if self.peer_down_at is None else self.peer_down_at)
        if _PARTS.get(kind) == VIDEO:
            return dataclasses.replace(self, video_down_at=at if kind == VIDEO_STOPPED else None)
        if _PARTS.get(kind) == AUDIO:
            return dataclasses.replace(self, audio_down_at=at if kind == AUDIO_STOPPED else None)
        return self

    def _after_sample(self, observation: Observation) -> Link:
        link, seen_at, stream = self, observation.captured_at, observation.stream
        if _is_over(link.peer_down_at, seen_at):
            link = dataclasses.replace(link, peer_down_at=None)
        if stream == VIDEO and _is_over(link.video_down_at, seen_at):
            link = dataclasses.replace(link, video_down_at=None)
        if stream == AUDIO and _is_over(link.audio_down_at, seen_at):
            link = dataclasses.replace(link, audio_down_at=None)
        return link

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form that ``from_dict`` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Link:
        """Build from ``to_dict``'s result."""
        return cls(**data)
