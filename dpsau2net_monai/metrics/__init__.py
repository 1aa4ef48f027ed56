from .instances import IOU_THRESHOLDS, Matches, instance_metrics, instance_table, match_instances, split_instances
from .pixels import ConfusionMetric, FiniteHausdorffDistance

__all__ = [
    "IOU_THRESHOLDS",
    "ConfusionMetric",
    "FiniteHausdorffDistance",
    "Matches",
    "instance_metrics",
    "instance_table",
    "match_instances",
    "split_instances",
]
