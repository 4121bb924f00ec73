"""Addresses about candidates, below ``/api/v1/``."""

from django.urls import path

from enrollment.views import EnrollmentView, EnrollView

urlpatterns = [
    path("enroll", EnrollView.as_view(), name="enroll"),
    path("enroll/<str:candidate_id>", EnrollmentView.as_view(), name="enrollment"),
]
