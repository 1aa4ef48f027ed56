"""Summarise and compare the metrics of many images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["Difference", "Summary", "paired_difference", "summarise"]


class Summary(NamedTuple):
    """A metric over all images: mean, 95 % confidence interval of the mean, standard deviation and median."""

    mean: float
    low: float
    high: float
    std: float
    median: float


class Difference(NamedTuple):
    """A paired difference: its mean, 95 % confidence interval of the mean, p-value of Wilcoxon's signed-rank test."""

    mean: float
    low: float
    high: float
    p: float


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return float("nan"), float("nan")
    result = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0), batch=1000)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def summarise(values: Sequence[float]) -> Summary:
    """
    Summarise a metric over all images.

    Args:
        values: the metric of each image.

    Returns:
        The summary. The confidence interval is a percentile bootstrap of 9,999 resamples with a fixed seed. It is NaN
        for a single image.
    """
    array = np.asarray(values, dtype=float)
    return Summary(float(array.mean()), *_interval(array), float(array.std()), float(np.median(array)))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """
    Compare a metric of two evaluations of the same images.

    Args:
        first: the metric of each image in one evaluation.
        second: the metric of the same images in the other evaluation.

    Returns:
        The difference ``second - first``. p is 1 if both are equal on all images.
    """
    difference = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    p = float(stats.wilcoxon(difference).pvalue) if np.any(difference) else 1.0
    return Difference(float(difference.mean()), *_interval(difference), p)
