# CPU by default; for CUDA: docker build --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
# (the wheels of torch bring their own CUDA libraries; the host needs the NVIDIA container toolkit)
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv make git ca-certificates \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /clipeval
COPY requirements.lock pyproject.toml README.md LICENSE Makefile ./
COPY clipeval clipeval
COPY data data
COPY notebooks notebooks
RUN make .venv/.installed

ENV PATH=/clipeval/.venv/bin:$PATH CLIPEVAL_CACHE=/cache
VOLUME /cache
ENTRYPOINT ["clipeval"]
CMD ["--help"]
