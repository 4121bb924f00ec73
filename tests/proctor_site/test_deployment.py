"""Procfile, Dockerfile and docker-compose.yml against the code they start. No container engine is needed."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection import messages

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "proctor_site",
    "accounts",
    "enrollment",
    "sessions",
    "detection",
    "alerts",
    "media_gateway",
    "demo",
    "benchmarks",
    "tests",
)
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
    assert lines.keys() == {"web", "gateway", "worker", "alerts", "stream", "beat", "metrics"}
    served = [queue for command in lines.values() for queue in re.findall(r" -Q (\S+)", command)]
    assert sorted(",".join(served).split(",")) == sorted(QUEUES)
    assert all("exec " in command for command in lines.values()), "a shell in between would not pass signals on"


def test_the_dockerfile_has_the_four_targets_and_web_is_the_last(dockerfile: str) -> None:
    names = list(stages(dockerfile))
    assert {"gateway", "worker", "worker-gpu", "web"} <= set(names)
    assert names[-1] == "web"


def test_no_image_runs_as_root(dockerfile: str) -> None:
    for name in ("gateway", "worker", "worker-gpu", "web"):
        body = dockerfile.split(f" AS {name}\n")[1].split("\nFROM ")[0]
        users = re.findall(r"^USER (\S+)$", body, re.MULTILINE)
        assert stages(dockerfile)[name] == ("worker" if name == "worker-gpu" else "app")  # which end as proctor
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


def test_every_stage_that_is_copied_from_comes_before(dockerfile: str) -> None:
    for stage in set(re.findall(r"^COPY --from=(\S+)", dockerfile, re.MULTILINE)):
        assert f" AS {stage}\n" in dockerfile.split(f"--from={stage} ")[0], stage


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


def pins(path: Path) -> dict[str, str]:
    """Return the pinned packages of a requirements file, by name as the index spells it."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith(("#", "-"))]
    assert all("==" in line for line in lines), f"{path.name} has a package without a pin"
    return {
        name.partition("[")[0].lower().replace("_", "-"): version
        for name, version in (line.split("==") for line in lines)
    }


def test_every_requirement_is_pinned_as_in_the_constraints() -> None:
    constraints = pins(ROOT / "constraints.txt")
    files = [ROOT / f"requirements{suffix}.txt" for suffix in ("", "-embedded", "-transcript", "-dev", "-sbom")]
    required = {name: version for path in files for name, version in pins(path).items()}
    assert len(required) > 50
    assert {name: constraints.get(name) for name in required} == required


def test_every_import_is_of_a_package_that_the_requirements_name() -> None:
    required = {name for path in ROOT.glob("requirements*.txt") for name in pins(path)}
    local = {path.name for path in ROOT.iterdir() if path.is_dir()}
    owners = importlib.metadata.packages_distributions()
    found = {top for package in PACKAGES for path in (ROOT / package).rglob("*.py") for top in top_level_imports(path)}
    foreign = found - set(sys.stdlib_module_names) - local
    assert len(foreign) > 20
    # What is not installed here (requirements-gpu.txt, requirements-reference.txt) is known by its own name.
    unnamed = {top for top in foreign if not {o.lower().replace("_", "-") for o in owners.get(top, [top])} & required}
    assert unnamed == set()


def top_level_imports(path: Path) -> set[str]:
    """Return the first part of every absolute import in a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.add(node.module.split(".")[0])
    return names


def test_no_container_keeps_a_directory_of_the_example_that_only_a_checkout_has(compose: dict[str, Any]) -> None:
    lines = (line.partition("=") for line in (ROOT / ".env.example").read_text().splitlines() if line[:1].isalpha())
    example = {name: value for name, _, value in lines}
    own = {name: service for name, service in compose["services"].items() if service.get("env_file") == ".env"}
    assert len(own) >= 5
    for name, service in own.items():
        environment = example | service["environment"]
        directories = {key: value for key, value in environment.items() if key.endswith("_DIR")}
        if name == "gateway":  # stores nothing but its metrics
            directories = {"PROMETHEUS_MULTIPROC_DIR": environment["PROMETHEUS_MULTIPROC_DIR"]}
        assert directories
        assert all(Path(value).is_absolute() for value in directories.values()), (name, directories)
