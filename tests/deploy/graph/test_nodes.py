"""The nodes that compute, without a cluster: what one hands on is what the next one needs."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kintsugi.deploy.deadline import NEVER
from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.graph.nodes import (
    Encoded,
    Feature2ImageNode,
    Image2FeatureNode,
    PatchSwapNode,
    Searched,
    Swapped,
    Translated,
)
from kintsugi.deploy.graph.refiner import RefinerNode
from kintsugi.deploy.graph.request_context import Release, RequestContext
from kintsugi.deploy.observability.metrics import BATCH_SIZE
from kintsugi.deploy.settings import AppArgs
from kintsugi.models import matching
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=1)


@pytest.fixture
def args(inpainter: Inpainter, tmp_path: Path) -> AppArgs:
    config = ReleaseConfig(
        name="tiny",
        model=ModelConfig("tiny"),
        encoder="random (seed 0)",
        matching=MatchingConfig(method="approximate"),
    )
    save_release(tmp_path, inpainter, config, card="")
    return AppArgs(release=str(tmp_path), threads=torch.get_num_threads())


@pytest.mark.slow
def test_the_indices_of_a_scale_start_the_next_ones_search(args: AppArgs) -> None:
    generator = torch.Generator().manual_seed(0)
    small, large = (torch.rand(1, 256, side, side, generator=generator) for side in (16, 32))
    mask = np.zeros((1, 1, 128, 128), np.bool_)
    mask[..., 40:90, 40:90] = True
    matcher, translator = PatchSwapNode(args), Feature2ImageNode(args)

    context = RequestContext(Release(args.release, asyncio.run(matcher.ready()).model), NEVER)

    async def first_scale() -> tuple[Swapped, Translated]:
        encoded = Encoded(small.numpy(), None)
        swapped = await matcher.swap(context, encoded, mask[..., ::2, ::2], None, 0)
        return swapped, await translator.translate(context, swapped, None)

    swapped, translated = asyncio.run(first_scale())

    assert swapped.indices is not None
    assert translated.indices is swapped.indices
    assert translated.image.shape == (1, 3, 64, 64)
    started, fresh = (
        asyncio.run(matcher.swap(context, Encoded(large.numpy(), None), mask, previous, 0)).indices
        for previous in (translated.indices, None)
    )
    assert started is not None
    assert not np.array_equal(started, fresh)
    expected = matching.match(
        MatchingConfig(method="approximate"),
        matching.Encoded(large, None),
        torch.tensor(mask, dtype=torch.float32),
        previous=torch.tensor(swapped.indices),
        seed=0,
    )
    np.testing.assert_array_equal(started, expected.indices.numpy())


def test_pixels_go_from_node_to_node_and_what_is_drawn_guides_the_search(tmp_path: Path) -> None:
    model = ModelConfig("tiny", translator_input="features+pixels")
    preferred = MatchingConfig(colour=0.25, pixels=True)
    inpainter = build_inpainter(model, Vgg19Relu3.random(0), seed=1, matching=preferred)
    config = ReleaseConfig("pixels", model, encoder="random (seed 0)", matching=preferred)
    save_release(tmp_path, inpainter, config, card="")
    args = AppArgs(release=str(tmp_path), threads=torch.get_num_threads())
    encoder, matcher, translator = (
        Image2FeatureNode(args),
        PatchSwapNode(args),
        Feature2ImageNode(args),
    )
    context = RequestContext(Release(args.release, asyncio.run(encoder.ready()).model), NEVER)
    image = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    hole = np.zeros((1, 1, 64, 96), np.bool_)
    hole[..., 20:44, 30:60] = True

    # The second scale: twice the size, the first one's fill in its hole.
    image_2, hole_2 = (array.repeat(2, 2).repeat(2, 3) for array in (image, hole))

    async def walk() -> tuple[Encoded, Translated, Searched, Searched]:
        encoded = await encoder.infer(context, image, hole)
        swapped = await matcher.swap(context, encoded, hole, None, 0)
        drawn = await translator.translate(context, swapped, None)
        first = await matcher.search(context, image, hole, drawn, encoded, None, 7)
        second = await matcher.search(context, image_2, hole_2, None, None, first.sources, 7)
        return encoded, drawn, first, second

    encoded, drawn, *searched = asyncio.run(walk())

    tensors = [torch.tensor(each) for each in (image, hole, image_2, hole_2)]
    image_t, mask, image_2_t, mask_2 = (each.float() for each in tensors)
    with torch.inference_mode():
        expected = inpainter(image_t, mask)
        features = torch.tensor(encoded.features)
        first = inpainter.search(image_t, mask, guide=expected, encoded=features, seed=7)
        alone = inpainter.search(image_t, mask, guide=expected, seed=7)
        second = inpainter.search(image_2_t, mask_2, previous=first.sources, seed=7)
    np.testing.assert_array_equal(drawn.image, expected.numpy())
    for found, wanted in zip(searched, (first, second), strict=True):
        np.testing.assert_array_equal(found.image, wanted.image.numpy())
        np.testing.assert_array_equal(found.sources, wanted.sources.numpy())
        assert found.sources.dtype == np.int32
    assert not np.array_equal(searched[0].image, image)
    # The initial fill guides it too.
    assert not torch.equal(alone.image, first.image)


@pytest.mark.slow
def test_what_waits_and_is_of_one_shape_is_computed_together(
    args: AppArgs, inpainter: Inpainter
) -> None:
    args = args.model_copy(update={"batch_pixels": 4 * 64 * 96})
    encoder, translator = Image2FeatureNode(args), Feature2ImageNode(args)
    context = RequestContext(Release(args.release, asyncio.run(encoder.ready()).model), NEVER)
    generator = np.random.default_rng(0)
    images = [generator.random((1, 3, 64, 96), np.float32) for _ in range(5)]
    holes = [generator.random((1, 1, 64, 96)) < share for share in (0.1, 0.3, 0.5, 0.7, 0.2)]
    counts: list[int] = []
    for node in (encoder, translator):
        node._record = lambda metric, value, labels: (
            counts.append(value) if metric is BATCH_SIZE else None
        )

    async def all_at_once() -> tuple[list[Encoded], list[Translated]]:
        pairs = zip(images, holes, strict=True)
        encoded = await asyncio.gather(*(encoder.infer(context, *pair) for pair in pairs))
        swapped = [Swapped(one.features) for one in encoded]
        translated = [translator.translate(context, one, None) for one in swapped]
        return encoded, await asyncio.gather(*translated)

    encoded, translated = asyncio.run(all_at_once())

    # Five do not fit.
    assert counts == [4, 1, 4, 1]
    for image, hole, one, made in zip(images, holes, encoded, translated, strict=True):
        with torch.inference_mode():
            alone = inpainter.infer(torch.tensor(image), torch.tensor(hole).float())
            np.testing.assert_allclose(one.features, alone.features.numpy(), atol=1e-4)
            image_alone = inpainter.translate(alone.features)
            np.testing.assert_allclose(made.image, image_alone.numpy(), atol=1e-4)


def test_requests_side_by_side_divide_the_threads(args: AppArgs) -> None:
    before = torch.get_num_threads()
    node = Feature2ImageNode(args.model_copy(update={"threads": 4, "share_threads": True}))
    context = RequestContext(Release(args.release, asyncio.run(node.ready()).model), NEVER)
    used: list[int] = []

    def look(held: Inpainter, given: list[int]) -> list[int]:
        used.append(torch.get_num_threads())
        return given

    async def ask() -> None:
        for count in (1, 2, 3, 4, 9):
            await node._compute(replace(context, in_progress=count), look, 0)

    try:
        asyncio.run(ask())
    finally:
        torch.set_num_threads(before)
    assert used == [4, 2, 2, 1, 1]


@pytest.mark.parametrize(("share", "divided"), [(False, 1), (True, 3)])
def test_the_refiner_says_how_many_divide_the_threads(
    args: AppArgs, share: bool, divided: int
) -> None:
    nowhere: Any = None
    refiner = RefinerNode(args.model_copy(update={"share_threads": share}), *[nowhere] * 3)
    refiner._in_progress = 3
    context = RequestContext(refiner._rollout.find(""), NEVER)
    assert refiner._shared(context).in_progress == divided


def test_a_node_answers_with_the_release_of_the_call(args: AppArgs, tmp_path: Path) -> None:
    other = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=2)
    config = ReleaseConfig("other", ModelConfig("tiny"), encoder="random (seed 0)")
    saved = save_release(tmp_path / "other", other, config, card="")
    node = Feature2ImageNode(args)
    own = Release(args.release, asyncio.run(node.ready()).model)
    elsewhere = Release(str(tmp_path / "other"), ModelInfo("other", saved.digest, "tiny"))
    features = torch.rand(1, 256, 16, 16, generator=torch.Generator().manual_seed(0))

    async def translate(release: Release) -> Translated:
        return await node.translate(RequestContext(release, NEVER), Swapped(features.numpy()), None)

    async def both_at_once() -> list[Translated]:
        releases = (own, elsewhere, own, elsewhere)
        return await asyncio.gather(*(translate(release) for release in releases))

    made = [one.image for one in asyncio.run(both_at_once())]
    with torch.inference_mode():
        np.testing.assert_array_equal(made[1], other.translate(features).numpy())
    np.testing.assert_array_equal(made[1], made[3])
    np.testing.assert_array_equal(made[0], made[2])
    assert not np.array_equal(made[0], made[1])
