"""The candidate's page. Its link carries the join token in the fragment, which no server sees."""

from django.urls import path

from sessions.pages import candidate_page

urlpatterns = [path("<uuid:session_pk>", candidate_page, name="candidate-page")]
