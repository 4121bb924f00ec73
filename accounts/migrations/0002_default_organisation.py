"""Make the organisation that a small user never notices."""

from django.db import migrations


def make_default_organisation(apps, schema_editor):
    organisation = apps.get_model("accounts", "Organisation")
    organisation.objects.get_or_create(slug="default", defaults={"id": 1, "name": "Default"})
    # The row above was given its number, so the table's own counter must start behind it.
    schema_editor.execute("SELECT setval(pg_get_serial_sequence('accounts_organisation', 'id'), 1)")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(make_default_organisation, migrations.RunPython.noop)]
