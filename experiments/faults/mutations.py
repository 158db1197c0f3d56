"""Changes at random: of the bytes of a file, of the words of a text, of a value somewhere inside others."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

WORDS = (
    *("nan", "NaN", "inf", "-inf", "1e400", "-1e400", "1e39", "0", "-1", "-0.0", "99", "-999", "9999", "1e-320"),
    *("", "null", "NULL", "None", "true", "text", "é", "\0", "1,5", "1;2", '"', "'", "#", "%", "{}", "[]", "[1", "- -"),
    *("9223372036854775808", "1" * 400, "0x10", "0200", "13:20:00", "1_000", "\t", "\n\n", "\r", "\ufeff", "a b"),
    *("&a", "*a", "!!python/object:os.system", "<<", "---", "...", "|", "? ", "$&", "<x>", "]]>", "&amp;", "\\N"),
)
"""What takes the place of a word."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 10**30, -(10**30), 2**63, 0.0, -0.5, 1e-300, 1e300, 1e39),
    *(math.nan, math.inf, -math.inf, "", "text", "0", "1e400", "é", "a.b.c", "../x", "\0", "os.system"),
    *([], {}, [None], [1, 2], [1, 2, 3], [[1]], [math.nan, 1.0], ["a"], {"a": 1}, {"class_path": "x"}),
)
"""What takes the place of a value."""


_COUNTS = (1, 1, 1, 2, 3)  # of changes


def any_value(rng: random.Random) -> Any:
    """One of the values, of its own: what is put into it later is not in the next one."""
    return copy.deepcopy(rng.choice(VALUES))


def other_bytes(raw: bytes, rng: random.Random) -> bytes:
    """A file with one to three changes: bytes flipped, written over, taken out, put in, doubled, or its end cut off."""
    for _ in range(rng.choice(_COUNTS)):
        at = min(_place(rng, len(raw)), max(len(raw) - 1, 0))
        width = rng.choice((1, 1, 1, 2, 4, 8, 80))
        piece = raw[at : at + width]
        raw = raw[:at] + rng.choice(_PIECES)(piece, rng) + raw[at + width :]
        if rng.random() < 0.1:
            raw = raw[:at]
    return raw


def other_text(text: str, rng: random.Random) -> bytes:
    """A text with one to three words or lines changed; one in ten in another encoding."""
    lines = text.split("\n")
    for _ in range(rng.choice(_COUNTS)):
        at = rng.randrange(len(lines))
        how = rng.random()
        if how < 0.7:
            lines[at] = _other_word(lines[at], rng)
        elif how < 0.8:
            lines[at] = ""
        elif how < 0.9:
            lines.insert(at, lines[rng.randrange(len(lines))])
        else:
            del lines[at + 1 :]
    said = "\n".join(lines)
    encoding = rng.choice(("utf-8",) * 18 + ("utf-16", "latin-1"))
    return said.encode(encoding, "replace")


def other_value(tree: Any, rng: random.Random) -> Any:
    """Values inside others with one to three of them replaced, removed or joined by one that nobody knows."""
    for _ in range(rng.choice(_COUNTS)):
        places = list(_places(tree))
        if not places:
            return any_value(rng)
        box, key = places[rng.randrange(len(places))]
        _change(box, key, rng)
    return tree


def _place(rng: random.Random, size: int) -> int:
    """A place in a file, half of them near its beginning or its end, where it is described."""
    near = int(rng.random() ** 3 * size)
    return rng.choice((near, size - 1 - near, rng.randrange(max(size, 1))))


_PIECES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda piece, rng: bytes(byte ^ (1 << rng.randrange(8)) for byte in piece),
    lambda piece, rng: bytes(rng.randrange(256) for _ in piece),
    lambda piece, rng: b"",  # noqa: ARG005
    lambda piece, rng: piece + piece,  # noqa: ARG005
    lambda piece, rng: bytes(len(piece)),  # noqa: ARG005
    lambda piece, rng: b"\xff" * len(piece),  # noqa: ARG005
    lambda piece, rng: rng.choice(WORDS).encode() + piece,
)


def _other_word(line: str, rng: random.Random) -> str:
    """The line with a word replaced, between whatever separates words there."""
    separator = rng.choice([mark for mark in (" ", ",", ":", "<", '"', "=") if mark in line] or [" "])
    words = line.split(separator)
    at = rng.randrange(len(words))
    words[at] = rng.choice(WORDS) if rng.random() < 0.8 else words[rng.randrange(len(words))]
    return separator.join(words)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in which something stands: what holds it, and its key."""
    waiting = [tree]
    while waiting:
        box = waiting.pop()
        keys = list(box) if isinstance(box, dict) else range(len(box)) if isinstance(box, list) else ()
        for key in keys:
            yield box, key
            waiting.append(box[key])


def _change(box: Any, key: Any, rng: random.Random) -> None:
    how = rng.random()
    if isinstance(box[key], torch.Tensor):
        box[key] = rng.choice(_TENSORS)(box[key], rng)
    elif how < 0.75:
        box[key] = any_value(rng)
    elif how < 0.85:
        del box[key]
    elif isinstance(box, dict):
        box[rng.choice(("more", "class_path", "init_args", 3, ""))] = any_value(rng)
    else:
        box.append(any_value(rng))


_TENSORS: tuple[Callable[[torch.Tensor, random.Random], Any], ...] = (
    lambda values, rng: values * math.nan,  # noqa: ARG005
    lambda values, rng: values * 1e30,  # noqa: ARG005
    lambda values, rng: values.flatten()[:1],  # noqa: ARG005
    lambda values, rng: values.unsqueeze(0),  # noqa: ARG005
    lambda values, rng: values.to(rng.choice((torch.float64, torch.float16, torch.int64, torch.complex64, torch.bool))),
    lambda values, rng: any_value(rng),  # noqa: ARG005
    lambda values, rng: torch.zeros(0),  # noqa: ARG005
    lambda values, rng: values.tolist(),  # noqa: ARG005
)
