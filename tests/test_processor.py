"""What is said of a processor that a precision does not suit."""

from pathlib import Path

import pytest

from trainer.distribute import processor


@pytest.mark.parametrize(
    ("precision", "flags", "says"),
    [
        ("float32", "fpu sse2", ""),
        ("mixed_bfloat16", "fpu sse2 avx512f", "slower than float32 on this processor"),
        ("mixed_bfloat16", "fpu avx512_bf16", ""),
        ("mixed_bfloat16", "asimd bf16 i8mm", ""),
        ("mixed_bfloat16", None, ""),  # Not Linux.
        ("mixed_float16", "fpu avx512_bf16", "names none of avx512_fp16, amx_fp16, asimdhp"),
    ],
)
def test_slow_precision_is_told(
    precision: str, flags: str | None, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if flags:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    processor.warn_of_slow(precision, tmp_path / "cpuinfo")
    assert says in caplog.text
    assert bool(caplog.text) == bool(says)
