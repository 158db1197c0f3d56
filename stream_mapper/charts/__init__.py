"""The parts of an atlas: of each stream a chart, which is its stars, its configuration, its fit and what that found."""

from stream_mapper.charts.plan import OUTCOME, Plan, made_plan, short_name
from stream_mapper.charts.products import PRODUCTS, write_products
from stream_mapper.charts.task import FAILED, FITTED, Chart, chart

__all__ = [
    "FAILED",
    "FITTED",
    "OUTCOME",
    "PRODUCTS",
    "Chart",
    "Plan",
    "chart",
    "made_plan",
    "short_name",
    "write_products",
]
