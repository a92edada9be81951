# The BFF as a container. Its steps are make targets, so that they run, and are tested, without Docker too.

FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Dependencies first: they change seldom, and this layer is kept while only the application changes.
COPY Makefile ./
COPY requirements requirements
COPY tools tools
RUN make install-compiler install-dependencies PREFIX=/srv/bff
COPY pyproject.toml README.md wsgi.py gunicorn.conf.py ./
COPY app app
COPY config config
COPY ServiceConfigs ServiceConfigs
RUN make install-application PREFIX=/srv/bff

FROM python:3.11-slim
# A fixed number, so that volumes and Kubernetes' runAsUser can name it.
RUN groupadd --gid 10001 bff && useradd --uid 10001 --gid bff --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bff
COPY --from=build /srv/bff /srv/bff
# The server writes here and nowhere else; mount a volume to keep sessions and keys.
RUN install -d -o bff -g bff -m 0700 /srv/bff/var
ENV PATH=/srv/bff/.venv/bin:$PATH \
    BFF_ENVIRONMENT=production \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/bff
USER 10001:10001
VOLUME /srv/bff/var
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
