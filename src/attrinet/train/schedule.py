"""How many critic steps come before a generator step (paper §3.7)."""

from __future__ import annotations

from attrinet.train.config import ScheduleConfig


def critic_steps(step: int, schedule: ScheduleConfig) -> int:
    """Critic steps before generator step `step` (counted from 0).

    A burst of 100 falls on each of the first 25 generator steps and on every 100th: on top of the usual 5 in the
    paper's text ("extra"), in their place in the authors' code ("instead").
    """
    in_burst = step < schedule.burst_first or (schedule.burst_every > 0 and step % schedule.burst_every == 0)
    if not in_burst:
        return schedule.critic_steps
    return schedule.burst + (schedule.critic_steps if schedule.burst_mode == "extra" else 0)
