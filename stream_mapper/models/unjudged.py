"""Stars that lack a coordinate, so that its window could not judge them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.models.base import Model

_MOST = 6  # coordinates; each doubles the numbers
_TOGETHER = 0.9  # share of the stars that lack a coordinate above which they lack a column, too
_QUARTERS, _MOSTLY = 4, 0.5


class Selection(Protocol):
    """What says whether each of N stars is selected, (N,), and which columns it reads."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it reads."""

    def __call__(self, data: Data, /) -> Tensor:
        """Whether each star is selected."""


class Unjudged(nn.Module):
    r"""How many times more stars of the background there are where some coordinates are missing.

    A window takes out the stars of the background that are outside it, and leaves those that lack its coordinate: where
    a window in proper motion holds 3 % of a field, a star without a proper motion is of the background 33 times as
    likely, beside a stream that is wholly inside, as one that has it. With the coordinates M missing this number is

    .. math:: v(M) = \frac{\text{stars that have M and are inside the windows of all else}}
        {\text{those of them that are inside the windows of M, too}}.

    It is counted off the stream, a coordinate being missing by chance. One that most stars of some magnitude lack is
    not: they are of another kind than those that have it, and what they lack says nothing. Magnitudes are left out, for
    their windows take the faint stars of the stream as they take those of the background.
    """

    ln_more: Tensor
    columns: Tensor

    def __init__(self, names: Sequence[str], magnitudes: Sequence[str] = ()) -> None:
        """Take the names of the coordinates that may be counted, in an order that stays, and of the magnitudes."""
        super().__init__()
        self.names, self.magnitudes = tuple(names), tuple(magnitudes)
        self.counted: tuple[str, ...] = ()
        self.register_buffer("columns", torch.zeros(0, dtype=torch.long))  # places of those counted in names, (K,)
        self.register_buffer("ln_more", torch.zeros(1))  # ln v, (2^K,); coordinate k is missing where bit k is set

    def forward(self, data: Data) -> Tensor:
        """Log of v of each star, (N,): zero for a star that has every coordinate."""
        pattern = torch.zeros(len(data), dtype=torch.long, device=data.device)
        for bit, name in enumerate(self.counted):
            if name in data:
                pattern = pattern + (~data.where[name]).long() * 2**bit
        return self.ln_more[pattern]

    def told(self) -> list[str]:
        """A sentence on each coordinate that is counted."""
        text = "%s: %.2g %% of the stars off the stream are in its window; of those that lack it all are taken"
        shares = [100 * (-self.ln_more[2**bit]).exp().item() for bit in range(len(self.counted))]
        return [text % (name, share) for name, share in zip(self.counted, shares, strict=True)]

    @torch.no_grad()
    def count(self, model: Model, stars: Data, selection: Selection | None = None) -> None:
        """Count the stars.

        A selection is a window, too: a column in which it cuts, and that is missing in nine of ten stars that lack some
        coordinates, could not be judged either, as the parallaxes of stars without proper motions.

        Arguments:
            model: The whole model, whose windows they are.
            stars: Stars of the background, inside its windows or not, selected or not.
            selection: Whether each of some stars is selected, and the columns that it reads.
        """
        stars = model.measured(stars)

        def ln_more(names: Sequence[str], had: Sequence[str] = ()) -> float:
            """Log of v of stars that lack some coordinates and have others, from those that have all."""
            lacking = ~torch.stack([stars.where[name] for name in names] + [~stars.where[name] for name in had]).any(0)
            others = () if selection is None else [name for name in selection.columns if name not in names]
            lost = [name for name in others if _share(~stars.where[name][lacking]) > _TOGETHER]
            having = stars[stars.where[[*names, *lost]].all(-1)]
            blank = having.with_columns({name: torch.full_like(having[name], torch.nan) for name in [*names, *lost]})
            without, inside = (int(_passes(model, selection, data).sum()) for data in (blank, having))
            return math.log((without + 0.5) / (inside + 0.5))

        lacked = [name for name in self.names if name in stars and not bool(stars.where[name].all())]
        lacked = [name for name in lacked if not any(_goes_with(stars, name, other) for other in self.magnitudes)]
        alone = {name: ln_more([name]) for name in lacked}
        weight = {name: value * int((~stars.where[name]).sum()) for name, value in alone.items() if value > 0}
        chosen = sorted(sorted(weight, key=lambda name: -weight[name])[:_MOST], key=self.names.index)
        values = torch.zeros(2 ** len(chosen))
        for pattern in range(1, len(values)):
            missing = [name for bit, name in enumerate(chosen) if pattern >> bit & 1]
            values[pattern] = ln_more(missing, [name for name in chosen if name not in missing])
        self._set(torch.tensor([self.names.index(name) for name in chosen], dtype=torch.long), values)

    def _set(self, columns: Tensor, ln_more: Tensor) -> None:
        device = self.ln_more.device
        self.columns, self.ln_more = columns.to(device), ln_more.to(device)
        self.counted = tuple(self.names[i] for i in columns.tolist())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Take the numbers of any coordinates; of a checkpoint from before there were some, none."""
        columns, ln_more = (state_dict.get(f"{prefix}{name}") for name in ("columns", "ln_more"))
        self._set(
            torch.zeros(0, dtype=torch.long) if columns is None else columns.clone(),
            torch.zeros(1) if ln_more is None else ln_more.clone(),
        )


def _goes_with(stars: Data, name: str, magnitude: str) -> bool:
    """Whether most stars of some quarter in a magnitude lack a coordinate."""
    known = stars.where[magnitude]
    if int(known.sum()) < _QUARTERS:
        return False
    lacking = (~stars.where[name][known])[stars[magnitude][known].argsort()]
    return any(_share(quarter) > _MOSTLY for quarter in lacking.chunk(_QUARTERS))


def _passes(model: Model, selection: Selection | None, stars: Data) -> Tensor:
    """Whether each star is inside the windows and selected, (N,)."""
    inside = model.in_window(stars)
    return inside if selection is None else inside & selection(stars)


def _share(mask: Tensor) -> float:
    return mask.double().mean().item() if len(mask) else 0.0
