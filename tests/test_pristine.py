"""The database after a test that commits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection

from accounts.audit import SYSTEM, audit_write
from accounts.models import Organisation
from detection import partitions
from tests.factories import make_organisation, make_session
from tests.pristine import MANY_ROWS, Pristine

pytestmark = pytest.mark.django_db(transaction=True)


def commit_much() -> None:
    """Add, change and delete rows, among them those that no statement of the product may change or delete."""
    make_session()
    audit_write(organisation=make_organisation(), actor=SYSTEM, action="tested", subject_type="session")
    Organisation.objects.filter(slug="default").update(name="Renamed")
    Permission.objects.filter(codename="view_examsession").delete()
    Group.objects.bulk_create(Group(name=f"group {number}") for number in range(MANY_ROWS + 1))


@pytest.mark.parametrize("is_superuser", [True, False])
def test_it_is_as_migrations_left_it(is_superuser: bool) -> None:
    pristine = Pristine.take()
    assert Organisation.objects.filter(slug="default").exists()
    commit_much()
    assert Pristine.take() != pristine
    replace(pristine, is_superuser=is_superuser).restore()
    assert Pristine.take() == pristine


def test_a_partition_that_was_dropped_is_there_again_and_a_new_one_is_gone() -> None:
    pristine = Pristine.take()
    dropped = max(pristine.partitions - {partitions.DEFAULT_PARTITION})
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {dropped}")
    partitions.ensure_partitions(now=datetime(2031, 1, 1, tzinfo=UTC))
    assert partitions.partition_name(datetime(2031, 1, 1, tzinfo=UTC)) in Pristine.take().partitions
    pristine.restore()
    assert Pristine.take() == pristine
