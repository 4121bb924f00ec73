"""The admin's form of a subscription: the same checks as the API's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.keys import SealError
from accounts.problems import Problem
from alerts.models import Subscription
from alerts.subscriptions import EVENT_TYPES, OVERLAP, address_check, secret_choose, secret_open, secret_replace
from enrollment.models import EXTERNAL_ID


class SubscriptionForm(forms.ModelForm):  # type: ignore[type-arg]
    """A subscription's fields; the secret can be set, never seen."""

    url = forms.CharField(
        label="Address",
        max_length=2000,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="https://… for a webhook, grpcs://host:port for gRPC; by Kafka a topic, empty: the deployment's.",
    )
    event_types = forms.MultipleChoiceField(
        choices=[(name, name) for name in EVENT_TYPES],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None: all.",
    )
    new_secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(render_value=False),
        help_text="whsec_ and the base64 of 24 to 64 bytes, or an ed25519 key: whsk_ and the base64 of its 32 bytes. "
        "Empty: a new one is generated, or the present one is kept.",
    )

    keep_old_secret = forms.BooleanField(
        label="Keep the old secret for a day",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text="With a new secret: alerts are signed with both meanwhile. Without, the old one is void at once.",
    )

    class Meta:
        model = Subscription
        fields = [
            "organisation", "transport", "url", "event_types", "exam_ids", "ordered", "concurrency", "rate_per_s",
            "enabled",
        ]  # fmt: skip
        widgets = {"exam_ids": UnfoldAdminTextInputWidget}
        labels = {"exam_ids": "Exams", "rate_per_s": "Most a second"}
        help_texts = {"exam_ids": "Separated by commas. None: all."}

    def clean_exam_ids(self) -> list[str]:
        exam_ids: list[str] = self.cleaned_data["exam_ids"] or []
        for exam_id in exam_ids:
            EXTERNAL_ID(exam_id)
        return exam_ids

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        transport = given.get("transport") or self.instance.transport
        if transport:
            if "url" in given:
                self._check("url", partial(address_check, transport, given["url"]))
            if given.get("new_secret"):
                self._check("new_secret", partial(secret_choose, transport, given["new_secret"]))
        if given.get("new_secret") and self._keeps_old():
            try:
                secret_open(self.instance)
            except SealError:
                self.add_error("keep_old_secret", "The old secret cannot be opened any more, and so not be kept.")
        return given

    def _keeps_old(self) -> bool:
        return bool(self.cleaned_data.get("keep_old_secret")) and bool(self.instance.sealed_secret)

    def _check(self, field: str, check: Callable[[], object]) -> None:
        """Show beside the field what the check finds wrong."""
        try:
            check()
        except Problem as problem:
            self.add_error(field, problem.detail)

    def sealed(self, subscription: Subscription) -> Subscription:
        """Return the row with its secret: the given one, a generated one if it is new, else the one it has."""
        secret = self.cleaned_data["new_secret"]
        if not secret and not subscription.sealed_secret and (secret := secret_choose(subscription.transport, None)):
            subscription.generated_secret = secret  # type: ignore[attr-defined]
        if secret:
            secret_replace(subscription, secret, overlap=OVERLAP if self._keeps_old() else None)
        if subscription.enabled:
            subscription.disabled_reason = ""
        return subscription
