"""Deliver until delivered: claim what is due, send it, write down what came of it, and try again by the schedule.

``claim`` leases deliveries before anything is sent, so that those of a worker that died come back by themselves; a
``call`` sends them; ``settle`` writes the attempts down; ``pump`` does this for all subscriptions of a process at once.
A worker that is slower than its lease may cause a second try under the same event id; it never undoes what the other
wrote.
"""

from alerts.delivery.claim import LEASE
from alerts.delivery.pump import Pump, drain

__all__ = ["LEASE", "Pump", "drain"]
