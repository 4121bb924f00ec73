"""Fixtures of the gateway's tests: a Valkey that can be stopped, gateways, and what a worker would read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from media_gateway.config import load
from media_gateway.gateway import Gateway
from tests.media_gateway.world import GatewayUnderTest, Inbox, OwnValkey, StartGateway, settings


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def inbox(valkey: OwnValkey) -> Inbox:
    return Inbox(valkey.client())


@pytest_asyncio.fixture
async def start_gateway(valkey: OwnValkey) -> AsyncIterator[StartGateway]:
    """Yield a function that starts a gateway with settings of its own."""
    running: list[Gateway] = []

    async def start(**changes: str) -> GatewayUnderTest:
        gateway = Gateway(load(settings(valkey, **changes)))
        running.append(gateway)
        await gateway.start()
        return GatewayUnderTest(gateway)

    yield start
    for gateway in running:
        assert not gateway.failure.done(), gateway.failure.exception()
        await gateway.stop()


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway) -> GatewayUnderTest:
    return await start_gateway()
