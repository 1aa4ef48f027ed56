"""Instances and their metrics, compared with results by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.filters import gaussian
from skimage.measure import label
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from dpsau2net_monai.metrics import IOU_THRESHOLDS, instance_metrics, instance_table, match_instances, split_instances
from dpsau2net_monai.metrics.instances import NECK

EMPTY = np.zeros((20, 30), int)


def balls(shape, *centres, radius):
    grid = np.stack(np.indices(shape), axis=-1)
    return np.any([((grid - centre) ** 2).sum(-1) <= radius**2 for centre in centres], axis=0)


def square(row, column, size=10, number=1):
    labels = EMPTY.copy()
    labels[row : row + size, column : column + size] = number
    return labels


@pytest.mark.parametrize(
    "mask, count",
    [
        (EMPTY, 0),
        (np.ones((20, 30), np.uint8), 1),
        (np.ones((6, 7, 8), bool), 1),
        (balls((40, 60), (20, 20), radius=10), 1),
        (balls((40, 60), (20, 17), (20, 35), radius=10), 2),
        (balls((120, 180), (60, 51), (60, 105), radius=30), 2),  # the same at three times the size
        (balls((40, 60), (20, 17), (20, 22), radius=10), 1),  # too close to be two
        (balls((24, 24, 40), (12, 12, 10), (12, 12, 25), radius=8), 2),
        (balls((40, 60), (20, 17), (20, 35), radius=10) | balls((40, 60), (3, 55), radius=0), 3),  # a single pixel
    ],
)
def test_touching_instances_are_split_and_no_pixel_is_lost(mask, count):
    labels = split_instances(mask)
    assert sorted(np.unique(labels[labels > 0])) == list(range(1, count + 1))
    np.testing.assert_array_equal(labels > 0, mask > 0)


def test_touching_discs_are_split_in_the_middle():
    labels = split_instances(balls((40, 60), (20, 17), (20, 35), radius=10))
    assert len(np.unique(labels[:, :26][labels[:, :26] > 0])) == 1
    assert len(np.unique(labels[:, 27:][labels[:, 27:] > 0])) == 1
    assert labels[20, 17] != labels[20, 35]


def test_a_predicted_distance_separates_instances_and_tells_which_are_none():
    pair = balls((60, 100), (20, 17), (20, 27), radius=10)  # too close to be two by their shape
    mask = pair | balls((60, 100), (45, 80), radius=10)
    distance = np.zeros(mask.shape)
    distance[20, 17] = distance[20, 27] = 1
    distance = gaussian(distance, 3) / gaussian(distance, 3).max()
    distance[45, 80] = 0.3
    labels = split_instances(mask, distance)
    assert labels[20, 17] != labels[20, 27] and labels.max() == 2
    np.testing.assert_array_equal(labels > 0, pair)
    assert split_instances(mask).max() == 2  # without it, the pair is one


@pytest.mark.parametrize("middles, count", [([], 0), ([(20, 20)], 1), ([(20, 20), (20, 40)], 2)])
def test_a_predicted_distance_separates_instances_that_leave_no_background(middles, count):
    distance = np.zeros((40, 60))
    for middle in middles:
        distance[middle] = 1
    distance = gaussian(distance, 4) / max(gaussian(distance, 4).max(), 1e-9)
    assert split_instances(np.ones((40, 60), bool), distance).max() == count


def test_every_component_keeps_an_instance():
    mask = np.random.default_rng(0).random((80, 90)) > 0.7
    labels = split_instances(mask)
    components = label(mask)
    np.testing.assert_array_equal(labels > 0, mask)
    assert len(np.unique(labels)) - 1 >= components.max() > 50
    assert all(len(np.unique(components[labels == i])) == 1 for i in range(1, labels.max() + 1))


@pytest.mark.parametrize("shape, smoothing", [((150, 160), 0), ((150, 160), 1), ((300, 310), 3), ((30, 40, 20), 1.5)])
def test_components_are_split_as_the_definition_of_a_neck_says(shape, smoothing):
    noise = gaussian(np.random.default_rng(0).random(shape), smoothing)
    mask = noise > np.quantile(noise, 0.6)  # single pixels, necks, and components that touch the border
    distance = distance_transform_edt(mask)
    peaks = local_maxima(reconstruction(distance * NECK, distance))  # of the whole image at once, which is slow
    expected = watershed(-distance, label(peaks), connectivity=mask.ndim, mask=mask)
    assert expected.max() > label(mask).max() > 1
    np.testing.assert_array_equal(split_instances(mask), expected)


@pytest.mark.parametrize(
    "true, predicted, expected",
    [
        (EMPTY, EMPTY, (1, 1, 1, 1, 0, 0)),
        (EMPTY, square(0, 0), (0, 0, 0, 0, 0, 1)),
        (square(0, 0), EMPTY, (0, 0, 0, 0, 1, 0)),
        (square(0, 0, number=7), square(0, 0, number=300), (1, 1, 1, 1, 1, 1)),
        (square(0, 0), square(0, 2), (0.4, 1, 0, 1, 1, 1)),  # IoU 80 / 120: over 0.5, 0.55, 0.6, 0.65
        (
            square(0, 0),
            np.where(np.indices(EMPTY.shape)[0] < 6, square(0, 0), 0),
            (0.2, 1, 0, 1, 1, 1),
        ),  # IoU 0.6 exactly
        (
            square(0, 0),
            np.where(np.indices(EMPTY.shape)[0] < 5, square(0, 0), 0),
            (0, 0, 0, 0, 1, 1),
        ),  # IoU 0.5 exactly
        # one of two instances is found, and one more that does not exist
        (square(0, 0) + square(0, 12, number=2), square(0, 0) + square(10, 25, 4, 2), (1 / 3, 1 / 3, 1 / 3, 0.5, 2, 2)),
        # two instances are merged into one
        (square(0, 0) + square(0, 10, number=2), square(0, 0) + square(0, 10), (0, 0, 0, 0, 2, 1)),
    ],
)
def test_metrics_computed_by_hand(true, predicted, expected):
    names = ("instance_ap", "instance_ap50", "instance_ap75", "instance_f1", "true_instances", "predicted_instances")
    metrics = instance_metrics(true, predicted)
    assert [metrics[name] for name in names] == pytest.approx(expected)
    assert metrics["count_error"] == expected[5] - expected[4]
    assert all(type(value) is float for value in metrics.values())


# the true instances A and B of 100 pixels each, side by side
A, B = square(0, 0), square(0, 10, number=2)
ROWS, COLUMNS = np.indices(EMPTY.shape)


@pytest.mark.parametrize(
    "true, predicted, merged, split",
    [
        (A + B, A + B, 0, 0),
        (A + B, np.minimum(A + B, 1), 1, 0),
        (A + B, np.where(COLUMNS < 16, np.minimum(A + B, 1), 0), 1, 0),  # 60 % of B
        (A + B, np.where(COLUMNS < 15, np.minimum(A + B, 1), 0), 0, 0),  # half of B
        (np.minimum(A + B, 1), A + B, 0, 1),
        (np.minimum(A + B, 1), np.where(ROWS < 3, A + B, 0), 0, 1),  # small, but in it
        (A, A + B, 0, 0),
        (A, np.where(COLUMNS < 4, 1, np.where((COLUMNS < 16) & (ROWS < 10), 2, 0)) * (ROWS < 10), 0, 0),  # half in it
        (A, np.where(COLUMNS < 4, 1, np.where((COLUMNS < 15) & (ROWS < 10), 2, 0)) * (ROWS < 10), 0, 1),  # 6 of 11
        # one of each, beside each other, with numbers that have gaps
        (A + B + square(10, 0, number=7), np.minimum(A + B, 1) * 5 + np.where(ROWS < 15, 8, 9) * square(10, 0), 1, 1),
        (EMPTY, A, 0, 0),
        (A, EMPTY, 0, 0),
        (EMPTY, EMPTY, 0, 0),
    ],
)
def test_merged_and_split_instances(true, predicted, merged, split):
    metrics = instance_metrics(true, predicted)
    assert (metrics["merged"], metrics["split"]) == (merged, split)


@pytest.mark.parametrize("shape, dtype", [((30, 40), np.uint8), ((30, 40), np.uint16), ((8, 10, 12), np.int32)])
def test_matches_agree_with_a_comparison_of_all_pairs(shape, dtype):
    rng = np.random.default_rng(0)
    true = np.kron(rng.integers(0, 40, [-(-n // 4) for n in shape]), np.ones([4] * len(shape)))
    true = true[tuple(map(slice, shape))].astype(dtype)
    moved = np.roll(true, 1, axis=0)
    predicted = np.where(rng.random(shape) < 0.1, 0, np.where(true % 2, true, moved)).astype(dtype) * 3

    ious = {}
    numbers = [[n for n in np.unique(labels) if n] for labels in (true, predicted)]
    for t in numbers[0]:
        for p in numbers[1]:
            shared = np.count_nonzero((true == t) & (predicted == p))
            if shared:
                ious[int(t), int(p)] = shared / np.count_nonzero((true == t) | (predicted == p))
    matches = match_instances(true, predicted)
    assert dict(zip(map(tuple, matches.pairs.tolist()), matches.iou)) == ious
    positives = [sum(iou > threshold for iou in ious.values()) for threshold in IOU_THRESHOLDS]
    assert 0 < positives[4] < positives[0]
    np.testing.assert_array_equal(matches.true_positives, positives)
    np.testing.assert_array_equal(matches.false_positives, len(numbers[1]) - np.array(positives))
    np.testing.assert_array_equal(matches.false_negatives, len(numbers[0]) - np.array(positives))


def test_instances_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="the true instances have the shape"):
        match_instances(EMPTY, EMPTY.T)


@pytest.mark.parametrize("labels", [EMPTY, square(2, 4, 5) + square(10, 20, 3, 4)], ids=["none", "two"])
@pytest.mark.parametrize("channels", [0, 3])
def test_a_table_has_one_row_per_instance(labels, channels):
    image = np.full((20, 30), 9.0)
    image[10:13, 20:23] = np.arange(9).reshape(3, 3)
    if channels:
        image = np.stack([image, image * 2, image * 3], axis=-1)
    table = instance_table(labels, image)
    means = [f"mean_intensity_{i}" for i in range(3)] if channels else ["mean_intensity"]
    assert list(table) == ["label", "area", "centroid_row", "centroid_column", *means]
    rows = [[1, 25, 4, 6], [4, 9, 11, 21]] if labels.any() else []
    values = [[9, 18, 27], [4, 8, 12]] if labels.any() else []
    expected = [row + mean[: len(means)] for row, mean in zip(rows, values)]
    assert [list(row) for row in zip(*(column.tolist() for column in table.values()))] == expected


def test_a_table_of_a_volume():
    labels = np.zeros((6, 8, 10), int)
    labels[1:3, 2:5, 3:7] = 1
    table = {name: column.tolist() for name, column in instance_table(labels, labels * 5.0).items()}
    assert table == {
        "label": [1],
        "volume": [24],
        "centroid_x": [1.5],
        "centroid_y": [3],
        "centroid_z": [4.5],
        "mean_intensity": [5],
    }
