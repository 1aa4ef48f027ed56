"""Figures of many images in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["Difference", "Summary", "paired_difference", "summarise"]


class Summary(NamedTuple):
    """A figure over all images: its mean, the mean's 95 % confidence interval, standard deviation and median."""

    mean: float
    low: float
    high: float
    std: float
    median: float


class Difference(NamedTuple):
    """The mean of a paired difference, its 95 % confidence interval, and the p-value of Wilcoxon's signed-rank test."""

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
    Args:
        values: a figure of each image.

    Returns:
        Their summary; the confidence interval is a percentile bootstrap of 9,999 draws, the same on every call, and NaN
        for a single image.
    """
    array = np.asarray(values, dtype=float)
    return Summary(float(array.mean()), *_interval(array), float(array.std()), float(np.median(array)))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """
    Args:
        first: a figure of each image.
        second: the same of the same images, from another evaluation.

    Returns:
        ``second - first``; p is 1 where the two are equal on all images.
    """
    difference = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    p = float(stats.wilcoxon(difference).pvalue) if np.any(difference) else 1.0
    return Difference(float(difference.mean()), *_interval(difference), p)
