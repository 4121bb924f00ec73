# Three images from one file; the last is the default, so `docker build -t sd-proctor .` gives web.
#   docker build --target gateway -t sd-proctor-gateway .
#   docker build --target worker  -t sd-proctor-worker .
#   docker build --target worker --build-arg REQUIREMENTS=requirements-gpu.txt …  for a CUDA machine

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    WEIGHTS_DIR=/srv/weights EVIDENCE_DIR=/srv/evidence PROMETHEUS_MULTIPROC_DIR=/srv/metrics
RUN useradd --system --uid 10001 --home-dir /srv --shell /usr/sbin/nologin proctor \
 && mkdir -p /srv/app /srv/weights /srv/evidence /srv/metrics && chown -R proctor /srv
WORKDIR /srv/app
COPY requirements.txt ./
RUN pip install -r requirements.txt

# Weights are fetched once, checked against weights.toml, and copied into the images that run models.
FROM base AS weights
COPY detection ./detection
RUN python -m detection.engine.weights fetch

FROM base AS app
COPY manage.py ./
COPY proctor_site ./proctor_site
COPY accounts ./accounts
COPY enrollment ./enrollment
COPY sessions ./sessions
COPY detection ./detection
COPY alerts ./alerts
COPY media_gateway ./media_gateway
USER proctor

FROM app AS gateway
ENV GATEWAY_HOST=0.0.0.0
EXPOSE 8001 9090
CMD ["python", "-m", "media_gateway"]

FROM app AS worker
ARG REQUIREMENTS=""
USER root
COPY requirements*.txt ./
RUN if [ -n "$REQUIREMENTS" ]; then pip uninstall -y onnxruntime && pip install -r "$REQUIREMENTS"; fi
USER proctor
COPY --from=weights --chown=proctor /srv/weights /srv/weights
EXPOSE 9090
CMD ["celery", "-A", "proctor_site", "worker", "-Q", "vision,audio,alerts,enrollment", "--loglevel", "INFO"]

FROM app AS web
RUN DATABASE_URL=postgres://x REDIS_URL=redis://x SECRET_KEY=x JOIN_TOKEN_KEY=x KEY_ENCRYPTION_KEYS=build:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    python manage.py collectstatic --noinput
EXPOSE 8000 9090
CMD ["daphne", "-b", "0.0.0.0", "-p", "8000", "proctor_site.asgi:application"]
