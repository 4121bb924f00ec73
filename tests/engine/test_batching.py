"""Samples go through a network in stacks of few sizes, and come back as many as they were."""

import numpy as np
import pytest

from detection.engine.batching import SIZES, stacks


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 17])
def test_every_sample_is_in_one_stack_and_in_its_place(count):
    samples = [np.full((2, 3), index, np.float32) for index in range(count)]
    parts = [(stack, used) for stack, used in stacks(samples, batched=True)]
    assert all(len(stack) in SIZES for stack, _ in parts)
    seen = [stack[index, 0, 0] for stack, used in parts for index in range(used)]
    assert seen == list(range(count))


def test_what_fills_a_stack_repeats_its_last_sample():
    ((stack, used),) = stacks([np.zeros(1), np.ones(1)], batched=True)
    assert (used, stack.ravel().tolist()) == (2, [0, 1, 1, 1, 1, 1, 1, 1])


def test_without_batches_each_goes_alone():
    assert [(len(stack), used) for stack, used in stacks([np.zeros(1)] * 3, batched=False)] == [(1, 1)] * 3
