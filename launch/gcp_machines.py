"""What Google's cloud has: images to boot from, and machines that take so many GPUs of a kind."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Image:
    """What a VM boots from; the newest of its family."""

    family: str
    project: str


# Ubuntu 24.04, for its Python 3.12. CUDA itself comes with TensorFlow's wheels.
GPU_IMAGE = Image("common-cu129-ubuntu-2404-nvidia-580", "deeplearning-platform-release")
CPU_IMAGE = Image("ubuntu-2404-lts-amd64", "ubuntu-os-cloud")
CPU_MACHINE = "n2-standard-8"

LONGEST = 120 * 24 * 3600  # Seconds: the longest that a VM's time can be limited to.

TYPES = {
    "T4": "nvidia-tesla-t4",
    "V100": "nvidia-tesla-v100",
    "L4": "nvidia-l4",
    "A100": "nvidia-tesla-a100",
    "A100-80GB": "nvidia-a100-80gb",
    "H100": "nvidia-h100-80gb",
}
# For each kind of GPU and each number of them, a machine that takes them.
# https://cloud.google.com/compute/docs/gpus
MACHINES: Mapping[str, Mapping[int, str]] = {
    "T4": {1: "n1-standard-8", 2: "n1-standard-16", 4: "n1-standard-32"},
    "V100": {1: "n1-standard-8", 2: "n1-standard-16", 4: "n1-standard-32", 8: "n1-standard-64"},
    "L4": {1: "g2-standard-8", 2: "g2-standard-24", 4: "g2-standard-48", 8: "g2-standard-96"},
    "A100": {
        1: "a2-highgpu-1g", 2: "a2-highgpu-2g", 4: "a2-highgpu-4g", 8: "a2-highgpu-8g",
        16: "a2-megagpu-16g",
    },
    "A100-80GB": {
        1: "a2-ultragpu-1g", 2: "a2-ultragpu-2g", 4: "a2-ultragpu-4g", 8: "a2-ultragpu-8g",
    },
    "H100": {1: "a3-highgpu-1g", 2: "a3-highgpu-2g", 4: "a3-highgpu-4g", 8: "a3-highgpu-8g"},
}  # fmt: skip
