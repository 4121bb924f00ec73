"""Seal both ends of every audit log. Logs that are there already are sealed as they are."""

from typing import Any

from django.db import migrations, models

from accounts.audit import head_seal
from accounts.keys import SealError
from accounts.own_keys import own_key_bytes


def seal_heads(apps: Any, schema_editor: Any) -> None:
    """Seal each log's ends; leave unsealed, and so told of by ``audit verify``, whose key does not open."""
    keys = apps.get_model("accounts", "OrganisationKey").objects.filter(purpose="audit").order_by("-version")
    for head in apps.get_model("accounts", "AuditHead").objects.all():
        key = keys.filter(organisation_id=head.organisation_id).first()
        try:
            secret = None if key is None else own_key_bytes(key)
        except SealError:
            continue
        if secret is not None:
            head.seal = head_seal(head, key=secret)
            head.save(update_fields=["seal"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_key_rotation")]

    operations = [
        migrations.AddField(
            model_name="audithead",
            name="seal",
            field=models.BinaryField(default=bytes),
        ),
        migrations.RunPython(seal_heads, migrations.RunPython.noop),
    ]
