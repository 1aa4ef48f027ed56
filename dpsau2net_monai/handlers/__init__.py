from .evaluation_report import EvaluationReport
from .run_guard import RunGuard
from .run_keeper import RunKeeper

__all__ = ["EvaluationReport", "RunGuard", "RunKeeper"]
