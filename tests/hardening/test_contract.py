"""Requests made up from the OpenAPI document, right and wrong ones: every answer is one the document promises.

``--contract-cases`` says how many there are per operation and kind; the same number gives the same requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import hypothesis
import pytest
from django.core import signals
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, seed
from schemathesis import GenerationMode
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.generation.stateful.state_machine import APIStateMachine

from tests.alerts.receiver import Receiver, running
from tests.hardening import contract
from tests.hardening.world import World, make_world

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(900)]

SEED = 20_26
ALWAYS_THE_SAME = frozenset({"GET /api/v1/schemas/notice-1.0.json"})
"""Operations of which nothing can be got wrong."""
BY_JOIN_TOKEN = ("/challenge", "/session/{session_id}/enroll")
STEPS = 8
OPERATIONS = sorted(
    f"{method.upper()} {path}"
    for path, methods in contract.document()["paths"].items()
    for method in methods
    if method in ("get", "post", "put", "patch", "delete")
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as made:
        yield made


@pytest.fixture
def world(settings: Any, receiver: Receiver, evidence_dir: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return one of everything, in a transaction that requests do not close; workers never answer."""
    # What is streamed is made in a thread of its own, which does not see the rows of this transaction.
    monkeypatch.setattr("proctor_site.candidate_views.streamed", lambda make: make())
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.ENROLL_TIMEOUT_S = 0.02
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, "1000000/min")
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield make_world(receiver.url())
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


def credentials(world: World, path: str) -> dict[str, str]:
    """Return what most requests to a path carry; wrong ones come from the document too."""
    return {"Authorization": f"Bearer {world.join_token if path.endswith(BY_JOIN_TOKEN) else world.key}"}


def generated(cases: int, **more: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_the_document_has_operations() -> None:
    assert len(OPERATIONS) >= 31


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_documented(
    label: str, mode: GenerationMode, world: World, pytestconfig: pytest.Config
) -> None:
    if mode is GenerationMode.NEGATIVE and label in ALWAYS_THE_SAME:
        pytest.skip("nothing about this request can be wrong")
    method, path = label.split()
    operation = contract.load(world.ids)[path][method]
    sent = 0

    @seed(SEED)
    @generated(pytestconfig.getoption("contract_cases"))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        nonlocal sent
        sent += 1
        with transaction.atomic():
            case.call_and_validate(headers=credentials(world, path), checks=contract.CHECKS)
            transaction.set_rollback(True)

    send()
    assert sent


def test_one_request_after_another(world: World, pytestconfig: pytest.Config) -> None:
    """Follow what answers lead to: what one request made is read, changed, used and removed by the next."""
    calls: list[tuple[str, int]] = []
    somebody = {name: world.ids[name] for name in ("candidate_id", "exam_id")}

    class Walk(contract.load(somebody).as_state_machine()):  # type: ignore[misc]
        """Each walk begins from the same rows."""

        _undone: ClassVar[Any] = None

        def setup(self) -> None:
            super().setup()
            type(self)._undone = transaction.atomic()
            self._undone.__enter__()

        def teardown(self) -> None:
            transaction.set_rollback(True)
            self._undone.__exit__(None, None, None)
            super().teardown()

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": credentials(world, case.operation.path)}

        def validate_response(self, response: Response, case: Case, **kwargs: Any) -> None:
            calls.append((case.operation.label, response.status_code))
            case.validate_response(response, checks=contract.CHECKS)

    assert issubclass(Walk, APIStateMachine)
    walks = pytestconfig.getoption("contract_cases")
    seed(SEED)(Walk).run(settings=generated(walks, stateful_step_count=STEPS))
    assert len(calls) > walks
    found = {label for label, status in calls if status < 300}
    assert len(found) >= 5, sorted(found)
