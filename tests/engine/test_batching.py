"""Samples go through a network in stacks of few sizes, and come back as many as they were."""

import numpy as np
import pytest

from detection.engine.batching import SIZES, run_each, stacks
from detection.engine.samples import VideoSample


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


class Adding:
    """A network that adds one; it notes how many inputs came at once."""

    name, provider, mean_ms, input_names = "adding", "test", 0.0, ["x"]

    def __init__(self, *, batches: bool) -> None:
        self.batches, self.sizes = batches, []

    def run(self, feeds):
        self.sizes.append(len(feeds["x"]))
        return [feeds["x"] + 1, feeds["x"].sum(axis=1)]


@pytest.mark.parametrize(("batches", "sizes"), [(False, [1] * 13), (True, [8, 8, 1])])
def test_each_input_gets_its_own_outputs_whatever_goes_together(batches, sizes):
    inputs = [np.full((1, 2), index, np.float32) for index in range(12)] + [np.full((1, 5), 12, np.float32)]
    model = Adding(batches=batches)
    results = run_each(model, "x", inputs)
    assert model.sizes == sizes
    for each, (more, total) in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(more, each + 1)
        assert total.tolist() == [each.sum()]


def test_nothing_to_run_runs_nothing():
    model = Adding(batches=True)
    assert run_each(model, "x", []) == []
    assert model.sizes == []


class Gpu:
    """A network of the product as a GPU has it: several inputs at once, each with the real one's outputs."""

    mean_ms = 0.0

    def __init__(self, model) -> None:
        self._model, self.batches, self.sizes = model, True, []
        self.name, self.provider, self.input_names = model.name, "test", model.input_names

    def run(self, feeds):
        ((name, together),) = feeds.items()
        self.sizes.append(len(together))
        if len(together) == 1:
            return self._model.run(feeds)
        alone = [self._model.run({name: each[None]}) for each in together]
        return [np.concatenate([np.atleast_2d(output) for output in outputs]) for outputs in zip(*alone, strict=True)]


@pytest.mark.parametrize("name", ["landmarks", "body", "liveness"])
def test_a_gpu_gets_the_faces_of_all_frames_together_and_measures_the_same(pipeline, photo, frame_job, name):
    def seen():
        pictures = [photo(each) for each in ("a_1", "b_1", "d_1")]
        samples = [VideoSample(frame_job(picture, previous=None)) for picture in pictures]
        for sample, found in zip(samples, pipeline.faces.measure(samples), strict=True):
            sample.found["faces"] = found
        return samples

    networks = [Gpu(model) for model in pipeline.detector(name).models]
    expected = pipeline.detector(name).measure(seen())
    found = type(pipeline.detector(name))(*networks).measure(seen())
    assert all(set(network.sizes) == {8} for network in networks)
    assert [measure.to_dict() for measure in found] == [measure.to_dict() for measure in expected]
