from .instances import IOU_THRESHOLDS, Matches, instance_metrics, instance_table, match_instances, split_instances
from .pixels import ConfusionMetric, FiniteHausdorffDistance, FiniteSurfaceDistance, volumes

__all__ = [
    "IOU_THRESHOLDS",
    "ConfusionMetric",
    "FiniteHausdorffDistance",
    "FiniteSurfaceDistance",
    "Matches",
    "instance_metrics",
    "instance_table",
    "match_instances",
    "split_instances",
    "volumes",
]
