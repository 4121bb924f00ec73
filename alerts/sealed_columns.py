"""What this app keeps sealed under a key-encryption key."""

from accounts.sealed import SealedColumn, register
from alerts.models import Subscription
from alerts.subscriptions import PURPOSE, PURPOSE_PREVIOUS

register(SealedColumn(Subscription, "sealed_secret", PURPOSE))
register(SealedColumn(Subscription, "sealed_previous_secret", PURPOSE_PREVIOUS))
