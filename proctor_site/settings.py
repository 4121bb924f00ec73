"""Django settings, all from the environment. ``.env.example`` lists every variable with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detection import messages
from proctor_site.env import env

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Django ---------------------------------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.required("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://localhost:8000").rstrip("/")
GATEWAY_PUBLIC_URL = env.str("GATEWAY_PUBLIC_URL", default="http://localhost:8001").rstrip("/")

INSTALLED_APPS = [
    "daphne",
    "unfold",
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
    "enrollment",
    "sessions.apps.SessionsConfig",
    "detection",
    "alerts",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "proctor_site.urls"
ASGI_APPLICATION = "proctor_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
DATABASES = {"default": env.db("DATABASE_URL")}
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True

# --- Redis: queue, results, channel layer, frames ---------------------------------------------------------------------
REDIS_URL = env.required("REDIS_URL")
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
CELERY_WORKER_PREFETCH_MULTIPLIER = 64  # celery-batches wants at least four times its batch of 16
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = messages.QUEUE_ALERTS
CELERY_TASK_ROUTES: dict[str, dict[str, Any]] = {
    messages.TASK_ANALYSE_FRAMES: {"queue": messages.QUEUE_VISION},
    messages.TASK_ANALYSE_AUDIO: {"queue": messages.QUEUE_AUDIO},
    messages.TASK_NOTE_TECHNICAL: {"queue": messages.QUEUE_AUDIO},
    messages.TASK_CLOSE_SESSION: {"queue": messages.QUEUE_AUDIO},
    "enrollment.*": {"queue": messages.QUEUE_ENROLLMENT},
    "alerts.*": {"queue": messages.QUEUE_ALERTS},
}
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "detection-sweep": {"task": "detection.sweep", "schedule": 2.0, "options": {"expires": 2}},
    "sessions-sweep": {"task": "sessions.sweep", "schedule": 10.0, "options": {"expires": 10}},
    "alerts-sweep": {"task": "alerts.sweep", "schedule": 5.0, "options": {"expires": 5}},
}

# --- The product ------------------------------------------------------------------------------------------------------
JOIN_TOKEN_KEY = env.required("JOIN_TOKEN_KEY")
JOIN_GRACE_S = env.int("JOIN_GRACE_S", default=900)
KEY_ENCRYPTION_KEYS = env.required("KEY_ENCRYPTION_KEYS")
FACE_MATCH_THRESHOLD = env.float("FACE_MATCH_THRESHOLD", default=0.75)
MODEL_DEVICE = env.str("MODEL_DEVICE", default="cpu")
WEIGHTS_DIR = Path(env.str("WEIGHTS_DIR", default=str(BASE_DIR / "var" / "weights")))
EVIDENCE_DIR = Path(env.str("EVIDENCE_DIR", default=str(BASE_DIR / "var" / "evidence")))
EVIDENCE_DAYS = env.int("EVIDENCE_DAYS", default=30)
ICE_SERVERS = env.json("ICE_SERVERS", default=[])
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=[])
KAFKA_BOOTSTRAP_SERVERS = env.str("KAFKA_BOOTSTRAP_SERVERS", default="")
TRITON_ENABLED = env.bool("TRITON_ENABLED", default=False)
