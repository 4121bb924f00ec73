"""Weigh what speaks for and against a live face over time; a single frame says little."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

_MIN_LOOKS = 6
_MAX_LOOKS = 128
_MAX_EVIDENCE = 6.0
"""What one look can add or take: a single one must not outvote the others."""
_CALIBRATION = 0.5
"""Looks at one face are far from independent: their mean counts like a weak single one."""
_RIGID_FROM, _RIGID_TO, _RIGID_WEIGHT = 0.25, 0.75, 10.0
"""Rigidity (see ``rigidity``) from which it counts, and fully counts, and what it then takes off the mean evidence."""
_STAYS_FROM, _STAYS_TO, _STAYS_WEIGHT = -0.1, -0.3, 2.0
"""The other way round: a background that stays behind the face speaks for a person (or a film on a standing screen)."""
_STILL_FROM_S, _STILL_TO_S, _STILL_WEIGHT = 60.0, 120.0, 3.0
"""Likewise for lids and lips that do not move (see ``stillness``). Readers blink five times a minute and less, and two
frames a second miss most blinks: this outweighs no face that looks live."""
_ANSWERED_WEIGHT, _ANSWERED_S = 3.0, 60.0
"""Who turned the head when asked to has depth and hears what is asked, which no print and no recording has: it speaks
for a person for a minute. Not for longer: another may sit down, or a picture be held up."""
_UNSEEN = 2.0
"""The mean evidence that is assumed where the picture is too poor to look at: in favour of the candidate."""
_SURE_LOOP, _NO_LOOP = 0.25, 0.55
"""Mismatch (see ``loops``) from which a loop is certain, and from which it is none. Loops of a webcam clip, encoded for
WebRTC, come to 0.02 to 0.31; live pictures to 0.95 and more."""


class LivenessPool:
    """Derives ``attack``, 0 to 1: how much the last seconds look like a print, a screen or a replayed recording.

    ``reason``: what says most of it, ``network``, ``moire``, ``frame``, ``rigid`` (the background moves with
    the face), ``still`` (lids and lips do not move) or ``replayed_loop``. ``looks``: how many frames
    were weighed. The others are means over them, and the loop's length.
    """

    name = "liveness_pool"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Take in a look at the face, and what ``loops`` derived."""
        parameters = policy.detectors.liveness
        look, at = _look(observation), observation.captured_at
        looks = [known for known in state.get("looks", []) if at - known[0] < parameters.window_s]
        looks = [*looks, [at, *look]][-_MAX_LOOKS:] if look else looks
        enough = len(looks) >= _MIN_LOOKS and looks[-1][0] - looks[0][0] >= parameters.window_s * 2 / 3 - 1e-3
        seen = _seen(looks) if look and enough else None
        pooled = _weighed(seen, observation)
        return ({"looks": looks} if looks else {}), _worse(pooled, _loop(observation))


def _look(observation: Observation) -> list[float] | None:
    """Return evidence, margin, moire and frame of a look that counts."""
    found = observation.measures.get("liveness")
    if not isinstance(found, Mapping) or not found.get("decided"):
        return None
    live = min(1 - 1e-6, max(1e-6, float(found["live"])))
    evidence = max(-_MAX_EVIDENCE, min(_MAX_EVIDENCE, math.log(live / (1 - live))))
    return [round(evidence, 3), *(float(found[name]) for name in ("margin", "moire", "frame"))]


def _seen(looks: list[list[float]]) -> dict[str, float]:
    """Return the means of what the looks found."""
    columns = list(zip(*looks, strict=True))[1:]
    means = (sum(column) / len(looks) for column in columns)
    return {"looks": len(looks)} | dict(zip(("evidence", "margin", "moire", "frame"), means, strict=True))


def _weighed(seen: dict[str, float] | None, observation: Observation) -> dict[str, Any] | None:
    """Weigh what was seen with what moves and what does not; each may be missing."""
    rigidity, still_s = _derived(observation, "rigidity"), _derived(observation, "still_s", learner="stillness")
    if seen is None and rigidity is None:
        return None
    seen = seen or {"looks": 0, "evidence": _UNSEEN, "margin": 0.0, "moire": 0.0, "frame": 0.0}
    rigid = _RIGID_WEIGHT * _share(rigidity, _RIGID_FROM, _RIGID_TO)
    stays = _STAYS_WEIGHT * _share(rigidity, _STAYS_FROM, _STAYS_TO)
    still = _STILL_WEIGHT * _share(still_s, _STILL_FROM_S, _STILL_TO_S)
    answered = _ANSWERED_WEIGHT * _has_answered(observation)
    against = {
        "network": -seen["margin"],
        "moire": (seen["moire"] - 1.3) * 20,
        "frame": (seen["frame"] - 0.75) * 40,
        "rigid": rigid,
        "still": still,
    }
    return {
        "attack": round(1 / (1 + math.exp(_CALIBRATION * (seen["evidence"] + stays + answered - rigid - still))), 4),
        "reason": max(against, key=lambda name: against[name]),
        "looks": seen["looks"],
        "margin": round(seen["margin"], 2),
        "moire": round(seen["moire"], 3),
        "frame": round(seen["frame"], 3),
        "rigidity": rigidity,
        "still_s": still_s,
    }


def _derived(observation: Observation, key: str, *, learner: str = "") -> float | None:
    found = observation.measures.get(learner or key)
    return float(found[key]) if isinstance(found, Mapping) else None


def _has_answered(observation: Observation) -> bool:
    """Return whether the challenge at check-in was passed, a turn of the head in it, and just now."""
    challenge = observation.measures.get("challenge")
    answered_at = challenge.get("answered_at") if isinstance(challenge, Mapping) else None
    return answered_at is not None and 0 <= observation.captured_at - float(answered_at) <= _ANSWERED_S


def _share(value: float | None, low: float, high: float) -> float:
    """Return how far a value has come from ``low`` to ``high``, which may lie below it, 0 to 1."""
    return 0.0 if value is None else min(1.0, max(0.0, (value - low) / (high - low)))


def _loop(observation: Observation) -> dict[str, Any] | None:
    loops = observation.measures.get("loops")
    if not isinstance(loops, Mapping) or loops.get("mismatch") is None:
        return None
    share = (_NO_LOOP - loops["mismatch"]) / (_NO_LOOP - _SURE_LOOP)
    attack = round(min(1.0, max(0.0, share)), 4)
    return {"attack": attack, "reason": "replayed_loop", "mismatch": loops["mismatch"], "lag_s": loops["lag_s"]}


def _worse(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the measure that says more; the other's numbers stay in it."""
    if first is None or second is None:
        return first or second
    return first | second if second["attack"] > first["attack"] else second | first
