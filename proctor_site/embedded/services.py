"""Start the embedded services that the environment leaves open, and stop them together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from proctor_site.embedded.kafka import Kafka
from proctor_site.embedded.postgres import Postgres
from proctor_site.embedded.run_directory import RunDirectory
from proctor_site.embedded.secrets import load_secrets
from proctor_site.embedded.valkey import Valkey

GENERATED = ("SECRET_KEY", "JOIN_TOKEN_KEY", "KEY_ENCRYPTION_KEYS")


class Services:
    """The services of one run. As a context manager it starts them, and stops them however the block ends.

    ``given`` is the environment as the operator set it: what it already names is neither started nor generated.
    The lock of ``run`` must be held. ``durable`` False trades safety after a power cut for speed, for tests. Kafka is
    started only where ``kafka`` asks for it: the product runs without.
    """

    def __init__(
        self,
        run: RunDirectory,
        *,
        secrets_file: Path,
        given: Mapping[str, str],
        durable: bool = True,
        kafka: bool = False,
    ) -> None:
        self._run = run
        self._given = given
        self._secrets = load_secrets(secrets_file)
        self._durable = durable
        self._kafka = kafka
        self._running: list[Postgres | Valkey | Kafka] = []
        self.environment: dict[str, str] = {}

    def start(self) -> dict[str, str]:
        """Stop leftovers, start what is missing, and return the variables to add to a program's environment."""
        self._run.stop_leftovers()
        try:
            self.environment = {name: self._secrets[name] for name in GENERATED if not self._is_given(name)}
            if not self._is_given("DATABASE_URL"):
                password = self._secrets["EMBEDDED_POSTGRES_PASSWORD"]
                self.environment["DATABASE_URL"] = self._start(
                    Postgres(self._run, password=password, durable=self._durable)
                )
            if not self._is_given("REDIS_URL"):
                password = self._secrets["EMBEDDED_VALKEY_PASSWORD"]
                self.environment["REDIS_URL"] = self._start(Valkey(self._run, password=password))
            if self._kafka and not self._is_given("KAFKA_BOOTSTRAP_SERVERS"):
                self.environment["KAFKA_BOOTSTRAP_SERVERS"] = self._start(Kafka(self._run))
        except BaseException:
            self.stop()
            raise
        return self.environment

    def stop(self) -> None:
        """Stop what was started, the last first."""
        while self._running:
            self._running.pop().stop()

    def failure(self) -> str | None:
        """Return why a service no longer runs, or None while all do."""
        return next((message for service in self._running if (message := service.failure())), None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, service: Postgres | Valkey | Kafka) -> str:
        self._running.append(service)  # before the start: one that fails half way is stopped as well
        return service.start()

    def _is_given(self, name: str) -> bool:
        return bool(self._given.get(name) or self._given.get(f"{name}_FILE"))
