# The image of the operator, the record service and the console, without the laptop mode. Two ways to build it:
#   docker build .                                  pip fetches the locked packages (`make image`)
#   docker build --build-context wheels=FOLDER .    pip installs the wheels in FOLDER, offline (`make image-local`)

ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# Empty, unless the build has a context of this name.
FROM scratch AS wheels

FROM ${PYTHON_IMAGE} AS build
# pip imports modules while it installs them; bytecode compiled here would contain the time of this build.
ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# Two environments: the build tools and pip stay in this stage.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/venv
COPY --from=wheels / /wheels/
COPY requirements-build.lock requirements-operator.lock ./
RUN set -- --require-hashes --only-binary :all: --no-compile --no-cache-dir --quiet \
    && if [ -n "$(ls /wheels)" ]; then set -- "$@" --no-index --find-links /wheels; fi \
    && /build/bin/pip install "$@" --requirement requirements-build.lock \
    && /build/bin/pip --python /opt/venv/bin/python install "$@" --requirement requirements-operator.lock
# Copied, not mounted: builders differ in whether a change of a mounted file invalidates their cache.
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY operator/trainingjob_api operator/trainingjob_api
COPY operator/trainingjob_cli operator/trainingjob_cli
COPY operator/trainingjob_console operator/trainingjob_console
COPY operator/trainingjob_operator operator/trainingjob_operator
COPY operator/trainingjob_records operator/trainingjob_records
COPY operator/trainingjob_web operator/trainingjob_web
RUN /build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --quiet --wheel-dir /dist . \
    && /build/bin/pip --python /opt/venv/bin/python install --no-compile --no-cache-dir --no-index --no-deps --quiet /dist/*.whl
# Bytecode that is compiled below contains the time of its source: a release gives all files the time of its commit.
ARG SOURCE_DATE_EPOCH=
RUN if [ -n "$SOURCE_DATE_EPOCH" ]; then find /opt/venv -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; fi

FROM ${PYTHON_IMAGE}
# `make image` adds labels with version, revision and time.
LABEL org.opencontainers.image.title="trainingjob-operator" \
      org.opencontainers.image.description="Kubernetes operator for distributed training jobs, with record service and web console" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
# The container's root is read-only, so all imported modules, including the standard library, are compiled here, which
# halves the time of a start. Compiling everything would add 50 MB. The seed makes the order of sets reproducible.
RUN export PYTHONHASHSEED=0 \
    && /opt/venv/bin/python -c 'import trainingjob_cli.main, trainingjob_operator.logging_setup, trainingjob_operator.runtime' \
    && /opt/venv/bin/python -c 'import trainingjob_operator.commands.record_token, trainingjob_operator.commands.release_finalizers' \
    # Modules that the record service imports by name, after it has read its settings.
    && /opt/venv/bin/python -c 'import trainingjob_records.command, aiosqlite, encodings.idna, psycopg, pydantic.dataclasses, pydantic.v1' \
    && /opt/venv/bin/python -c 'import uvicorn.lifespan.off, uvicorn.protocols.http.h11_impl' \
    && /opt/venv/bin/python -c 'import trainingjob_console.command'
# A home that does not exist, so that no kubeconfig is read from it.
ENV HOME=/nonexistent \
    PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Numeric, because for runAsNonRoot the kubelet cannot check a user name.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/venv/bin/trainingjob"]
CMD ["operator"]
