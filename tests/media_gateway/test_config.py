"""The gateway's settings come from the environment, and a bad one is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from media_gateway.config import ConfigError, IceServer, load, read_env_file

NEEDED = {"REDIS_URL": "redis://127.0.0.1/0", "JOIN_TOKEN_KEY": "k" * 32}


def test_two_settings_are_enough() -> None:
    config = load(NEEDED)
    assert (config.host, config.port, config.max_peers) == ("0.0.0.0", 8001, 100)
    assert config.gateway_id
    assert config.gateway_id != load(NEEDED).gateway_id
    assert config.threads >= 2
    assert config.ice_servers == ()


def test_empty_means_not_set() -> None:
    assert load(NEEDED | {"GATEWAY_PORT": " ", "ICE_SERVERS": "", "GATEWAY_ALLOWED_ORIGINS": ""}).port == 8001


def test_every_setting_is_read() -> None:
    turn = '{"urls": ["turn:b", "turns:c"], "username": "u", "credential": "p"}'
    config = load(
        NEEDED
        | {
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": "9001",
            "GATEWAY_ID": "gate",
            "ICE_SERVERS": f'[{{"urls": "stun:a:1"}}, {turn}]',
            "GATEWAY_ICE_ADDRESSES": "127.0.0.1, ::1",
            "GATEWAY_ALLOWED_ORIGINS": "https://a.example/,https://b.example",
            "GATEWAY_MAX_PEERS": "5",
            "GATEWAY_CONNECT_TIMEOUT_S": "1.5",
            "GATEWAY_GRACE_S": "2.5",
            "GATEWAY_MEDIA_TIMEOUT_S": "3.5",
            "GATEWAY_QUEUE_LIMIT": "6",
            "GATEWAY_THREADS": "7",
            "LOG_LEVEL": "debug",
        }
    )
    assert (config.host, config.port, config.gateway_id) == ("127.0.0.1", 9001, "gate")
    assert config.ice_servers == (IceServer(("stun:a:1",)), IceServer(("turn:b", "turns:c"), "u", "p"))
    assert config.ice_addresses == ("127.0.0.1", "::1")
    assert config.allowed_origins == ("https://a.example", "https://b.example")
    assert (config.max_peers, config.queue_limit, config.threads) == (5, 6, 7)
    assert (config.connect_timeout_s, config.grace_s, config.media_timeout_s) == (1.5, 2.5, 3.5)
    assert config.log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "80001"),
        ("GATEWAY_PORT", "http"),
        ("GATEWAY_MAX_PEERS", "0"),
        ("GATEWAY_GRACE_S", "-1"),
        ("GATEWAY_GRACE_S", "nan"),
        ("GATEWAY_MEDIA_TIMEOUT_S", "inf"),
        ("GATEWAY_ICE_ADDRESSES", "localhost"),
        ("ICE_SERVERS", "stun:a"),
        ("ICE_SERVERS", '{"urls": "stun:a"}'),
        ("ICE_SERVERS", '[{"url": "stun:a"}]'),
        ("ICE_SERVERS", '["stun:a"]'),
        ("ICE_SERVERS", '[{"urls": "http://a"}]'),
        ("ICE_SERVERS", '[{"urls": "stun:a?transport=udp"}]'),
        ("ICE_SERVERS", '[{"urls": ["turn:a:port"]}]'),
        ("ICE_SERVERS", '[{"urls": [7]}]'),
        ("LOG_LEVEL", "loud"),
        ("METRICS_ALLOWED_NETWORKS", "10.0.0.300/8"),
        ("REDIS_URL", "http://a"),
        ("REDIS_URL", ""),
        ("JOIN_TOKEN_KEY", ""),
        ("JOIN_TOKEN_KEY", "short"),
        ("JOIN_TOKEN_KEY_FILE", "/no/such/file"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(NEEDED | {name: value})


def test_secrets_can_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("f" * 40 + "\n")
    config = load({"REDIS_URL": "redis://a", "JOIN_TOKEN_KEY_FILE": str(file)})
    assert config.join_token_key == "f" * 40


@pytest.mark.parametrize(
    ("public_url", "origins"),
    [
        ("https://proctor.example/x/", ("https://proctor.example",)),
        ("http://localhost:8000", ("http://localhost:8000", "http://127.0.0.1:8000")),
        ("", ("http://localhost:8000", "http://127.0.0.1:8000")),
    ],
)
def test_the_web_side_may_publish(public_url: str, origins: tuple[str, ...]) -> None:
    assert load(NEEDED | {"PUBLIC_URL": public_url}).allowed_origins == origins


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text('# a comment\nSD_TEST_A=from file\nSD_TEST_B="quoted value"\n')
    monkeypatch.setenv("SD_TEST_A", "from environment")
    monkeypatch.delenv("SD_TEST_B", raising=False)
    read_env_file(file)
    assert os.environ["SD_TEST_A"] == "from environment"
    assert os.environ["SD_TEST_B"] == "quoted value"
    monkeypatch.delenv("SD_TEST_B")
    read_env_file(tmp_path / "none")
