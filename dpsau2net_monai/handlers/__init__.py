from .click_curve import ClickCurve
from .evaluation_report import EvaluationReport
from .raise_errors import RaiseErrors
from .run_guard import RunGuard
from .run_keeper import RunKeeper
from .weight_average import WeightAverage

__all__ = ["ClickCurve", "EvaluationReport", "RaiseErrors", "RunGuard", "RunKeeper", "WeightAverage"]
