"""Addresses about whole candidates, below ``/api/v1/``."""

from django.urls import path

from proctor_site import candidate_views

urlpatterns = [
    path("enroll/<str:candidate_id>", candidate_views.EnrollmentView.as_view(), name="enrollment"),
    path("candidates/<str:candidate_id>", candidate_views.CandidateView.as_view(), name="candidate"),
    path(
        "candidates/<str:candidate_id>/export", candidate_views.CandidateExportView.as_view(), name="candidate-export"
    ),
    path("receipt-keys/<uuid:key_id>", candidate_views.ReceiptKeyView.as_view(), name="receipt-key"),
]
