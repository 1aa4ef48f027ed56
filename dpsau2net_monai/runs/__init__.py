from .folders import newest_run, run_folder
from .record import record_run
from .tracking import track_run

__all__ = ["newest_run", "record_run", "run_folder", "track_run"]
