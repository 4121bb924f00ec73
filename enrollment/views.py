"""REST: enrol a candidate, look the enrolment up."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor
from accounts.auth import organisation_of
from accounts.limits import PictureLimit
from accounts.models import Scope
from accounts.problems import Problem
from accounts.schema import problem_responses
from enrollment import serializers
from enrollment.requests import PARSERS, images_require_small
from enrollment.services import DuplicateRefusedError, candidate_enroll, duplicates_of, enrollment_find

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


class EnrollView(APIView):
    """Enrol."""

    required_scope = Scope.ENROLL
    parser_classes = PARSERS
    throttle_classes = [PictureLimit]

    @extend_schema(
        operation_id="enroll",
        summary="Enrol a candidate",
        description="Makes the candidate's template of one to five pictures of the same face. A second enrolment "
        "replaces the template, and `replaced` says so. Consent is checked before any picture is looked at; the "
        "pictures are not kept. What is wrong with a picture is said by `code`, `image` (its position), `measured` "
        "and `threshold`; `problems` lists everything that is wrong with any of them. Where the organisation searches "
        "for duplicates, `duplicates` names the candidates whose faces are alike: in the answer, or in the problem "
        "`duplicate_suspected` where it refuses them until a person has decided.",
        tags=["candidates"],
        request={"multipart/form-data": serializers.EnrollForm, "application/json": serializers.EnrollJSON},
        responses={201: serializers.PlatformEnrolledSerializer}
        | problem_responses(
            "consent_invalid", "faces_differ", "duplicate_suspected", "erasure_running", *GATE_CODES, body=True
        ),
    )
    def post(self, request: Request) -> Response:
        """Enrol a candidate."""
        consent, body = serializers.enrollment_read(serializers.EnrollSerializer, request.data)
        images_require_small(body["images"])
        try:
            enrolled = candidate_enroll(
                organisation=organisation_of(request), consent=consent, actor=Actor.of_request(request), **body
            )
        except DuplicateRefusedError as refused:
            shown = serializers.DuplicateSerializer(refused.duplicates, many=True).data
            raise Problem(refused.code, refused.detail, duplicates=shown) from None
        return Response(serializers.PlatformEnrolledSerializer(enrolled).data, status=201)


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
