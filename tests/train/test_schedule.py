"""The paper's schedule in both readings (§3.7)."""

from attrinet.train.config import ScheduleConfig
from attrinet.train.schedule import critic_steps


def test_text_adds_a_hundred_critic_steps_at_the_first_25_and_every_100th_generator_step():
    counts = [critic_steps(step, ScheduleConfig()) for step in range(301)]
    assert [s for s, n in enumerate(counts) if n == 105] == [*range(25), 100, 200, 300]
    assert {n for n in counts} == {5, 105}


def test_code_takes_a_hundred_instead_of_five_there():
    counts = [critic_steps(step, ScheduleConfig(burst_mode="instead")) for step in range(301)]
    assert [s for s, n in enumerate(counts) if n == 100] == [*range(25), 100, 200, 300]
    assert {n for n in counts} == {5, 100}


def test_bursts_can_be_left_out():
    assert critic_steps(0, ScheduleConfig(burst_first=0, burst_every=0)) == 5
