"""``manage.py models``."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from detection.engine.detectors import DETECTORS


def test_bench_prints_what_each_network_costs(weights_dir: object) -> None:
    out = StringIO()
    call_command("models", "bench", "--runs", "2", stdout=out)
    lines = {line["model"]: line for line in map(json.loads, out.getvalue().splitlines())}
    weights = {reference for name, entry in DETECTORS.items() if not entry.is_optional for reference in entry.weights}
    assert weights <= set(lines)
    for line in lines.values():
        assert line["provider"]
        assert 0 < line["ms_median"] <= line["ms_p95"]
    assert lines["yunet-2023mar"]["runs_per_sample"] == 1
    assert lines["efficientdet-lite2"]["runs_per_sample"] == 0.5  # each four seconds: of two frames at the first


def test_list_and_verify_do_as_the_engines_own_command(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("models", "list", "--group", "default")
    assert "yunet-2023mar" in capsys.readouterr().out
    call_command("models", "verify", "yunet-2023mar")
    assert "1 files verified" in capsys.readouterr().out


def test_what_fails_is_a_command_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError):
        call_command("models", "verify", "nothing")
    with pytest.raises(CommandError, match="convert failed"):
        call_command("models", "convert", "sface-2021dec")
    monkeypatch.setenv("DETECTOR_MODELS", "identity=nothing")
    with pytest.raises(CommandError, match="neither"):
        call_command("models", "bench")
    with pytest.raises(CommandError, match="runs"):
        call_command("models", "bench", "--runs", "0")
    monkeypatch.setenv("MODEL_DEVICE", "abacus")
    with pytest.raises(CommandError, match="MODEL_DEVICE must be one of cpu, cuda, not 'abacus'"):
        call_command("models", "bench")
