"""Addresses about sessions, below ``/api/v1/``."""

from django.urls import path

from sessions import consent_views, picture_views, views

urlpatterns = [
    path("enroll", picture_views.EnrollView.as_view(), name="enroll"),
    path("verify", picture_views.VerifyView.as_view(), name="verify"),
    path("candidates/<str:candidate_id>/accommodations", views.AccommodationsView.as_view(), name="accommodations"),
    path("candidates/<str:candidate_id>/consent/withdraw", consent_views.ConsentWithdrawView.as_view()),
    path("session/start", views.SessionStartView.as_view(), name="session-start"),
    path("session/<str:session_id>", views.SessionView.as_view(), name="session"),
    path("session/<str:session_id>/end", views.SessionEndView.as_view(), name="session-end"),
    path("session/<str:session_id>/enroll", views.SessionEnrollView.as_view(), name="session-enroll"),
    path("session/<str:session_id>/consent/withdraw", consent_views.SessionConsentWithdrawView.as_view()),
    path("session/<str:session_id>/challenge", views.SessionChallengeView.as_view(), name="session-challenge"),
    path("session/<str:session_id>/events", views.SessionEventsView.as_view(), name="session-events"),
    path("admin/sessions", views.SessionListView.as_view(), name="admin-sessions"),
]
