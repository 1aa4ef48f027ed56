from __future__ import annotations

import time

import pytest
import torch

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.handlers import RunKeeper
from dpsau2net_monai.schedules import CosineOverTime


@pytest.mark.parametrize("minutes", [None, 0, "2h"])
def test_a_schedule_without_a_time_is_refused(minutes):
    with pytest.raises(InputError, match=f"max_minutes is {minutes!r}; .* give a number over 0"):
        CosineOverTime(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), minutes)


def test_the_rate_follows_the_time_and_a_state_keeps_what_has_passed(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[-1])

    def begin(minutes: float = 10) -> CosineOverTime:
        return CosineOverTime(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), minutes)

    def rate_at(schedule: CosineOverTime, seconds: float) -> float:
        clock.append(seconds)
        schedule.step()
        return schedule.get_last_lr()[0]

    schedule = begin()
    assert schedule.get_last_lr() == [0.1]
    clock.append(clock[-1] + 500)  # until training starts
    keeper = RunKeeper("none", None, None, None, schedule, None, seed=0)
    keeper.start(None)
    assert [rate_at(schedule, at) for at in (1650, 1800)] == pytest.approx([0.08535534, 0.05])

    clock.append(9000)  # the run was stopped, and goes on later
    resumed = begin()
    resumed.load_state_dict(schedule.state_dict())
    assert [rate_at(resumed, at) for at in (9150, 9300, 9999)] == pytest.approx([0.01464466, 0, 0])

    longer = begin(minutes=20)
    longer.load_state_dict(resumed.state_dict() | {"passed": 10.0})
    assert longer.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert rate_at(longer, 9999 + 300) == pytest.approx(0.01464466)
