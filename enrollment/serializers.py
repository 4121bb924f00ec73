"""The shapes of requests and answers about candidates."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.core.validators import RegexValidator
from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.problems import Problem
from enrollment.consents import ConsentGiven
from enrollment.models import EXTERNAL_ID

MAX_IMAGES: Final = 5
_VERSION: Final = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9 ._:/+-]{0,63}\Z", "1 to 64 letters, digits and . _ : / + -")
_LOCALE: Final = RegexValidator(r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,3}\Z", "a language tag such as en or de-AT")


class ExternalIdField(serializers.CharField):
    """An id that the platform chose."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=128, validators=[EXTERNAL_ID], trim_whitespace=False, **kwargs)


@extend_schema_field(OpenApiTypes.BYTE)
class ImageField(serializers.Field[bytes, Any, Any, Any]):
    """A picture: an uploaded file, or base64 in JSON (a ``data:`` URL will do). Becomes bytes."""

    default_error_messages = {"base64": "Not base64.", "file": "Send a file, or base64 in JSON.", "empty": "Empty."}

    def to_internal_value(self, data: Any) -> bytes:
        if isinstance(data, UploadedFile):
            content = bytes(data.read())
        elif isinstance(data, str):
            content = self._decode(data)
        else:
            self.fail("file")
        if not content:
            self.fail("empty")
        return content

    def _decode(self, text: str) -> bytes:
        encoded = text.partition(",")[2] if text.startswith("data:") else text
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            self.fail("base64")

    def to_representation(self, value: Any) -> Any:
        raise NotImplementedError("Pictures are never sent back.")


@extend_schema_field(OpenApiTypes.BINARY)
class ImageFileField(serializers.FileField):
    """The same picture as the OpenAPI document shows it for forms."""


class ConsentSerializer(serializers.Serializer[Any]):
    """What the candidate agreed to."""

    version = serializers.CharField(validators=[_VERSION], help_text="Which text was agreed to.")
    given_at = serializers.DateTimeField(help_text="When; not in the future.")
    locale = serializers.CharField(max_length=35, validators=[_LOCALE], help_text="In which language it was shown.")


class PicturesSerializer(serializers.Serializer[Any]):
    """Consent and pictures, as the candidate page sends them."""

    images = serializers.ListField(
        child=ImageField(), min_length=1, max_length=MAX_IMAGES, help_text="One to five pictures of the same face."
    )


class EnrollSerializer(PicturesSerializer):
    """An enrolment. Consent is read by ``consent_read``, because its faults have a code of their own."""

    candidate_id = ExternalIdField()


class VerifySerializer(serializers.Serializer[Any]):
    """One picture to compare with a candidate's template."""

    candidate_id = ExternalIdField()
    image = ImageField()


def consent_read(data: Any) -> ConsentGiven:
    """Read consent out of a body: an object, JSON in a form field, or form fields ``consent.version`` and so on.

    Raises ``Problem`` (``consent_invalid``) when it is missing or malformed.
    """
    serializer = ConsentSerializer(data=_consent_of(data))
    if not serializer.is_valid():
        errors = {f"consent.{name}": [str(text) for text in texts] for name, texts in serializer.errors.items()}
        raise Problem("consent_invalid", "Consent is missing or incomplete.", errors=errors)
    return ConsentGiven(**serializer.validated_data)


Body = TypeVar("Body", bound=PicturesSerializer)


def enrollment_read(kind: type[Body], data: Any) -> tuple[ConsentGiven, dict[str, Any]]:
    """Read consent and the other fields of an enrolment's body.

    Raises ``Problem`` (``consent_invalid``) when consent alone is at fault, otherwise ``ValidationError`` with all
    that is wrong, consent included.
    """
    body = kind(data=data)
    errors = {} if body.is_valid() else dict(body.errors)
    try:
        consent = consent_read(data)
    except Problem as problem:
        if not errors:
            raise
        raise serializers.ValidationError(
            errors | problem.members.get("errors", {"consent": [problem.detail]})
        ) from problem
    if errors:
        raise serializers.ValidationError(errors)
    return consent, body.validated_data


def _consent_of(data: Any) -> Any:
    if isinstance(data, QueryDict):
        return _consent_of_form(data)
    found = data.get("consent") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _consent_of_form(form: QueryDict) -> Any:
    whole = form.get("consent")
    if whole is None:
        return {name: form[f"consent.{name}"] for name in ConsentSerializer().fields if f"consent.{name}" in form}
    try:
        found = json.loads(whole)
    except ValueError:
        raise Problem("consent_invalid", "The form field consent is not JSON.") from None
    return found if isinstance(found, dict) else {}


