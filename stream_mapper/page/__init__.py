"""The page of a run: ``report.html``, one file that one explores in a browser without a network.

stars_of(tables)                                    # what the page has of each star
write_page(folder, tables, metrics, facts, stars)   # templates/ has its looks and what it does in the browser
write_atlas_page(path, title, rows, summary, files) # the page of an atlas, which leads to those of its streams
"""

from __future__ import annotations

from stream_mapper.page.atlas import AtlasRow, write_atlas_page
from stream_mapper.page.stars import Stars, stars_of
from stream_mapper.page.writer import NAME, write_page

__all__ = ["NAME", "AtlasRow", "Stars", "stars_of", "write_atlas_page", "write_page"]
