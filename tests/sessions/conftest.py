"""A client with a key, and a worker for enrolling on joining."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from accounts.models import Organisation
from tests.embedding_worker import embedding_worker, photographs
from tests.factories import make_api_key, make_organisation

__all__ = ["embedding_worker", "photographs"]


@pytest.fixture
def organisation(db: None) -> Organisation:
    return make_organisation()


@pytest.fixture
def client(organisation: Organisation) -> APIClient:
    """Return a client that holds a key with every scope."""
    _, raw = make_api_key(organisation)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")


def joining(token: str) -> APIClient:
    """Return a client that holds a join token."""
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
