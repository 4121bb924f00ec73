"""A candidate's own exceptions to the policies of exams, as a part of a policy document."""

from __future__ import annotations

from typing import Any

from detection.engine.policy import DEFAULT_POLICY, Policy, merge


def accommodations_check(fragment: Any) -> None:
    """Raise ``PolicyError`` naming each field of ``fragment`` that no policy has, or that has no value of its kind.

    It is laid over the default policy for that. Whether it fits an exam's own is seen when a session starts.
    """
    Policy.from_dict(merge(DEFAULT_POLICY.to_dict(), fragment))
