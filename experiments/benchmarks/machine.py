"""What the machine can do at most: rates that the parts of a step are compared with.

python experiments/benchmarks/machine.py --threads 2
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from common import best_of, options, report

_LARGE = 64 * 2**20  # numbers: far beyond any cache
_SMALL = 2**15  # numbers: within a core's cache


def name_of(device: torch.device) -> str:
    """Name of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rates(device: torch.device) -> dict[str, float]:
    """Bytes a second through memory and through the cache, and floating point operations a second in a product."""
    large, out = torch.ones(_LARGE, device=device), torch.empty(_LARGE, device=device)
    small, little = torch.ones(_SMALL, device=device), torch.empty(_SMALL, device=device)
    square = torch.ones(2048, 2048, device=device)

    def within_cache() -> None:
        for _ in range(1000):
            torch.mul(small, 1.5, out=little)

    return {
        "memory_bytes_per_s": 8 * _LARGE / best_of(lambda: torch.mul(large, 1.5, out=out), device),
        "cache_bytes_per_s": 8 * _SMALL * 1000 / best_of(within_cache, device),
        "matrix_flops_per_s": 2 * 2048**3 / best_of(lambda: square @ square, device),
    }


def main() -> None:
    """Print the rates as JSON."""
    asked = options(__doc__)
    found = {"machine": name_of(asked.device), "threads": torch.get_num_threads(), "torch": torch.__version__}
    report(found | rates(asked.device))


if __name__ == "__main__":
    main()
