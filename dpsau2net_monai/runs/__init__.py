from .folders import newest_run, run_folder
from .record import record_run
from .tracking import track_run
