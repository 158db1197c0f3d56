"""The random numbers to come: of torch, numpy and Python, as plain values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def random_state() -> State:
    """Where the generators are, as numbers and tensors, which a checkpoint may hold."""
    name, keys, place, has_normal, normal = np.random.get_state(legacy=True)  # noqa: NPY002 (priors and hooks may draw from it)
    version, words, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "devices": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), place, has_normal, normal],
        "python": [version, torch.tensor(words), spare],
    }


def set_random_state(state: State) -> None:
    """Put the generators where they were; those of devices if there are as many."""
    torch.set_rng_state(state["torch"])
    if state["devices"] and len(state["devices"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["devices"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, words, spare = state["python"]
    random.setstate((version, tuple(words.tolist()), spare))
