"""Members whose background density is extrapolated beyond the stars it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.models.base import Model
from stream_mapper.models.components import frozen_parts

SHARE = 0.01
"""Share of the stars off the track that may have no training stars near them."""
SHARE_MEMBERS = 0.03
"""Such stars expected on the track, as a share of the expected members."""
FEWEST = 4
"""Such stars on the track that may be, whatever their share."""
FAR = 2.0
"""Distance to the training stars, in units of what 999 in 1000 of them have to each other, that is far."""
_WIDTHS = 4.0  # of a stream, within which a star may be of it
_UNLIKELY = 0.5  # probability of the background below which a star says nothing of the field
_NEIGHBOUR = 5  # which neighbour the distance is to
_REFERENCE, _POINTS, _FIRST, _ROWS = 500, 20_000, 500, 4096  # stars at most, of each kind, and at once
_SEED = 0


def support(inspection: Inspection) -> list[Check]:
    """One check a density trained beforehand: likely members where it had no stars to learn from."""
    training = inspection.evidence.off_stream
    if training is None:
        return []
    return [_support(inspection, part, training) for part in frozen_parts(inspection.model).values()]


def _support(inspection: Inspection, part: Model, training: Data) -> Check:
    names = (*part.indep_coord_names, *part.coord_names)
    stars = inspection.fitted.stars
    rows = inspection.sample[stars.where[names][inspection.sample].all(-1)]
    known = training[training.where[names].all(-1)]
    density = f"the density of {', '.join(part.coord_names)}"
    if len(rows) == 0 or len(known) <= _NEIGHBOUR:
        return Check("support", "", "ok", 0.0, SHARE, f"{density}: no star has all its coordinates")
    far = torch.zeros(len(stars), dtype=torch.bool).index_put((rows,), _far(known[names], stars[rows][names]))
    field = ~_on_track(inspection)
    share = (far & field).sum().item() / max(int(field[inspection.sample].sum()), 1)
    member = _expected(inspection, far, field)
    text = (
        f"{density} is extrapolated for {share:.1%} of the field's stars and {_of_members(inspection, far):.0%} of the "
        f"likely members; about {member:.0f} of these are of the field"
    )
    if share <= SHARE and member <= max(FEWEST, SHARE_MEMBERS * (1 - inspection.fitted.p_background).sum().item()):
        return Check("support", "", "ok", share, SHARE, text)
    return Check("support", "", "fail", share, SHARE, f"{text}. {_where(names, known, stars[far & field])}")


def _on_track(inspection: Inspection) -> Tensor:
    """Whether each star may be of a stream, by its distance from the centre in the first coordinate with one, (N,)."""
    near = torch.zeros(len(inspection.fitted), dtype=torch.bool)
    for q in inspection.evidence.streams:
        for one in inspection.scans[q][:1]:
            centre = inspection.centre(q, one.location.coord, inspection.fitted)
            if centre is not None:
                near |= (inspection.fitted.stars[one.location.coord] - centre).abs() < _WIDTHS * one.width
    return near


def _expected(inspection: Inspection, far: Tensor, field: Tensor) -> float:
    """Stars of the field that are expected on the track among those that have no stars near them to learn from."""
    known = ~far & (inspection.fitted.p_background >= _UNLIKELY)
    beside = (known & field).sum().item()
    here = (far & field).sum().item() * inspection.each_counts
    return here * (known & ~field).sum().item() / max(beside, 1)


def _of_members(inspection: Inspection, far: Tensor) -> float:
    likely = torch.cat([inspection.likely(q) for q in inspection.evidence.streams]).unique()
    likely = likely[torch.isin(likely, inspection.sample)]
    return far[likely].float().mean().item() if len(likely) else 0.0


def _far(known: Tensor, stars: Tensor) -> Tensor:
    """Whether each star is far from all those trained on, (M,), in units of their standard deviations."""
    generator = torch.Generator().manual_seed(_SEED)
    known, stars = known.float(), stars.float()
    mean, scale = known.mean(0), known.std(0).clamp(min=1e-12)
    points = (_some(known, _POINTS, generator) - mean) / scale
    own = _distances(_some(points, _REFERENCE, generator), points, _NEIGHBOUR + 1)
    limit = FAR * own.quantile(0.999).item()
    return _sparse((stars - mean) / scale, points, limit)


def _sparse(stars: Tensor, points: Tensor, limit: float) -> Tensor:
    """Whether fewer than so many points are nearer than a distance, (M,).

    Most stars are in the densest places: a few points suffice to see that they are near some.
    """
    first = points[:_FIRST]
    far = torch.cat([torch.cdist(part, first).amin(-1) > limit for part in stars.split(_ROWS)])
    rows = far.nonzero()[:, 0]
    if len(rows):
        near = [(torch.cdist(part, points) < limit).sum(-1) for part in stars[rows].split(_ROWS)]
        far[rows] = torch.cat(near) < _NEIGHBOUR
    return far


def _distances(stars: Tensor, points: Tensor, neighbour: int) -> Tensor:
    return torch.cdist(stars, points).kthvalue(neighbour, dim=-1).values


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]


def _where(names: tuple[str, ...], known: Data, stars: Data) -> str:
    """The coordinate in which the unsupported stars stand out most, and what to do."""
    beyond = {n: ((stars[n] < known[n].min()) | (stars[n] > known[n].max())).float().mean().item() for n in names}
    name = max(beyond, key=lambda n: beyond[n])
    if not beyond[name]:
        return (
            f"Their {', '.join(names)} are within the range of its training stars, where few of these are. Members "
            "there rest on the tail of a density: train on more stars, or cut the field to where there are some"
        )
    low, high = stars[name].aminmax()
    seen = known[name].aminmax()
    return (
        f"Mostly in {name}: they have {low:.4g}..{high:.4g}, its training stars {seen.min:.4g}..{seen.max:.4g}. "
        f"Members there rest on the tail of a density: cut {name} to where there are training stars, or train on more"
    )
