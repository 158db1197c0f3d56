"""Extinction by dust: E(B-V) of each star, and what it takes from each band."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO

import numpy as np
import torch
from astropy import units
from astropy.coordinates import SkyCoord

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.files import one_line
from stream_mapper.catalog.schema import find_column, is_magnitude
from stream_mapper.catalog.surveys import DEREDDENED, GAIA_BANDS, SURVEYS, Surveys, find_band, is_dereddened, survey_of
from stream_mapper.errors import InputError, check_positive
from stream_mapper.track import Track
from stream_mapper.trust import check_map

logger = logging.getLogger("stream_mapper")

MAPS = {"sfd": "dustmaps.sfd.SFDQuery", "csfd": "dustmaps.csfd.CSFDQuery"}
"""Maps of dustmaps on the scale of Schlegel et al. (1998), SFD, of all the dust along a line of sight."""

MAPS_IN_DEPTH = {"bayestar": "dustmaps.bayestar.BayestarQuery"}
"""Those of the dust up to a distance. Bayestar (Green et al. 2019, ApJ 887, 93) is on the scale of SFD: E(g - r) of
Pan-STARRS1 is 0.901 times its unit, as it is of the E(B-V) of SFD (Schlafly & Finkbeiner 2011)."""

_OPTIONS = {"bayestar": {"mode": "median"}}  # of a query; its own default is one sample at random

SFD_SCALE = 0.86
"""E(B-V) over that of SFD (Schlafly & Finkbeiner 2011)."""

_R_V = 3.1
_COLOURS = (-0.06, 2.5)  # (BP - RP)_0 of the stars that the coefficients of Gaia are for
_TYPICAL = 0.8  # (BP - RP)_0 of a star without colours: near the turn-off and the giants of an old population
_ROUNDS = 20  # enough to find (BP - RP)_0 to 1e-6 mag at A_0 = 5 mag

_GAIA = {
    "G": (0.9761, -0.1704, 0.0086, 0.0011, -0.0438, 0.0013, 0.0099),
    "BP": (1.1517, -0.0871, -0.0333, 0.0173, -0.0230, 0.0006, 0.0043),
    "RP": (0.6104, -0.0170, -0.0026, -0.0017, -0.0078, 0.00005, 0.0006),
}
_GAIA_COLOURS = {"bp_rp": ("BP", "RP"), "bp_g": ("BP", "G"), "g_rp": ("G", "RP")}


@dataclass(frozen=True)
class Extinction:
    """Reddening, which is taken out of magnitudes.

    The coefficients A / E(B-V) are those of Schlafly & Finkbeiner (2011, ApJ 737, 103, table 6, R_V = 3.1), and for
    Gaia, which depend on colour and extinction, those of Gaia Collaboration, Babusiaux et al. (2018, A&A 616, A10,
    table 1), with A_0 = 3.1 x 0.86 E(B-V). All are for an E(B-V) on the scale of Schlegel et al. (1998).

    Arguments:
        ebv: Column of E(B-V), or one value [mag] for all stars.
        map: A map of the package dustmaps instead, ``sfd`` or ``csfd``, or ``bayestar``, which needs a distance; or the
            import path of a query class.
        distance: Distance of the stars [kpc], up to which the dust of a map counts: a number, a column, or that of a
            track at the phi1 of each star. It is that of the stream; stars in front of it get too much.
        scale: Factor from the column or map to E(B-V) on the scale of Schlegel et al. (1998).
        coefficients: A / E(B-V) by internal name of the band, or of the colour, in the place of the defaults.

    Raises:
        InputError: If not exactly one of ``ebv`` and ``map`` is given, a map of another scale has none, or a distance
            is lacking or has no use.
    """

    ebv: float | str | None = None
    map: str | None = None
    distance: float | str | Track | None = None
    scale: float | None = None
    coefficients: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.ebv is None) == (self.map is None):
            raise InputError("extinction: give either ebv, a column or a value, or map.")
        if self.map in MAPS_IN_DEPTH and self.distance is None:
            raise InputError(f"extinction: the map {self.map} needs a distance [kpc]: a number, a column or a track.")
        if self.distance is not None and (self.map is None or self.map in MAPS):
            raise InputError(
                f"extinction: a distance is of a map with depth, such as {[*MAPS_IN_DEPTH]}; leave it out."
            )
        if isinstance(self.distance, int | float):
            check_positive("the distance of an extinction", self.distance)
        if self.map is not None and self.map not in (*MAPS, *MAPS_IN_DEPTH) and self.scale is None:
            advice = f"give scale, or one of {[*MAPS, *MAPS_IN_DEPTH]}"
            raise InputError(f"extinction: the scale of the map {self.map!r} is not known; {advice}.")
        numbers = [*self.coefficients.values(), 1.0 if self.scale is None else self.scale]
        if isinstance(self.ebv, int | float):
            numbers.append(self.ebv)
        if not np.isfinite(numbers).all():
            raise InputError(f"extinction: {numbers} have to be numbers.")

    def columns(self, names: Sequence[str], asked: Mapping[str, Column], survey: Surveys) -> set[str]:
        """Columns of a table of these names that are read besides those asked for."""
        place = ("ra", "dec") if self.map is not None else ()
        colour = _colour_columns(names) if self._gaia(asked, survey) else {}
        ebv = {name for name in (self.ebv, self.distance) if isinstance(name, str)}
        if isinstance(self.distance, Track):
            place = (*place, "phi1")
        return ebv | {find_column(name, names) or name for name in place} | set(colour.values())

    def apply(
        self, arrays: Mapping[str, Values], reader: ColumnReader, sources: Mapping[str, Column], survey: Surveys
    ) -> dict[str, Values]:
        """The magnitudes and colours that are read, without extinction, by name; a star without E(B-V) has none.

        Raises:
            InputError: If E(B-V) cannot be had, or the coefficient of a magnitude is not known.
        """
        if strange := set(self.coefficients) - set(arrays):
            raise InputError(f"extinction: coefficients of {sorted(strange)}, not among what is read, {[*arrays]}.")
        self._refuse_free(sources, survey)
        ebv = self._reddening(reader)
        rates = self._constants(sources, survey)
        absorbed: dict[str, Values] = {name: rate * ebv for name, rate in rates.items()}
        if gaia := self._gaia(sources, survey):
            bands = gaia_extinction(ebv, self._colour(reader))
            absorbed |= {name: _of_gaia(bands, name) for name in gaia}
        source = f"the map {self.map}" if self.map else f"E(B-V) of {self.ebv!r}"
        text = "%s: extinction by %s taken out, mean E(B-V) %.4f mag, mean A: %s."
        means = ", ".join(f"{name} {_mean(values):.4f} mag ({self._source(name)})" for name, values in absorbed.items())
        logger.info(text, reader.path, source, _mean(ebv), means or "none")
        if lacking := int(np.isnan(ebv).sum()):
            logger.warning("%s: %d stars have no E(B-V); their magnitudes count as missing.", reader.path, lacking)
        return {name: arrays[name] - values for name, values in absorbed.items()}

    def _refuse_free(self, sources: Mapping[str, Column], survey: Surveys) -> None:
        """Raise InputError if the extinction of a magnitude is taken out already, by the name of its column."""
        names = [name for name in sources if is_magnitude(name) and name not in self.coefficients]
        free = [sources[name].column for name in names if _is_free(name, sources[name].column, survey)]
        if free:
            advice = "leave extinction out, name those as observed in columns, or give coefficients of 0"
            raise InputError(f"extinction: by their names {free} are without extinction already; {advice}.")

    def _reddening(self, reader: ColumnReader) -> Values:
        """E(B-V) on the scale of SFD, shape (N,)."""
        scale = 1.0 if self.scale is None else self.scale
        if self.map is not None:
            return scale * _from_map(self.map, reader, self._distances(reader))
        if isinstance(self.ebv, str):
            return scale * reader.values("ebv", reader.find({"ebv": self.ebv})["ebv"])
        return np.full(len(reader.table), scale * float(self.ebv or 0.0))

    def _distances(self, reader: ColumnReader) -> Values | None:
        """Distance up to which dust counts, of each star [kpc]; None for all of the line of sight."""
        if self.distance is None:
            return None
        if isinstance(self.distance, Track):
            phi1 = reader.values("phi1", reader.find(["phi1"])["phi1"])
            return self.distance.at("distance", torch.from_numpy(phi1)).numpy()
        if isinstance(self.distance, str):
            return reader.values("distance", reader.find({"distance": self.distance})["distance"])
        return np.full(len(reader.table), float(self.distance))

    def _colour(self, reader: ColumnReader) -> Values:
        """BP - RP of each star, NaN where it has none."""
        columns = _colour_columns(reader.names)
        values = {name: reader.values(name, Column(column)) for name, column in columns.items()}
        if "bp_rp" in values:
            return values["bp_rp"]
        return values["BP"] - values["RP"] if values else np.full(len(reader.table), np.nan)

    def _constants(self, sources: Mapping[str, Column], survey: Surveys) -> dict[str, float]:
        """A / E(B-V) of the magnitudes whose coefficient is one number."""
        if strange := set(self.coefficients) - set(sources):
            raise InputError(
                f"extinction: coefficients of {sorted(strange)}, which are not read; there are {[*sources]}."
            )
        gaia = self._gaia(sources, survey)
        names = [name for name in sources if is_magnitude(name) and name not in gaia]
        return {name: self._constant(name, sources[name].column, survey) for name in names}

    def _constant(self, name: str, column: str, survey: Surveys) -> float:
        if name in self.coefficients:
            return self.coefficients[name]
        known = survey_of(name, column, survey)
        rate = SURVEYS[known].coefficients.get(name) if known else None
        if rate is None:
            advice = "name data.survey, or give its extinction.coefficients (0 if it has none)"
            raise InputError(f"extinction: no coefficient is known for {name!r} (column {column!r}); {advice}.")
        return rate

    def _gaia(self, sources: Mapping[str, Column], survey: Surveys) -> list[str]:
        """Magnitudes and colours of Gaia among the columns, unless they are given a coefficient."""
        names = [name for name in sources if name in (*GAIA_BANDS, *_GAIA_COLOURS) and name not in self.coefficients]
        named = [survey] if isinstance(survey, str) else survey
        return names if named is None or any(name.startswith("gaia") for name in named) else []

    def _source(self, name: str) -> str:
        if name in self.coefficients:
            return "given"
        return "Babusiaux et al. 2018" if name in (*GAIA_BANDS, *_GAIA_COLOURS) else "Schlafly & Finkbeiner 2011"


def gaia_extinction(ebv: Values, colour: Values) -> dict[str, Values]:
    """Extinction [mag] in the bands of Gaia, shape (N,) each.

    k = c1 + c2 C + c3 C^2 + c4 C^3 + c5 A_0 + c6 A_0^2 + c7 C A_0 of Gaia Collaboration, Babusiaux et al. (2018), where
    C = (BP - RP)_0 follows from the observed colour by repetition.

    Arguments:
        ebv: E(B-V) on the scale of Schlegel et al. (1998) [mag], shape (N,).
        colour: BP - RP as observed [mag], shape (N,); where it is missing (BP - RP)_0 = 0.8 is taken.
    """
    total = _R_V * SFD_SCALE * ebv
    free = np.where(np.isnan(colour), _TYPICAL, colour)
    for _ in range(_ROUNDS):
        bands = {band: _rate(band, free, total) * total for band in GAIA_BANDS}
        bare = np.where(np.isnan(colour), _TYPICAL, colour - bands["BP"] + bands["RP"])
        free = np.clip(bare, *_COLOURS)
    return {band: _rate(band, free, total) * total for band in GAIA_BANDS}


def _rate(band: str, colour: Values, total: Values) -> Values:
    c1, c2, c3, c4, c5, c6, c7 = _GAIA[band]
    return c1 + colour * (c2 + colour * (c3 + colour * c4)) + total * (c5 + c6 * total + c7 * colour)


def _of_gaia(bands: Mapping[str, Values], name: str) -> Values:
    """Extinction of a band of Gaia, or reddening of a colour."""
    if name in bands:
        return bands[name]
    blue, red = _GAIA_COLOURS[name]
    return bands[blue] - bands[red]


def _colour_columns(names: Sequence[str]) -> dict[str, str]:
    """Columns of BP - RP, or of BP and RP, none if the table has neither."""
    spelt = {name: find_column(name, names, "gaia_dr3") for name in ("bp_rp", "BP", "RP")}
    if spelt["bp_rp"]:
        return {"bp_rp": spelt["bp_rp"]}
    return {name: spelt[name] or "" for name in ("BP", "RP")} if spelt["BP"] and spelt["RP"] else {}


def _from_map(name: str, reader: ColumnReader, distances: Values | None) -> Values:
    """E(B-V) as a map of dustmaps has it, at each star; NaN where it has none."""
    path = (MAPS | MAPS_IN_DEPTH).get(name, name)
    check_map(path)
    columns = reader.find(["ra", "dec"])
    place = [reader.values(axis, columns[axis]) for axis in ("ra", "dec")] + ([] if distances is None else [distances])
    known = np.isfinite(place).all(axis=0)
    out = np.full(known.shape, np.nan)
    try:
        stars = _coordinates(*(values[known] for values in place))
        with redirect_stdout(StringIO()):  # maps report on what they load
            out[known] = np.asarray(_query(path)(stars, **_OPTIONS.get(name, {})), dtype=np.float64)
    except Exception as error:  # whatever dustmaps says of a package or a file that is not there
        advice = "install dustmaps and fetch the map, or give ebv"
        raise InputError(f"extinction: the map {name!r} cannot be used ({one_line(error)}); {advice}.") from error
    return out


def _query(path: str) -> Callable[..., Values]:
    """A map, loaded."""
    module, _, query = path.rpartition(".")
    return getattr(importlib.import_module(module), query)()


def _coordinates(ra: Values, dec: Values, distance: Values | None = None) -> SkyCoord:
    away = {} if distance is None else {"distance": distance * units.kpc}
    return SkyCoord(ra * units.deg, dec * units.deg, **away)


def _is_free(name: str, column: str, surveys: Surveys) -> bool:
    """Whether a column has a magnitude without extinction, by its name."""
    known = [surveys] if isinstance(surveys, str) else list(SURVEYS if surveys is None else surveys)
    free = [survey for survey in (*known, *(one + DEREDDENED for one in known)) if is_dereddened(survey)]
    return name != column and any(find_band(name, [column], survey) for survey in free if survey in SURVEYS)


def _mean(values: Values) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
