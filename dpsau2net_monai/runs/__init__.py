from .folders import newest_run, run_folder
from .history import read_history
from .record import record_run
from .tracking import track_run

__all__ = ["newest_run", "read_history", "record_run", "run_folder", "track_run"]
