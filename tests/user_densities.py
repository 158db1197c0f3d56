"""Densities of a user's own, which the package has never heard of."""

import torch

import stream_mapper as sml
from stream_mapper.models.base import Model


class Histogram(Model):
    """A density of one coordinate in bins, which is learned from off-stream stars before the mixture.

    Arguments:
        coord: The coordinate.
        low, high: Its window.
        bins: Number of bins.
    """

    def __init__(self, coord, low, high, bins=8):
        super().__init__(coord_names=[coord], coord_bounds={coord: (low, high)})
        self.low, self.high, self.bins = low, high, bins
        self.register_buffer("ln_height", torch.zeros(bins))

    def pretrain(self, stars, stage):
        counts = torch.histc(stars[self.coord_names[0]].cpu(), self.bins, self.low, self.high) + 1
        width = (self.high - self.low) / self.bins
        self.ln_height = (counts / counts.sum() / width).log().to(self.ln_height)

    def forward(self, data):
        return {}

    def ln_likelihood(self, params, data):
        (name,) = self.coord_names
        place = ((data[name] - self.low) / (self.high - self.low) * self.bins).long().clamp(0, self.bins - 1)
        ln_p = torch.where(self.in_window(data), self.ln_height[place], -torch.inf)
        return torch.where(data.where[name], ln_p, 0.0)

    def simulate(self, params, data):
        (name,) = self.coord_names
        place = torch.multinomial(self.ln_height.exp(), len(data), replacement=True)
        share = (place + torch.rand(len(data), device=place.device)) / self.bins
        return {name: self.low + (self.high - self.low) * share}


class Clump(sml.builtin.TruncatedNormal):
    """Magnitudes about one value, as of red clump stars; a catalogue may have none."""

    @property
    def optional_columns(self):
        return (*self.coord_names, *self.error_names.values())

    def curve(self):
        return ("g", "r"), torch.tensor([[0.6, 0.1], [0.9, 0.4]])


def straight(params):
    """A hook: the stream's magnitudes have one width."""
    return {**params, "stream.light.r.ln-sigma": params["stream.light.g.ln-sigma"]}
