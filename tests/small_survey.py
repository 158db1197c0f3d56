"""A small model of a stream in position, proper motion and photometry, as a configuration, and stars that it reads."""

import numpy as np
from astropy import units as u
from astropy.table import Table

COLUMNS = (
    *("phi1", "phi2", "phi2_err", "pm_phi1", "pm_phi2", "pm_phi1_err", "pm_phi2_err", "pm_phi1_pm_phi2_corr"),
    *("g", "r", "g_err", "r_err"),
)
MODEL = """\
class_path: stream_mapper.MixtureModel
init_args:
  net: {class_path: stream_mapper.nn.Constant, init_args: {features: 1}}
  params: {class_path: stream_mapper.params.ModelParameters, init_args: {params: {stream.ln-weight: [-5, -0.1]}}}
  components:
    stream:
      class_path: stream_mapper.IndependentModels
      init_args:
        components:
          position:
            class_path: stream_mapper.builtin.TruncatedNormal
            init_args:
              coord_names: [phi2]
              coord_err_names: [phi2_err]
              coord_bounds: {phi2: [-5, 5]}
              net:
                class_path: stream_mapper.nn.sequential
                init_args: {data: 1, hidden_features: 4, layers: 1, features: 2}
              params:
                class_path: stream_mapper.params.ModelParameters
                init_args: {params: {phi2: {mu: [-1, 1], ln-sigma: [-3, 0]}}}
              priors:
                - class_path: stream_mapper.prior.ControlRegions
                  init_args: {param: phi2.mu, phi1: [-10, 0, 10], center: [0, 0, 0], width: 0.5}
          motion:
            class_path: stream_mapper.builtin.MultivariateNormal
            init_args:
              coord_names: [pm_phi1, pm_phi2]
              coord_err_names: [pm_phi1_err, pm_phi2_err]
              coord_corr_names: {pm_phi1_pm_phi2_corr: [pm_phi1, pm_phi2]}
              coord_bounds: {pm_phi1: [-9, 9], pm_phi2: [-9, 9]}
              net: {class_path: stream_mapper.nn.Constant, init_args: {features: 4}}
              params:
                class_path: stream_mapper.params.ModelParameters
                init_args:
                  params: {pm_phi1: {mu: [-1, 1], ln-sigma: [-3, 0]}, pm_phi2: {mu: [-1, 1], ln-sigma: [-3, 0]}}
          photometry:
            class_path: stream_mapper.builtin.IsochroneMVNorm
            init_args:
              isochrone: {class_path: stream_mapper.builtin.Isochrone.synthetic, init_args: {bands: [g, r], points: 30}}
              phot_err_names: [g_err, r_err]
              segments: 20
              net: {class_path: stream_mapper.nn.Constant, init_args: {features: 2}}
              params:
                class_path: stream_mapper.params.ModelParameters
                init_args: {params: {distmod: {mu: [14, 15], ln-sigma: [-4, -1.6]}}}
    background:
      class_path: stream_mapper.builtin.Uniform
      init_args:
        coord_names: [phi2, pm_phi1, pm_phi2, g, r]
        coord_bounds: {phi2: [-5, 5], pm_phi1: [-9, 9], pm_phi2: [-9, 9], g: [10, 30], r: [10, 30]}
"""


def stars(count: int = 40) -> Table:
    """A table of stars that the model reads, of names that need no configuration."""
    rng = np.random.default_rng(5)
    table = Table({"source_id": 10**18 + np.arange(count), "phi1": np.linspace(-10, 10, count) * u.deg})
    table["phi2"] = rng.normal(0, 0.5, count) * u.deg
    table["phi2_err"] = np.full(count, 0.01) * u.deg
    for name in ("pm_phi1", "pm_phi2"):
        table[name] = rng.normal(0, 1, count) * u.mas / u.yr
        table[f"{name}_err"] = np.full(count, 0.1) * u.mas / u.yr
    table["pm_phi1_pm_phi2_corr"] = np.full(count, 0.3)
    for name in ("g", "r"):
        table[name] = rng.uniform(16, 22, count) * u.mag
        table[f"{name}_err"] = np.full(count, 0.02) * u.mag
    return table
