from .guidance import add_click, click_names, draw_clicks
from .propagation import spread_clicks
from .simulation import next_click
from .training import ClickTraining

__all__ = ["ClickTraining", "add_click", "click_names", "draw_clicks", "next_click", "spread_clicks"]
