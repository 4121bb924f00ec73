"""Switch pgvector on. Needs a superuser unless the operator has created the extension already (docs/operations.md)."""

from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, migrations
from pgvector.django import VectorExtension


class RequiredVectorExtension(VectorExtension):
    """Says what to do where the extension cannot be created, instead of showing a traceback."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        except DatabaseError as error:
            name = schema_editor.connection.settings_dict["NAME"]
            reason = str(error).strip().partition("\n")[0]
            raise CommandError(
                f"The extension vector cannot be created in the database {name}: {reason}. Install pgvector where "
                f"PostgreSQL runs, then as a superuser: psql -d {name} -c 'CREATE EXTENSION vector'"
            ) from error


class Migration(migrations.Migration):
    dependencies = [("enrollment", "0001_initial")]
    operations = [RequiredVectorExtension()]
