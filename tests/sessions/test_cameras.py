"""Cameras that are programs: known by name, and nothing kept of those that are none."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from accounts.models import Organisation
from alerts import why
from alerts.models import Incident
from detection.models import Detection
from sessions.cameras import HANDS_ON, KNOWN, PLAYS, virtual_camera
from tests.factories import make_session
from tests.sessions.test_page_events import queued, tell, work

LABELS = {
    "OBS Virtual Camera": ("OBS Virtual Camera", PLAYS),
    "OBS-Camera2": ("OBS Virtual Camera", PLAYS),
    "Streamlabs Desktop Virtual Webcam": ("Streamlabs Virtual Webcam", PLAYS),
    "ManyCam Virtual Webcam": ("ManyCam", PLAYS),
    "XSplit VCam": ("XSplit", PLAYS),
    "XSplitBroadcaster": ("XSplit", PLAYS),
    "e2eSoft VCam": ("e2eSoft VCam", PLAYS),
    "SplitCam Video Driver": ("SplitCam", PLAYS),
    "mmhmm Camera": ("mmhmm", PLAYS),
    "Dummy video device (0x0000)": ("v4l2loopback", PLAYS),
    "Snap Camera": ("Snap Camera", HANDS_ON),
    "DroidCam Source 3": ("DroidCam", HANDS_ON),
    "Reincubate Camo": ("Camo", HANDS_ON),
    "Iriun Webcam": ("Iriun Webcam", HANDS_ON),
    "Camera (NVIDIA Broadcast)": ("NVIDIA Broadcast", HANDS_ON),
    "fake_device_0": ("Chromium's test camera", HANDS_ON),
    "/home/jane/film.y4m": ("Chromium's test camera", HANDS_ON),
}
REAL = [
    "",
    "FaceTime HD Camera (05ac:8514)",
    "HD Pro Webcam C920 (046d:082d)",
    "Integrated Camera (13d3:5405)",
    "USB2.0 HD UVC WebCam",
    "Jane's iPhone Camera",
    "Obsbot Tiny 4K",
    "Camocam 3000",
    "front camera",
    "VCamera",
]

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("label", LABELS)
def test_programs_are_known_by_their_names(label: str) -> None:
    found = virtual_camera(label)
    assert found is not None
    assert (found.product, found.grade) == LABELS[label]


@pytest.mark.parametrize("label", REAL)
def test_cameras_are_none(label: str) -> None:
    assert virtual_camera(label) is None


def test_products_are_named_once() -> None:
    assert len({known.product for known in KNOWN}) == len(KNOWN) > 20


def test_of_a_label_only_a_known_programs_name_goes_on(organisation: Organisation, redis_client: Redis) -> None:
    session, now = make_session(organisation), time.time()
    tell(session, {"type": "CAMERA", "at": now - 3, "camera": "Jane's private camera"}, now=now)
    tell(session, {"type": "CAMERA", "at": now - 2, "camera": "OBS Virtual Camera of Jane"}, now=now)
    messages = queued(redis_client)
    assert [message["events"][0]["kind"] for message in messages] == ["VIRTUAL_CAMERA"] * 2
    assert [message["events"][0]["ended"] for message in messages] == [True, False]
    assert "Jane" not in str(messages)
    work(redis_client)
    assert "Jane" not in str(list(Detection.objects.values_list("measures", flat=True)))


def test_a_program_is_an_incident_while_it_is_in_use(organisation: Organisation, redis_client: Redis) -> None:
    session, now = make_session(organisation), time.time()
    events = [
        {"type": "CAMERA", "at": now - 60, "camera": "OBS Virtual Camera"},
        {"type": "CAMERA", "at": now - 30, "camera": "HD Webcam C920"},
        {"type": "CAMERA", "at": now - 20, "camera": "DroidCam Source 2"},
        {"type": "CLIPBOARD", "at": now},
    ]
    tell(session, *events, now=now)
    work(redis_client)
    incident = Incident.objects.get(session=session, event_type="VIRTUAL_CAMERA")
    assert (incident.state, incident.model, incident.technical) == ("closed", "exam-page", False)
    assert incident.ended_at is not None
    assert incident.ended_at.timestamp() == pytest.approx(now - 30, abs=1)
    assert incident.measures["decision"]["browser"]["product"] == "OBS Virtual Camera"
    assert "program that can play recordings" in why.sentence(incident)


def test_a_policy_may_ask_for_those_that_hand_on_a_real_picture(
    organisation: Organisation, redis_client: Redis
) -> None:
    rule = {"VIRTUAL_CAMERA": {"enter": 0.5, "exit": 0.5}}
    session, now = make_session(organisation, overrides={"rules": rule}), time.time()
    camera = {"type": "CAMERA", "at": now - 60, "camera": "Iriun Webcam"}
    tell(session, camera, {"type": "CLIPBOARD", "at": now}, now=now)
    work(redis_client)
    assert Incident.objects.get(session=session, event_type="VIRTUAL_CAMERA").peak_value == 0.5


@pytest.mark.parametrize("kind", ["VIRTUAL_CAMERA", "CHALLENGE"])
def test_a_page_cannot_say_what_is_for_the_server_to_say(organisation: Organisation, kind: str) -> None:
    response = tell(make_session(organisation), {"type": kind, "at": time.time()})
    assert (response.status_code, response.json()["code"]) == (422, "event_type_unknown")


@pytest.mark.parametrize("more", [{}, {"step": 0}, {"challenge_id": "no", "step": 0}, {"step": -1}])
def test_a_step_needs_its_challenge(organisation: Organisation, more: dict[str, object]) -> None:
    response = tell(make_session(organisation), {"type": "CHALLENGE_STEP", "at": time.time(), **more})
    assert (response.status_code, response.json()["code"]) == (400, "request_invalid")
