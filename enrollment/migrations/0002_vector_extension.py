"""Switch pgvector on. Needs a superuser unless the operator has created the extension already (docs/operations.md)."""

from django.db import migrations
from pgvector.django import VectorExtension


class Migration(migrations.Migration):
    dependencies = [("enrollment", "0001_initial")]
    operations = [VectorExtension()]
