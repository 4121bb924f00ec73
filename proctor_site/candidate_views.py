"""REST about a whole candidate, in all apps: erase, export; and the keys that receipts are verified with."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor, audit_write, candidate_subject
from accounts.auth import organisation_of, scope_require
from accounts.limits import PictureLimit
from accounts.models import Scope
from accounts.receipts import receipt_key
from accounts.schema import problem_responses
from accounts.streaming import streamed
from enrollment import views as enrollment_views
from enrollment.services import candidate_find
from proctor_site.candidate_serializers import ErasedSerializer, ReceiptKeySerializer
from proctor_site.erasure import candidate_erase, enrollment_erase
from proctor_site.export import candidate_export


class EnrollmentView(enrollment_views.EnrollmentView):
    """One candidate's enrolment: looked up, and erased with what other apps have of it."""

    @extend_schema(
        operation_id="enrollment_erase",
        summary="Erase an enrolment",
        description="Destroys the candidate's data key, so that all it sealed is unreadable from then on, in backups "
        "too; ends running sessions that compare faces or voices; then removes templates, enrolments and pictures. "
        "Sessions and incidents stay, and so does the fact of consent, as withdrawn. The answer is a signed receipt. "
        "Asked again, it answers with the same one.",
        tags=["candidates"],
        responses={200: ErasedSerializer}
        | problem_responses("candidate_unknown", "not_enrolled", "legal_hold", "storage_unavailable"),
    )
    def delete(self, request: Request, candidate_id: str) -> Response:
        """Erase an enrolment."""
        organisation = organisation_of(request)
        actor = Actor.of_request(request)
        receipt = enrollment_erase(organisation=organisation, candidate_id=candidate_id, actor=actor)
        return Response(ErasedSerializer(receipt).data)


class CandidateView(APIView):
    """Everything of one candidate."""

    required_scope = Scope.ENROLL

    @extend_schema(
        operation_id="candidate_erase",
        summary="Erase everything of a candidate",
        description="Destroys the candidate's data key and ends their running sessions; then removes sessions with "
        "detections, incidents, pictures, alerts and deliveries, and the candidate. What subscribers have received "
        "is theirs to remove. The audit log keeps the fact, under a keyed hash of the id. The answer is a signed "
        "receipt; asked again, or after it was broken off, it goes on and answers with the same one.",
        tags=["candidates"],
        responses={200: ErasedSerializer} | problem_responses("candidate_unknown", "legal_hold", "storage_unavailable"),
    )
    def delete(self, request: Request, candidate_id: str) -> Response:
        """Erase everything of a candidate."""
        organisation = organisation_of(request)
        actor = Actor.of_request(request)
        receipt = candidate_erase(organisation=organisation, candidate_id=candidate_id, actor=actor)
        return Response(ErasedSerializer(receipt).data)


class ZipRenderer(BaseRenderer):
    """Names the type of an export; the archive is made piece by piece, and never rendered."""

    media_type = "application/zip"
    format = "zip"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        """Return what is said instead of an archive: a problem."""
        return JSONRenderer().render(data, accepted_media_type, renderer_context)


class CandidateExportView(APIView):
    """All data of one candidate."""

    required_scope = Scope.ENROLL
    renderer_classes = [ZipRenderer, JSONRenderer]
    throttle_classes = [PictureLimit]

    @extend_schema(
        operation_id="candidate_export",
        summary="Export all data of a candidate",
        description="A ZIP, sent while it is made: `candidate.json`, and per session what was measured, found, decided "
        "and told, with the pictures opened. The template itself is not in it: docs/trust.md says why. Pictures of "
        "exams are in it, so the key needs the scope `sessions` as well. Every export is in the audit log.",
        tags=["candidates"],
        responses={(200, "application/zip"): OpenApiTypes.BINARY} | problem_responses("candidate_unknown"),
    )
    def get(self, request: Request, candidate_id: str) -> StreamingHttpResponse:
        """Export all data of a candidate."""
        scope_require(request, Scope.SESSIONS)
        organisation = organisation_of(request)
        candidate = candidate_find(organisation=organisation, candidate_id=candidate_id)
        audit_write(
            organisation=organisation,
            actor=Actor.of_request(request),
            action="candidate.exported",
            subject_type="candidate",
            subject=candidate_subject(organisation=organisation, candidate_id=candidate_id),
        )
        name = f"candidate-{timezone.now():%Y%m%dT%H%M%SZ}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        content = streamed(partial(candidate_export, candidate))
        return StreamingHttpResponse(content, content_type=ZipRenderer.media_type, headers=headers)


class ReceiptKeyView(APIView):
    """A public key of receipts: for anybody who holds one."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="receipt_key",
        summary="Fetch the key that a receipt is verified with",
        description="For everybody: whoever holds a receipt finds the key's id in its header.",
        tags=["candidates"],
        auth=[],
        responses={200: ReceiptKeySerializer} | problem_responses("receipt_key_unknown"),
    )
    def get(self, request: Request, key_id: uuid.UUID) -> Response:
        """Return a public key as a JWK."""
        return Response(ReceiptKeySerializer(receipt_key(key_id)).data)
