"""Procfile, Dockerfile and docker-compose.yml against the code they start. No container engine is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection import messages

ROOT = Path(__file__).resolve().parents[2]
QUEUES = {value for name, value in vars(messages).items() if name.startswith("QUEUE_")}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def stages(dockerfile: str) -> dict[str, str]:
    """Return the stages of the Dockerfile by name, each with the stage it starts from."""
    return {name: parent for parent, name in re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)}


def test_the_procfile_starts_every_part_and_serves_every_queue() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert lines.keys() == {"web", "gateway", "worker", "alerts", "beat", "metrics"}
    served = [queue for command in lines.values() for queue in re.findall(r" -Q (\S+)", command)]
    assert sorted(",".join(served).split(",")) == sorted(QUEUES)
    assert all("exec " in command for command in lines.values()), "a shell in between would not pass signals on"


def test_the_dockerfile_has_the_three_targets_and_web_is_the_last(dockerfile: str) -> None:
    names = list(stages(dockerfile))
    assert {"gateway", "worker", "web"} <= set(names)
    assert names[-1] == "web"


def test_no_image_runs_as_root(dockerfile: str) -> None:
    for name in ("gateway", "worker", "web"):
        body = dockerfile.split(f" AS {name}\n")[1].split("\nFROM ")[0]
        users = re.findall(r"^USER (\S+)$", body, re.MULTILINE)
        assert stages(dockerfile)[name] == "app"  # which ends as proctor
        assert users in ([], ["root", "proctor"]), name
    assert re.findall(r"^USER (\S+)$", dockerfile.split(" AS app\n")[1].split("\nFROM ")[0], re.MULTILINE) == [
        "proctor"
    ]


def test_everything_that_is_copied_exists(dockerfile: str) -> None:
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert len(sources) >= 9
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source not in ignored


def test_the_worker_image_serves_every_queue(dockerfile: str) -> None:
    match = re.search(r"QUEUES:-([a-z,]+)", dockerfile)
    assert match is not None
    assert set(match[1].split(",")) == QUEUES


def test_compose_builds_only_targets_that_exist(compose: dict[str, Any], dockerfile: str) -> None:
    targets = {name: service["build"]["target"] for name, service in compose["services"].items() if "build" in service}
    assert {"web", "gateway", "worker"} <= set(targets.values())
    assert set(targets.values()) <= stages(dockerfile).keys()


def test_compose_serves_every_queue_once(compose: dict[str, Any]) -> None:
    served = [s["environment"]["QUEUES"] for s in compose["services"].values() if "QUEUES" in s.get("environment", {})]
    assert sorted(",".join(served).split(",")) == sorted(QUEUES)


def test_compose_waits_for_services_that_are_there_and_checked(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waits = [
        (name, other, how["condition"])
        for name, s in services.items()
        for other, how in s.get("depends_on", {}).items()
    ]
    assert len(waits) >= 10
    for name, other, condition in waits:
        assert other in services, f"{name} waits for {other}"
        assert condition != "service_healthy" or "test" in services[other]["healthcheck"], other


def test_every_lasting_service_says_how_its_health_is_told(compose: dict[str, Any]) -> None:
    lasting = {name: service for name, service in compose["services"].items() if service.get("restart") != "no"}
    assert len(lasting) >= 8
    assert all("healthcheck" in service for service in lasting.values())


def test_every_volume_is_declared(compose: dict[str, Any]) -> None:
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])}
    assert used == compose["volumes"].keys()
