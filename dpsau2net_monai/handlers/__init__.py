from .run_guard import RunGuard
from .run_keeper import RunKeeper
