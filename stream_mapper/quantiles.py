"""Which quantiles the band of a result has."""

QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)

QUANTILE_NAMES = ("05", "16", "50", "84", "95")
"""Endings of the columns of quantiles: ``phi2_05`` is the 5 % quantile of ``phi2``."""
