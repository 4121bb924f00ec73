# Four images from one file; the last is the default, so `docker build -t sd-proctor .` gives web.
#   docker build --target gateway    -t sd-proctor-gateway .
#   docker build --target worker     -t sd-proctor-worker .
#   docker build --target worker-gpu -t sd-proctor-worker-gpu .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    WEIGHTS_DIR=/srv/weights EVIDENCE_DIR=/srv/evidence PROMETHEUS_MULTIPROC_DIR=/srv/metrics METRICS_HOST=0.0.0.0
RUN useradd --system --uid 10001 --home-dir /srv --shell /usr/sbin/nologin proctor \
 && mkdir -p /srv/app /srv/weights /srv/evidence /srv/metrics \
 && chown proctor /srv/evidence /srv/metrics
WORKDIR /srv/app
COPY requirements.txt constraints.txt ./
RUN pip install -r requirements.txt

# Weights are fetched once, checked against weights.toml, and copied into the image that runs models.
FROM base AS weights
COPY detection ./detection
RUN python -m detection.engine.weights fetch --group default --group extended

# What a GPU runs instead of the graphs that are published for LiteRT only. TensorFlow stays behind in this stage.
FROM weights AS gpu-weights
COPY requirements-convert.txt ./
RUN python -m venv /srv/convert && /srv/convert/bin/pip install -r requirements-convert.txt
RUN python -m detection.engine.conversion --converter /srv/convert/bin/python

FROM base AS app
COPY manage.py ./
COPY proctor_site ./proctor_site
COPY accounts ./accounts
COPY enrollment ./enrollment
COPY sessions ./sessions
COPY detection ./detection
COPY alerts ./alerts
COPY proto ./proto
COPY media_gateway ./media_gateway
USER proctor

FROM app AS gateway
ENV GATEWAY_HOST=0.0.0.0
EXPOSE 8001
CMD ["python", "-m", "media_gateway"]

# Web and worker show their metrics on 9090 by a small server beside the main process, which the container follows.
FROM app AS worker
USER root
COPY --from=weights /srv/weights /srv/weights
USER proctor
EXPOSE 9090
CMD ["sh", "-c", "python -m proctor_site.metrics_server & exec celery -A proctor_site worker -Q ${QUEUES:-vision,audio,enrollment,sweeps,alerts} -P ${WORKER_POOL:-prefork} --loglevel ${LOG_LEVEL:-INFO}"]

FROM worker AS worker-gpu
USER root
COPY requirements-gpu.txt ./
RUN pip uninstall -y onnxruntime && pip install -r requirements-gpu.txt
COPY --from=gpu-weights /srv/weights/converted /srv/weights/converted
ENV MODEL_DEVICE=cuda
USER proctor

FROM app AS web
USER root
RUN DEBUG=true DATABASE_URL=postgres://build REDIS_URL=redis://build SECRET_KEY=build JOIN_TOKEN_KEY=build \
    KEY_ENCRYPTION_KEYS=build:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    PROMETHEUS_MULTIPROC_DIR= python manage.py collectstatic --noinput
USER proctor
EXPOSE 8000 9090
# Any other verbosity writes an access log: addresses, candidates' ids, signed links.
CMD ["sh", "-c", "python -m proctor_site.metrics_server & exec daphne -b 0.0.0.0 -p 8000 --verbosity 0 proctor_site.asgi:application"]
