from .evaluation_report import EvaluationReport
from .run_guard import RunGuard
from .run_keeper import RunKeeper
from .weight_average import WeightAverage

__all__ = ["EvaluationReport", "RunGuard", "RunKeeper", "WeightAverage"]
