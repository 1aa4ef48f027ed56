from __future__ import annotations

import numpy as np
import pytest

from dpsau2net_monai.clicks import next_click


def picture(**boxes: tuple[slice, slice]) -> np.ndarray:
    codes = np.zeros((40, 60), int)
    for name, box in boxes.items():
        codes[box] = int(name[1:])
    return codes


LARGE, SMALL = np.s_[5:16, 5:16], np.s_[30:35, 40:45]


@pytest.mark.parametrize(
    "prediction, truth, expected",
    [
        (picture(), picture(c1=LARGE), (1, (10, 10))),  # missed
        (picture(c1=LARGE), picture(), (0, (10, 10))),  # false
        (picture(c1=LARGE, c2=SMALL), picture(c2=LARGE), (2, (10, 10))),  # one class taken for another
        (picture(c1=np.s_[:9, :9]), picture(), (0, (4, 4))),  # at the border, errors end
        (picture(c1=LARGE), picture(c1=LARGE), None),
    ],
)
def test_an_annotator_clicks_on_the_middle_of_the_largest_error(prediction, truth, expected):
    before = prediction.copy()
    assert next_click(prediction, truth) == expected
    assert np.array_equal(prediction, before)


def test_an_annotator_never_clicks_twice_on_a_point():
    truth, clicked = picture(c1=np.s_[3:6, 3:6]), []
    while (click := next_click(picture(), truth, clicked)) is not None:
        clicked.append(click[1])
    assert len(clicked) == len(set(clicked)) == 9


def test_an_annotator_clicks_in_volumes():
    truth = np.zeros((20, 30, 16), int)
    truth[4:9, 10:15, 3:8] = 2
    assert next_click(truth * 0, truth) == (2, (6, 12, 5))
