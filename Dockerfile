# Every command of this project: docker run IMAGE trainer.main --data_dir=... --workdir=...
#
#     docker build -t coco-animals .                          # NVIDIA GPUs: only their driver is
#                                                             # needed on the host, CUDA is within
#                                                             # CPUs alone: 5 GB smaller
#     docker build -t coco-animals:cpu --build-arg "EXTRAS=[gcs,s3,azure]" .
FROM python:3.11.14-slim-bookworm AS build

# The others are clients of buckets.
ARG EXTRAS="[gpu,gcs,s3,azure]"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY . .
RUN python -m venv /opt/animals \
    && /opt/animals/bin/python -m pip install --constraint docker/constraints.txt ".${EXTRAS}"

FROM python:3.11.14-slim-bookworm

COPY --from=build /opt/animals /opt/animals
# Not root; with a folder that it may write to, where Kubernetes mounts the volume.
RUN useradd --uid 1000 --create-home animals \
    && mkdir /animals \
    && chown animals:animals /animals
ENV PATH=/opt/animals/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /animals
ENTRYPOINT ["python", "-m"]
CMD ["trainer.main", "--help"]
