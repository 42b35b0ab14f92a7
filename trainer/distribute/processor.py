"""What the processor computes by itself, where it takes the place of a GPU."""

from pathlib import Path

from absl import logging

_CPUINFO = Path("/proc/cpuinfo")  # Linux's; elsewhere nothing is known.
# What it names a processor's arithmetic; the last of each are ARM's.
_ARITHMETIC = {
    "mixed_bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "mixed_float16": ("avx512_fp16", "amx_fp16", "asimdhp"),
}


def warn_of_slow(precision: str, cpuinfo: Path = _CPUINFO) -> None:
    """Warns where the processor has to convert each number back and forth."""
    names = _ARITHMETIC.get(precision)
    if names and cpuinfo.exists() and not set(names) & set(cpuinfo.read_text().split()):
        logging.warning(
            "--precision=%s is slower than float32 on this processor, which cannot compute in it: "
            "/proc/cpuinfo names none of %s.", precision, ", ".join(names),
        )  # fmt: skip
