"""Every address the web process answers."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from alerts.admin import live
from proctor_site import exceptions, health, metrics
from proctor_site.navigation import landing

admin.site.site_url = None

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/", landing),
    path("admin/", include("accounts.sign_in.urls")),
    path("admin/live/", admin.site.admin_view(live.live), name="admin-live"),
    path("admin/", admin.site.urls),
    path("candidate/", include("sessions.page_urls")),
    path("api/v1/", include("enrollment.urls")),
    path("api/v1/", include("proctor_site.candidate_urls")),
    path("api/v1/", include("sessions.urls")),
    path("api/v1/", include("alerts.urls")),
    path("api/", include("alerts.contract_urls")),
    path("api/problems", exceptions.problems_table, name="problems"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/schema", RedirectView.as_view(pattern_name="schema")),
    path("api/docs", RedirectView.as_view(pattern_name="docs")),
    path("api/asyncapi", RedirectView.as_view(pattern_name="asyncapi")),
    path("api/", exceptions.api_not_found),
    path("api/<path:rest>", exceptions.api_not_found),
    path(".well-known/health", health.health, name="health"),
    path(".well-known/live", health.live, name="live"),
    path("metrics", metrics.metrics, name="metrics"),
    path("favicon.ico", RedirectView.as_view(url=static("accounts/favicon.svg"))),
]
handler400 = exceptions.bad_request
handler403 = exceptions.forbidden
handler404 = exceptions.not_found
handler500 = exceptions.server_error
