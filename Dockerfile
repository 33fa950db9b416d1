# What a run needs, for work pools that start each run in a container: Kubernetes, Azure Container Instances, Docker.
# The flow itself is fetched at the deployed commit when a run starts: build again when requirements.txt has changed.
#
#     docker build --tag REGISTRY/azureml-prefect-mlops .
FROM python:3.11-slim

# git fetches the flow. Debian keeps one version of it, with its security fixes: pinning that would break the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 mlops \
    && install --directory --owner mlops --group mlops /opt/mlops

# The number, so that Kubernetes can see that it is not root.
USER 1000
WORKDIR /opt/mlops
ENV VIRTUAL_ENV=/opt/mlops/venv PATH=/opt/mlops/venv/bin:$PATH PYTHONUNBUFFERED=1

# uv comes with its hashes from the lock, and then installs the rest of it.
COPY requirements.txt ./
RUN python -m venv "$VIRTUAL_ENV" \
    && awk '/^uv==/ {on=1} on {print} on && !/\\$/ {exit}' requirements.txt > uv.txt \
    && pip install --no-cache-dir --no-deps --require-hashes --requirement uv.txt \
    && uv pip sync --no-cache --compile-bytecode --require-hashes requirements.txt
