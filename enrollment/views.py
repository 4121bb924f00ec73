"""REST: enrol a candidate, look the enrolment up."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import organisation_of
from accounts.models import Scope
from accounts.schema import problem_responses
from enrollment import serializers
from enrollment.services import duplicates_of, enrollment_find

GATE_CODES = (
    "image_invalid",
    "image_too_large",
    "face_missing",
    "faces_several",
    "face_too_small",
    "face_turned",
    "image_blurred",
    "image_dark",
    "image_bright",
    "workers_unavailable",
    "queue_unavailable",
)
"""What can be wrong with a picture, or with whoever looks at it."""


class EnrollmentView(APIView):
    """One candidate's enrolment."""

    required_scope = Scope.ENROLL

    @extend_schema(
        operation_id="enrollment_read",
        summary="Look up an enrolment",
        description="Tells when and with which quality the candidate enrolled. The template itself never leaves.",
        tags=["candidates"],
        responses={200: serializers.EnrollmentSerializer} | problem_responses("candidate_unknown", "not_enrolled"),
    )
    def get(self, request: Request, candidate_id: str) -> Response:
        """Look up an enrolment."""
        template = enrollment_find(organisation=organisation_of(request), candidate_id=candidate_id)
        template.duplicates = duplicates_of(template.candidate)  # type: ignore[attr-defined]
        return Response(serializers.EnrollmentSerializer(template).data)
