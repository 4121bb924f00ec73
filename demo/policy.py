"""The demo's own policy: the default one, less what moving photographs would rightly trigger.

``python -m demo.policy`` makes it, in the database that the environment names.
"""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proctor_site.settings")
django.setup()  # models can be imported only after this

from django.db import transaction  # noqa: E402

from accounts.models import Organisation  # noqa: E402
from demo import settings  # noqa: E402
from detection.engine.policy import merge  # noqa: E402
from sessions.models import Exam, Policy  # noqa: E402
from sessions.policies import policy_default  # noqa: E402


@transaction.atomic
def make_policy() -> None:
    """Give the demo's exam the policy ``Demo``, as the default policy is now but for the rules that are left out."""
    organisation = Organisation.objects.get(slug="default")
    document = merge(policy_default(organisation=organisation).document, settings.policy_overrides())
    policy, _ = Policy.objects.get_or_create(
        organisation=organisation, name=settings.POLICY, defaults={"document": document}
    )
    policy.document = document
    policy.save()
    Exam.objects.update_or_create(
        organisation=organisation, exam_id=settings.EXAM_ID, defaults={"policy": policy, "name": "Scripted exam"}
    )


if __name__ == "__main__":
    make_policy()
