from .guidance import click_names, draw_clicks, require_clickable
from .propagation import spread_clicks
from .simulation import next_click

__all__ = ["click_names", "draw_clicks", "next_click", "require_clickable", "spread_clicks"]
