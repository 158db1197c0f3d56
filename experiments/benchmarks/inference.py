"""Stars a second of `predict` on a Parquet file, with and without photometry, and its peak memory.

python experiments/benchmarks/inference.py --checkpoint runs/version_0/checkpoints/best.ckpt --stars 1000000
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import FIT, options, peak_memory, report

import stream_mapper as sml
from stream_mapper.catalog import read_table
from stream_mapper.inference.frozen import known_densities
from stream_mapper.mock import TailoredMock
from stream_mapper.predict import predict

_ROWS = 100_000  # written at once
_IN_MEMORY = 1_000_000  # stars up to which the parts are timed too
_DRAWS = 32


def write_stars(path: Path, count: int, without: tuple[str, ...]) -> None:
    """A Parquet file of this many stars of the mock, some columns left out."""
    simulated = TailoredMock(seed=0).simulate()
    columns = {n: v for n, v in simulated.items() if not n.startswith("true_") and n not in without}
    schema = pa.table({"source_id": np.arange(1), **{n: v[:1] for n, v in columns.items()}}).schema
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, _ROWS):
            rows = rng.integers(0, len(columns["phi1"]), min(_ROWS, count - start))
            numbers = {"source_id": start + np.arange(len(rows))}
            writer.write_table(pa.table({**numbers, **{n: v[rows] for n, v in columns.items()}}))


def parts(checkpoint: str, path: Path, device: torch.device) -> dict[str, float]:
    """Seconds of reading, of the flows, of the memberships without draws, and of those with them."""
    fit = sml.load(checkpoint).to(device)
    clock = [time.perf_counter()]
    stars = fit.annotation.read(read_table(path), str(path))
    clock.append(time.perf_counter())
    known = known_densities(fit.model, stars, device)
    clock.append(time.perf_counter())
    fit.membership_columns(stars, 0, known)
    clock.append(time.perf_counter())
    fit.membership_columns(stars, _DRAWS, known)
    clock.append(time.perf_counter())
    names = ("part: reading", "part: flows", "part: memberships", "part: memberships and draws")
    return dict(zip(names, np.diff(clock).tolist(), strict=True))


def main() -> None:
    """Print the times as JSON."""
    without = ("--without", {"nargs": "*", "default": []})
    processes = ("--processes", {"type": int, "default": 1})
    asked = options(__doc__, *FIT, without, processes)
    device = str(asked.device)
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "stars.parquet", Path(folder) / "members.parquet"
        write_stars(path, asked.stars, tuple(asked.without))
        found = {"stars": asked.stars, "seconds": {}}
        for label, draws in (("predict", _DRAWS), ("predict without draws", 0)):
            start = time.perf_counter()
            predict(asked.checkpoint, str(path), str(output), draws=draws, processes=asked.processes, device=device)
            found["seconds"][label] = time.perf_counter() - start
        found["peak_memory"] = peak_memory(asked.device)
        if asked.stars <= _IN_MEMORY:
            found["seconds"] |= parts(asked.checkpoint, path, asked.device)
    report(found)


if __name__ == "__main__":
    main()
