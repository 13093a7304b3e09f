"""Pooling and critic depth follow the image size by one rule."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attrinet.errors import AttrinetError
from attrinet.nets.critic import Critic
from attrinet.nets.geometry import SMALLEST, critic_map, geometry


@pytest.mark.parametrize("size, pool, levels", [(320, 32, 5), (256, 16, 5), (128, 8, 4), (64, 4, 3), (32, 2, 2)])
def test_rule_gives_the_papers_values_at_320_and_scales_down(size, pool, levels):
    g = geometry(size)
    assert (g.pool, g.critic_levels) == (pool, levels)
    assert g.grid >= 10


@pytest.mark.parametrize("size", [32, 64, 100, 128, 320])
def test_critic_map_is_the_side_the_network_really_has(size):
    if size == 100:
        size = 96
    critic = Critic(1, 2, geometry(size).critic_levels)
    sides = []
    critic.last.register_forward_pre_hook(lambda module, args: sides.append(args[0].shape[-1]))
    critic(torch.zeros(1, 1, size, size), 0)
    assert sides == [critic_map(size, geometry(size).critic_levels)] and sides[0] >= 7


def test_a_size_with_no_room_is_refused_with_the_nearest_that_work():
    with pytest.raises(AttrinetError, match=r"image_size=100 .* 96 and 104"):
        geometry(100)
    with pytest.raises(AttrinetError, match=str(SMALLEST)):
        geometry(8)


@settings(deadline=None)
@given(st.integers(1, 600))
def test_what_a_refusal_names_does_work(size):
    try:
        geometry(size)
    except AttrinetError as error:
        for word in str(error).split("do: ")[1].split(" and "):
            geometry(int(word))


def test_critic_levels_that_leave_nothing_are_refused():
    with pytest.raises(AttrinetError, match="critic_levels=7"):
        geometry(64, critic_levels=7)
