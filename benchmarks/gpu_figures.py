"""Reads what the processes of benchmarks.gpu leave, and puts it into a table."""

import csv
import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def figures_of(printed: str) -> dict[str, Any]:
    """What a training printed: its verdict, and the figures of benchmarks.gpu_training."""
    lines = printed.splitlines()
    verdicts = [line for line in lines if re.match(r"[\d.]+ images/s, ", line)]
    return {**json.loads(lines[-1]), "verdict": verdicts[-1] if verdicts else None}


def rates_of(history: Path) -> dict[str, float]:
    """Images a second of the epochs behind the first, in which graphs are built: the median."""
    with history.open() as file:
        rates = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    return {"images_per_second": statistics.median(rates[1:])}


def same_bits(one: Path, other: Path) -> bool:
    """Whether the last checkpoints of two runs hold the same bits, times aside."""
    last = [max((run / "checkpoints").glob("step-*.npz")) for run in (one, other)]
    with np.load(last[0]) as a, np.load(last[1]) as b:
        names = [name for name in a.files if name != "progress"]
        return (
            last[0].name == last[1].name
            and a.files == b.files
            and all(a[name].tobytes() == b[name].tobytes() for name in names)
        )


def read_log(log: Path) -> list[dict[str, Any]]:
    """Returns the entries of a log; none where there is no file."""
    return list(map(json.loads, log.read_text().splitlines())) if log.exists() else []


def table(entries: Iterable[dict[str, Any]]) -> str:
    """Returns a table of the trainings, as Markdown, and a line for each of the rest."""
    entries = [entry for entry in entries if "error" not in entry]
    bounds = bounds_of(entries)
    lines = [
        "| precision | XLA | from | batch | images/s | of the bound | memory | bound by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in (entry for entry in entries if entry["kind"] == "training"):
        what = "features" if entry["cache_features"] == "on" else "train"
        bound = bounds.get((what, entry["precision"], entry["jit_compile"], entry["batch_size"]))
        cells = (
            entry["precision"],
            "yes" if entry["jit_compile"] else "no",
            "features" if what == "features" else "photographs",
            entry["batch_size"],
            f"{entry['images_per_second']:,.0f}",
            f"{entry['images_per_second'] / bound:.2f}" if bound else "",
            f"{entry['peak_bytes'] / 1e9:.1f} GB" if entry["peak_bytes"] else "",
            re.sub(r".*bound by (\w+)\..*", r"\1", entry["verdict"] or ""),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    for (what, precision, jit_compile, batch_size), rate in bounds.items():
        xla = ", XLA" if jit_compile else ""
        lines.append(f"bound, {what}, {precision}{xla}, {batch_size}: {rate:,.0f} images/s")
    for entry in entries:
        if "same_bits" in entry:
            lines.append(f"{entry['name']}: same bits: {entry['same_bits']}")
    return "\n".join(lines)


def bounds_of(entries: Iterable[dict[str, Any]]) -> dict[tuple[str, str, bool, int], float]:
    """{(what, precision, jit_compile, batch size): images a second}."""
    return {
        (figure["what"], entry["precision"], entry["jit_compile"], figure["batch_size"]): figure[
            "images_per_second"
        ]
        for entry in entries
        if entry["kind"] == "bound"
        for figure in entry["bounds"]
    }
