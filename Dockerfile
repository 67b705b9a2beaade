# The image of the operator, the record service and the console, without the laptop mode. One file, two ways to build it:
#   docker build .                                  pip fetches what the locks name
#   docker build --build-context wheels=FOLDER .    nothing is fetched: all of it is in FOLDER
# `make image` and `make image-local` do the one and the other.

ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# Nothing, unless the build is given a folder of this name.
FROM scratch AS wheels

FROM ${PYTHON_IMAGE} AS build
# pip imports modules where it installs; what is compiled of them here would name the time of this build.
ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# Two environments: what builds the wheel stays here, and so does pip.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/venv
COPY --from=wheels / /wheels/
COPY requirements-build.lock requirements-operator.lock ./
RUN set -- --require-hashes --only-binary :all: --no-compile --no-cache-dir --quiet \
    && if [ -n "$(ls /wheels)" ]; then set -- "$@" --no-index --find-links /wheels; fi \
    && /build/bin/pip install "$@" --requirement requirements-build.lock \
    && /build/bin/pip --python /opt/venv/bin/python install "$@" --requirement requirements-operator.lock
# Copied, not mounted: builders differ in whether a change of a mounted file undoes their cache.
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY operator/trainingjob_api operator/trainingjob_api
COPY operator/trainingjob_cli operator/trainingjob_cli
COPY operator/trainingjob_console operator/trainingjob_console
COPY operator/trainingjob_operator operator/trainingjob_operator
COPY operator/trainingjob_records operator/trainingjob_records
COPY operator/trainingjob_web operator/trainingjob_web
RUN /build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --quiet --wheel-dir /dist . \
    && /build/bin/pip --python /opt/venv/bin/python install --no-compile --no-cache-dir --no-index --no-deps --quiet /dist/*.whl
# What is compiled below names the time of its source: a release gives all files that of its commit.
ARG SOURCE_DATE_EPOCH=
RUN if [ -n "$SOURCE_DATE_EPOCH" ]; then find /opt/venv -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; fi

FROM ${PYTHON_IMAGE}
# Version, revision and time are labels of the command that builds it (`make image`).
LABEL org.opencontainers.image.title="trainingjob-operator" \
      org.opencontainers.image.description="A Kubernetes operator for training jobs, their record service and console: memory and disk stay bounded, and nothing is lost." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
# Nothing can be written when it runs, so what it imports, the standard library too, is compiled
# here: that halves the time of a start. Compiling all else would only add 50 MB. The seed orders sets.
RUN export PYTHONHASHSEED=0 \
    && /opt/venv/bin/python -c 'import trainingjob_cli.main, trainingjob_operator.logging_setup, trainingjob_operator.runtime' \
    && /opt/venv/bin/python -c 'import trainingjob_operator.commands.record_token, trainingjob_operator.commands.release_finalizers' \
    # What the record service asks for by name, when it has read its settings.
    && /opt/venv/bin/python -c 'import trainingjob_records.command, aiosqlite, encodings.idna, psycopg, pydantic.dataclasses, pydantic.v1' \
    && /opt/venv/bin/python -c 'import uvicorn.lifespan.off, uvicorn.protocols.http.h11_impl' \
    && /opt/venv/bin/python -c 'import trainingjob_console.command'
# A home that is not there: whatever $HOME the node sets, no kubeconfig is looked for in it.
ENV HOME=/nonexistent \
    PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number: the kubelet cannot tell of a name whether it is root (runAsNonRoot).
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/venv/bin/trainingjob"]
CMD ["operator"]
