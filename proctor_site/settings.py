"""Django settings, all from the environment. ``.env.example`` lists every variable with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from django.core.exceptions import ImproperlyConfigured

from accounts.sign_in import config as sign_in
from alerts import kafka_config
from detection import messages
from media_gateway import metrics_access
from proctor_site import evidence_storage, quiet_logs
from proctor_site.env import env
from proctor_site.navigation import UNFOLD as UNFOLD

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Django ---------------------------------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.required("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
WEB_CONCURRENT_REQUESTS = env.int("WEB_CONCURRENT_REQUESTS", default=32)  # twice: requests with pictures count apart
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default=f"http://localhost:{env.int('WEB_PORT', default=8000)}").rstrip("/")
GATEWAY_PUBLIC_URL = env.str(
    "GATEWAY_PUBLIC_URL", default=f"http://localhost:{env.int('GATEWAY_PORT', default=8001)}"
).rstrip("/")
# --- Cookies and headers; the policies themselves are in proctor_site.headers -----------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
COOKIE_PREFIX = "__Host-" if SESSION_COOKIE_SECURE else ""  # no other host, and no page by plain HTTP, can set these
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # what is said names people: no cookie
# Anybody could send this header: it says something only behind a proxy that sets or removes it.
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("TRUST_FORWARDED_PROTO", default=False) else None
)
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", default=False)
SECURE_SSL_REDIRECT = env.bool("SSL_REDIRECT", default=False)
SECURE_REDIRECT_EXEMPT = [r"^\.well-known/", r"^metrics$"]  # probes ask inside the cluster, by plain HTTP

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "accounts",
    "axes",
    "allauth",  # after accounts, whose templates come before its own
    "allauth.account",
    "allauth.socialaccount",
    "allauth.mfa",
    "enrollment",
    "sessions.apps.SessionsConfig",
    "detection",
    "alerts",
    "proctor_site",  # has no tables: tasks and commands that know all apps
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "proctor_site.headers.SecurityHeaders",
    "proctor_site.headers.ContentSecurityPolicy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.sign_in.lifetime.SessionPolicy",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "proctor_site.admin_time.AdminTimeZone",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "proctor_site.urls"
ASGI_APPLICATION = "proctor_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "proctor_site" / "templates"],  # before django-unfold's own
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DATABASES = {"default": env.database("DATABASE_URL")}
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
LOGIN_REDIRECT_URL = "admin:index"
LOGIN_URL = "admin:login"
USE_TZ = True
TIME_ZONE = "UTC"
ADMIN_TIME_ZONE = env.str("TIME_ZONE", default="UTC")
if ADMIN_TIME_ZONE not in available_timezones():
    raise ImproperlyConfigured(f"TIME_ZONE is {ADMIN_TIME_ZONE!r}, which is no zone: use a name like Europe/Berlin.")
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = ["proctor_site.formats"]
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True
X_FRAME_OPTIONS = "DENY"

# --- Signing in (docs/access.md) --------------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [  # NIST SP 800-63B-4, 3.1.1: long, and none that everybody tries
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 15}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
AUTHENTICATION_BACKENDS = ["accounts.sign_in.lockout.LockoutBackend", "django.contrib.auth.backends.ModelBackend"]
REQUIRE_SECOND_FACTOR = env.list("REQUIRE_SECOND_FACTOR", default=[])
SESSION_HOURS = sign_in.positive("SESSION_HOURS", env.int("SESSION_HOURS", default=12))
SESSION_IDLE_MINUTES = sign_in.positive("SESSION_IDLE_MINUTES", env.int("SESSION_IDLE_MINUTES", default=120))
SESSION_COOKIE_AGE = SESSION_HOURS * 3600
LOCKOUT_MINUTES = sign_in.positive("LOCKOUT_MINUTES", env.int("LOCKOUT_MINUTES", default=15))
AXES_FAILURE_LIMIT = sign_in.positive("LOCKOUT_FAILURES", env.int("LOCKOUT_FAILURES", default=5))
AXES_COOLOFF_TIME = "accounts.sign_in.lockout.cool_off"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "accounts.sign_in.lockout.locked_out"
AXES_CLIENT_IP_CALLABLE = "accounts.sign_in.lockout.address_counted"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
ACCOUNT_ADAPTER = "accounts.sign_in.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False  # accounts.sign_in.lockout has them all
MFA_ADAPTER = "accounts.sign_in.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_RECOVERY_CODES_SHOW_ONCE = True
SOCIALACCOUNT_ADAPTER = "accounts.sign_in.oidc.SocialAdapter"
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5
SOCIALACCOUNT_LOGIN_ON_GET = False
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", default="")
OIDC_CLIENT_SECRET = env.optional("OIDC_CLIENT_SECRET")
OIDC_ISSUER = sign_in.oidc_check(env.str("OIDC_ISSUER", default=""), OIDC_CLIENT_ID, OIDC_CLIENT_SECRET)
OIDC_NAME = env.str("OIDC_NAME", default="single sign-on")
OIDC_ORGANISATION = env.str("OIDC_ORGANISATION", default="default")
OIDC_ORGANISATION_CLAIM = env.str("OIDC_ORGANISATION_CLAIM", default="")
OIDC_ROLES_CLAIM = env.str("OIDC_ROLES_CLAIM", default="roles")
OIDC_ROLES = sign_in.roles_check(env.json("OIDC_ROLES", default={}))

# --- REST and its documentation ---------------------------------------------------------------------------------------
IMAGE_MAX_BYTES = env.int("IMAGE_MAX_BYTES", default=10 * 1024 * 1024)
BODY_MAX_BYTES = 7 * IMAGE_MAX_BYTES  # five pictures as base64 in JSON, from somebody with a key or a token
SMALL_BODY_MAX_BYTES = 1 << 20  # everything else
FILE_UPLOAD_MAX_MEMORY_SIZE = BODY_MAX_BYTES  # pictures of faces stay in memory, never in a temporary file of ours
ENROLL_TIMEOUT_S = env.float("ENROLL_TIMEOUT_S", default=20.0)
METRICS_ALLOWED_NETWORKS = env.list("METRICS_ALLOWED_NETWORKS", default=list(metrics_access.PRIVATE))
RATE_LIMITS = {
    "requests": env.str("RATE_REQUESTS", default="6000/min"),
    "anonymous": env.str("RATE_ANONYMOUS", default="600/min"),
    "pictures": env.str("RATE_PICTURES", default="600/min"),
    "join_pictures": env.str("RATE_JOIN_PICTURES", default="30/min"),
    "events": env.str("RATE_EVENTS", default="60/min"),
    "samples": env.str("RATE_SAMPLES", default="30/min"),
    "login": env.str("RATE_LOGIN", default="100/h"),
    "login_address": env.str("RATE_LOGIN_ADDRESS", default="60/min"),
    "login_code": env.str("RATE_LOGIN_CODE", default="20/h"),
    "failed_authentication": env.str("RATE_FAILED_AUTHENTICATION", default="120/min"),
}
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.auth.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.limits.RequestLimit"],
    "DEFAULT_PARSER_CLASSES": ["accounts.parsers.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "proctor_site.exceptions.problem_handler",
    "STRICT_JSON": True,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "SD Proctor",
    "DESCRIPTION": "Enrol candidates, start and follow exam sessions, choose where alerts go. Every error is "
    "application/problem+json with a `code` from the table at /api/problems.\n\nWhat is told without being asked, by "
    "WebSocket, webhook and Kafka, is in the [AsyncAPI document](/api/asyncapi/); what gRPC tells in "
    "[alerts.proto](/api/proto/alerts.proto).",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {
        "SessionState": "sessions.models.ExamSession.State",
        "IncidentState": "alerts.models.Incident.State",
        "DeliveryState": "alerts.models.Delivery.State",
        "ChallengeOutcome": "sessions.models.Challenge.Outcome",
        "DuplicateDecision": "enrollment.serializers.DECISIONS_TOLD",
        "ReviewDecision": "alerts.review_models.Review.Decision",
        "CheckInOutcome": "sessions.challenges.STANDINGS",
    },
    "SORT_OPERATIONS": False,
}

# --- Redis: queue, results, channel layer, frames ---------------------------------------------------------------------
REDIS_URL = env.redis("REDIS_URL", ca=env.str("REDIS_CA", default=""))
CACHES = {  # which codes of second factors were used: a process's own memory would not do
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "cache",
        "OPTIONS": {"socket_connect_timeout": 2.0, "socket_timeout": 5.0},
    }
}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}

# --- Celery -----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = REDIS_URL
CELERY_RESULT_EXPIRES = 60
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 64  # celery-batches wants at least four times its batch
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # Redis may be away for as long as it likes
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # What a killed worker held comes back after this, as stale samples that are then counted as a gap.
    "visibility_timeout": 120,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # A Redis that vanished without closing its connections is noticed within seconds.
    "socket_keepalive": True,
    "socket_connect_timeout": 5,
    "socket_timeout": 10,
    "health_check_interval": 5,
}
# Celery would open a new connection for every task, at several milliseconds; CONN_MAX_AGE says how long one is kept.
CELERY_DB_REUSE_MAX = 1_000_000_000
CELERY_WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", default=0) or None  # None: one process per core
CELERY_TASK_DEFAULT_QUEUE = messages.QUEUE_ALERTS
CELERY_TASK_ROUTES: dict[str, dict[str, Any]] = {
    messages.TASK_ANALYSE_FRAMES: {"queue": messages.QUEUE_VISION},
    messages.TASK_ANALYSE_AUDIO: {"queue": messages.QUEUE_AUDIO},
    messages.TASK_NOTE_TECHNICAL: {"queue": messages.QUEUE_AUDIO},
    messages.TASK_NOTE_BROWSER: {"queue": messages.QUEUE_AUDIO},
    messages.TASK_CLOSE_SESSION: {"queue": messages.QUEUE_AUDIO},
    "detection.*": {"queue": messages.QUEUE_SWEEPS},  # all others of detection; routes are tried in this order
    "sessions.*": {"queue": messages.QUEUE_SWEEPS},
    "enrollment.galleries_sweep": {"queue": messages.QUEUE_SWEEPS},  # nobody waits for it
    "enrollment.*": {"queue": messages.QUEUE_ENROLLMENT},
    "alerts.rescore": {"queue": messages.QUEUE_SWEEPS},  # computes, and must not hold up deliveries
    "alerts.*": {"queue": messages.QUEUE_ALERTS},
    "site.*": {"queue": messages.QUEUE_SWEEPS},
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "detection-sweep": {"task": "detection.sweep", "schedule": 2.0, "options": {"expires": 10}},
    "detection-fill-gaps": {"task": "detection.fill_gaps", "schedule": 15.0, "options": {"expires": 30}},
    "detection-partitions": {"task": "detection.make_partitions", "schedule": 86400.0, "options": {"expires": 3600}},
    "galleries-sweep": {"task": "enrollment.galleries_sweep", "schedule": 300.0, "options": {"expires": 300}},
    "sessions-sweep": {"task": "sessions.sweep", "schedule": 10.0, "options": {"expires": 20}},
    "alerts-sweep": {"task": "alerts.sweep", "schedule": 5.0, "options": {"expires": 5}},
    "alerts-rescore": {"task": "alerts.rescore", "schedule": 5.0, "options": {"expires": 5}},
    "retention": {"task": "site.retention", "schedule": 3600.0, "options": {"expires": 3600}},
    "resume-erasures": {"task": "site.resume_erasures", "schedule": 60.0, "options": {"expires": 60}},
    "evidence-sweep": {"task": "alerts.evidence_sweep", "schedule": 600.0, "options": {"expires": 600}},
}

# --- The product ------------------------------------------------------------------------------------------------------
JOIN_TOKEN_KEY = env.required("JOIN_TOKEN_KEY")
JOIN_GRACE_S = env.int("JOIN_GRACE_S", default=900)
KEY_ENCRYPTION_KEYS = env.required("KEY_ENCRYPTION_KEYS")
VAULT_ADDR = env.str("VAULT_ADDR", default="")
VAULT_TOKEN = env.optional("VAULT_TOKEN")
VAULT_TOKEN_FILE = env.str("VAULT_TOKEN_FILE", default="")
VAULT_TRANSIT_MOUNT = env.str("VAULT_TRANSIT_MOUNT", default="transit")
VAULT_NAMESPACE = env.str("VAULT_NAMESPACE", default="")
VAULT_CACERT = env.str("VAULT_CACERT", default="")
FACE_MATCH_THRESHOLD = env.float("FACE_MATCH_THRESHOLD", default=0.75)
MODEL_DEVICE = env.str("MODEL_DEVICE", default="cpu")
WEIGHTS_DIR = BASE_DIR / env.str("WEIGHTS_DIR", default="var/weights")
EVIDENCE_DIR = BASE_DIR / env.str("EVIDENCE_DIR", default="var/evidence")
EVIDENCE_DAYS = env.int("EVIDENCE_DAYS", default=30)
# Days that each class of data is kept where no policy says otherwise (sessions.retention); 0: without limit
RETENTION_DAYS = {
    "evidence": EVIDENCE_DAYS,
    "detections": env.int("DETECTION_DAYS", default=90),
    "incidents": env.int("INCIDENT_DAYS", default=365),
    "deliveries": env.int("DELIVERY_DAYS", default=90),
    "templates": env.int("TEMPLATE_DAYS", default=365),
    "audit": env.int("AUDIT_DAYS", default=1095),
}
for _kind, _days in RETENTION_DAYS.items():
    if not 0 <= _days <= 36_500:
        raise ImproperlyConfigured(f"{_days} days of {_kind} are no time to keep something: 0 (no limit) to 36500.")
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "evidence": evidence_storage.described(directory=EVIDENCE_DIR),
}
ICE_SERVERS = env.optional_json("ICE_SERVERS") or []
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=[])
GRPC_HOST = env.str("GRPC_HOST", default="127.0.0.1")
GRPC_PORT = env.int("GRPC_PORT", default=50051)  # 0: no stream is offered, and health expects none
GRPC_TLS_CERTIFICATE = env.str("GRPC_TLS_CERTIFICATE", default="")
GRPC_TLS_KEY = env.str("GRPC_TLS_KEY", default="")
GRPC_TLS_CLIENT_CA = env.str("GRPC_TLS_CLIENT_CA", default="")
GRPC_PUSH_CA = env.str("GRPC_PUSH_CA", default="")
GRPC_PUSH_CERTIFICATE = env.str("GRPC_PUSH_CERTIFICATE", default="")
GRPC_PUSH_KEY = env.str("GRPC_PUSH_KEY", default="")
GRPC_KEEPALIVE_S = env.float("GRPC_KEEPALIVE_S", default=30.0)
GRPC_MAX_STREAMS = env.int("GRPC_MAX_STREAMS", default=1000)
KAFKA_BOOTSTRAP_SERVERS = env.str("KAFKA_BOOTSTRAP_SERVERS", default="")
KAFKA_ALERT_TOPIC = kafka_config.topic(env.str("KAFKA_ALERT_TOPIC", default="sdproctor.alerts"))
KAFKA_ALLOWED_TOPICS = env.list("KAFKA_ALLOWED_TOPICS", default=[])
KAFKA_CONFIG = kafka_config.parse(env.optional("KAFKA_CONFIG"))
TRITON_ENABLED = env.bool("TRITON_ENABLED", default=False)
if TRITON_ENABLED:
    raise ImproperlyConfigured("TRITON_ENABLED is true, but this version runs its models itself: set it to false.")

# --- Logs -------------------------------------------------------------------------------------------------------------
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "expected_answers": {"()": "proctor_site.log_filters.ExpectedAnswers"},
        "routes_for_paths": {"()": "proctor_site.quiet_logs.RoutesForPaths"},
    },
    "loggers": {  # Celery tells of every single task otherwise, and sweeps run every other second
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "django.request": {"filters": ["expected_answers", "routes_for_paths"]},
        "django.security.csrf": {"filters": ["routes_for_paths"]},
        "django.security.SuspiciousSession": {"filters": ["routes_for_paths"]},
    },
}
quiet_logs.quiet_records_install()