# --- For the OpenAPI document: the bodies as a whole ------------------------------------------------------------------
class EnrollJSON(EnrollSerializer):
    """An enrolment with pictures as base64."""

    consent = ConsentSerializer()


class EnrollForm(serializers.Serializer[Any]):
    """An enrolment as a form with files."""

    candidate_id = ExternalIdField()
    images = serializers.ListField(child=ImageFileField(), min_length=1, max_length=MAX_IMAGES)
    consent = ConsentSerializer(help_text="As JSON in one field, or as fields consent.version and so on.")


class VerifyForm(serializers.Serializer[Any]):
    """A comparison as a form with a file."""

    candidate_id = ExternalIdField()
    image = ImageFileField()


class JoinEnrollJSON(PicturesSerializer):
    """An enrolment from the candidate page."""

    consent = ConsentSerializer()


# --- Answers ----------------------------------------------------------------------------------------------------------
class QualitySerializer(serializers.Serializer[Any]):
    """How well the face in a picture can be judged."""

    width_px = serializers.FloatField(help_text="Width of the face in pixels of the picture.")
    sharpness = serializers.FloatField(help_text="0 is a flat blur, 0.02 and more a sharp face.")
    brightness = serializers.FloatField(help_text="Mean grey value of the face, 0 to 255.")
    contrast = serializers.FloatField(help_text="Standard deviation of the face's grey values.")
    yaw_deg = serializers.FloatField(help_text="Positive: nose to the right of the picture.")
    pitch_deg = serializers.FloatField(help_text="Positive: up.")
    clarity = serializers.FloatField(
        required=False, help_text="How much of its likeness the face has kept, 0 to 1; from 0.7 on it is clear."
    )


class EnrolledSerializer(serializers.Serializer[Any]):
    """An enrolment that was made."""

    candidate_id = serializers.CharField(source="enrollment.candidate.candidate_id")
    enrolled_at = serializers.DateTimeField(source="enrollment.created_at")
    replaced = serializers.BooleanField(help_text="There was a template before; this one took its place.")
    model = serializers.CharField()
    images = QualitySerializer(many=True, source="enrollment.images")


DECISIONS_TOLD: Final = ("open", "same")
"""What is told of a suspicion; one that a person has found wrong is not told at all."""


class DuplicateSerializer(serializers.Serializer[Any]):
    """Another candidate whose face is alike: for a person to look at, and no verdict."""

    candidate_id = serializers.CharField(help_text="Of the other candidate.")
    similarity = serializers.FloatField(min_value=0, max_value=1, help_text="Calibrated to 0 to 1.")
    comparison_score = serializers.FloatField(help_text="As the model gives it, -1 to 1.")
    noticed_at = serializers.DateTimeField()
    decision = serializers.ChoiceField(
        choices=DECISIONS_TOLD, help_text="What a person decided: nothing yet, or that both are one person."
    )


class PlatformEnrolledSerializer(EnrolledSerializer):
    """An enrolment that was made, as the platform is told; the candidate's page is not told of duplicates."""

    duplicates = DuplicateSerializer(
        many=True, help_text="Whose faces are alike; empty where the organisation does not search."
    )


class EnrollmentSerializer(serializers.Serializer[Any]):
    """What is known of a candidate's enrolment: never the embedding."""

    candidate_id = serializers.CharField(source="candidate.candidate_id")
    enrolled_at = serializers.DateTimeField(source="created_at")
    model = serializers.CharField()
    consent = ConsentSerializer(source="enrollment.consent")
    images = QualitySerializer(many=True, source="enrollment.images")
    duplicates = DuplicateSerializer(many=True, help_text="Whose faces are alike, and nobody said they are two people.")


class VerifiedSerializer(serializers.Serializer[Any]):
    """How the picture compares with the template."""

    match = serializers.BooleanField(help_text="The similarity reaches the threshold.")
    similarity = serializers.FloatField(min_value=0, max_value=1, help_text="Calibrated to 0 to 1.")
    comparison_score = serializers.FloatField(help_text="As the model gives it, -1 to 1.")
    threshold = serializers.FloatField(help_text="Of the default policy.")
    model = serializers.CharField()
    quality = QualitySerializer()
