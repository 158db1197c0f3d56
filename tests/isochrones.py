"""The curves the tests of isochrones run on; the real ones are skipped where there are none."""

from pathlib import Path

import pytest

from stream_mapper.builtin.isochrone import Isochrone

MIST = Path(__file__).parents[2] / "shared" / "data" / "isochrones"
MIST_PS1 = MIST / "MIST_v1.2_12Gyr_feh-1.35_PanSTARRS.iso.cmd"
MIST_GAIA = MIST / "MIST_v1.2_12Gyr_feh-2.20_Gaia_2MASS.iso.cmd"
needs_mist = pytest.mark.skipif(not MIST.is_dir(), reason=f"the real isochrones are not at {MIST}")

CURVES = {
    "synthetic-gr": Isochrone.synthetic,
    "synthetic-gri": lambda: Isochrone.synthetic(("g", "r", "i")),
    "mist-gr": lambda: Isochrone.read_mist(MIST_PS1, {"g": "PS_g", "r": "PS_r"}),
    "mist-gaia": lambda: Isochrone.read_mist(MIST_GAIA, ("Gaia_G_EDR3", "Gaia_BP_EDR3", "Gaia_RP_EDR3")),
}
curves = pytest.mark.parametrize(
    "curve", [pytest.param(k, marks=needs_mist if "mist" in k else ()) for k in CURVES], ids=list(CURVES)
)
