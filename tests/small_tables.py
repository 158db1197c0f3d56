"""A small table in every form it may come in, and what has to be read from it."""

import astropy.units as u
import numpy as np
import torch
from astropy.table import Column as TableColumn
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

NAMES = ["ra", "pmra", "parallax", "parallax_err", "g"]
RA, PMRA, PLX = np.array([150.25, 151.5, 152.0]), np.array([-5.0, np.nan, -6.5]), np.array([0.125, 0.25, -0.5])
ERR, G = np.array([0.0625, 0.125, 0.25]), np.array([18.0, 19.5, np.nan])
SOURCE_ID = 635559124339440001


def plain(kind=float, **other):
    """The table of all format tests; `other` replaces columns."""
    columns = {
        "source_id": np.array([SOURCE_ID, 2, 3]),
        "ra": TableColumn(RA.astype(kind), unit="deg"),
        "pmra": TableColumn(PMRA.astype(kind), unit="mas / yr"),
        "parallax": TableColumn(PLX.astype(kind), unit="mas"),
        "parallax_error": TableColumn(ERR.astype(kind), unit="mas"),
        "g": TableColumn(G.astype(kind), unit="mag"),
    }
    return Table({**columns, **other})


def masked():
    pmra = MaskedColumn([-5.0, 99.0, -6.5], mask=[0, 1, 0], unit="mas / yr")
    return plain(pmra=pmra, g=MaskedColumn([18.0, 19.5, 99.0], mask=[0, 0, 1], unit="mag"))


def quantities():
    table = QTable(plain())
    table["pmra"] = Masked([-5.0, 99.0, -6.5] * u.mas / u.yr, mask=[0, 1, 0])
    return table


def other_units():
    ra = TableColumn(RA * 60, unit="arcmin")
    return plain(
        ra=ra,
        parallax=(PLX * 1e3 * u.uas),
        parallax_error=ERR * 1e-3 * u.arcsec,
        pmra=PMRA * u.uas / u.day * 1e3 / 365.25,
    )


TABLES = {
    "float64": plain,
    "float32": lambda: plain("f4"),
    "big-endian float64": lambda: plain(">f8"),
    "big-endian float32": lambda: plain(">f4"),
    "masked": masked,
    "quantities": quantities,
    "other units": other_units,
    "zero point": lambda: plain(g=TableColumn(G, unit="mag(AB)")),
    "no units": lambda: Table({name: np.asarray(column) for name, column in plain().items()}),
}


def assert_expected(data):
    for name, values in zip(NAMES, (RA, PMRA, PLX, ERR, G), strict=True):
        assert data[name].dtype == torch.float64
        assert data.where[name].tolist() == (~np.isnan(values)).tolist()
        np.testing.assert_allclose(data[name].numpy(), np.nan_to_num(values), rtol=1e-9)
