"""Hand what the rules found out about the challenge at check-in to its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detection.engine.learners import Memory
from detection.engine.learners.challenge import Challenge, progress
from sessions.challenges import challenge_note


def challenge_follow(before: Mapping[str, Any], memory: Memory) -> bool:
    """Write how the challenge stands if that has changed; return whether it has.

    ``before``: the rules' state as it was stored. ``memory``: what the learners know now.
    """
    known = progress(before.get("memory", {}).get(Challenge.name, {}))
    now = progress(memory.get(Challenge.name, {}))
    if now is None or now == known:
        return False
    return challenge_note(challenge_id=now["challenge_id"], outcome=now["outcome"], steps=now["steps"])
