"""REST: enrol a candidate, compare a picture with a template.

They are here and not with enrolment because the similarity that makes two faces one person's is the policy's.
"""

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
from enrollment.services import DuplicateRefusedError, candidate_enroll, candidate_verify
from enrollment.views import GATE_CODES
from sessions.policies import default_match_threshold


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
        "pictures are not kept. How alike several pictures must be says the default policy. What is wrong with a "
        "picture is said by `code`, `image` (its position), `measured` and `threshold`; "
        "`problems` lists everything that is wrong with any of them. Where the organisation searches "
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
        organisation = organisation_of(request)
        threshold = default_match_threshold(organisation=organisation)
        try:
            enrolled = candidate_enroll(
                organisation=organisation,
                consent=consent,
                actor=Actor.of_request(request),
                threshold=threshold,
                **body,
            )
        except DuplicateRefusedError as refused:
            shown = serializers.DuplicateSerializer(refused.duplicates, many=True).data
            raise Problem(refused.code, refused.detail, duplicates=shown) from None
        return Response(serializers.PlatformEnrolledSerializer(enrolled).data, status=201)


class VerifyView(APIView):
    """Compare 1:1."""

    required_scope = Scope.VERIFY
    parser_classes = PARSERS
    throttle_classes = [PictureLimit]

    @extend_schema(
        operation_id="verify",
        summary="Compare a picture with a candidate's template",
        description="`similarity` is calibrated to 0-1 and matches from `threshold` on, which is the default policy's. "
        "A picture too poor to decide on is refused, as when enrolling. After five failures in a row, nobody is "
        "compared with this candidate for 30 seconds, and twice as long after each further one.",
        tags=["candidates"],
        request={"multipart/form-data": serializers.VerifyForm, "application/json": serializers.VerifySerializer},
        responses={200: serializers.VerifiedSerializer}
        | problem_responses(
            "candidate_unknown", "not_enrolled", "consent_missing", "verification_paused", *GATE_CODES, body=True
        ),
    )
    def post(self, request: Request) -> Response:
        """Compare a picture with a candidate's template."""
        body = serializers.VerifySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        images_require_small([body.validated_data["image"]])
        organisation = organisation_of(request)
        threshold = default_match_threshold(organisation=organisation)
        verified = candidate_verify(organisation=organisation, threshold=threshold, **body.validated_data)
        return Response(serializers.VerifiedSerializer(verified).data)
