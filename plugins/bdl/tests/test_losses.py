from __future__ import annotations

import attrs
import pytest
import torch
from udacore_bdl.image_pool import ImagePool, draws_from
from udacore_bdl.losses import domain_loss, perceptual_loss, score_images, to_segmenter
from udacore_bdl.optimizers import RepeatedSGD
from udacore_bdl.settings import CAFFE_PIXELS
from udacore_bdl.translation import to_picture, translated_size

from udacore import ConfigError
from udacore.config.schema import PixelConfig, ScheduleConfig
from udacore.data.colour import normalize
from udacore.schedules import rate


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_domain_loss_is_zero_where_the_discriminator_is_sure_and_right():
    assert domain_loss(torch.full((2, 1, 3, 3), -50.0), 0).item() < 1e-20
    assert domain_loss(torch.full((2, 1, 3, 3), -50.0), 1).item() == 50


def test_perceptual_loss_has_the_gradient_of_its_value():
    reference = random(2, 3, 4, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: perceptual_loss(x, reference), (random(2, 3, 4, 5).requires_grad_(),))


def test_perceptual_loss_ignores_scale_and_offset_of_each_class():
    logits = random(1, 3, 8, 8)
    changed = logits * torch.tensor([2.0, 0.5, 1.0])[:, None, None] + torch.tensor([1.0, -7.0, 0.0])[:, None, None]
    assert perceptual_loss(changed, logits).item() < 1e-8


@pytest.mark.parametrize("pixels", [CAFFE_PIXELS, PixelConfig()])
def test_a_segmenter_gets_of_an_image_in_minus_one_to_one_what_it_gets_of_the_file(pixels):
    picture = torch.randint(0, 256, (6, 7, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    there = torch.from_numpy(normalize(picture, PixelConfig(mean=(0.5,) * 3, std=(0.5,) * 3)))[None]
    torch.testing.assert_close(to_segmenter(there, pixels)[0], torch.from_numpy(normalize(picture, pixels)), atol=1e-4, rtol=1e-5)


def test_scores_of_joined_batches_are_those_of_single_ones():
    network = torch.nn.Conv2d(3, 4, 3).double()
    images = [random(2, 3, 8, 8), random(1, 3, 8, 8, seed=1)]
    for one, other in zip(score_images(network, images, joined=True), score_images(network, images, joined=False), strict=True):
        torch.testing.assert_close(one, other)
    assert [len(each) for each in score_images(network, [images[0], random(1, 3, 6, 8)], joined=True)] == [2, 1]


def test_an_image_is_cut_to_whole_levels():
    image = torch.tensor([-1.0, 1.0, 2 * 100.9 / 255 - 1]).view(3, 1, 1)
    assert to_picture(image).tolist() == [[[0, 255, 100]]]


def test_heights_are_raised_to_multiples_of_four():
    assert translated_size(1914, 1046, 1024) == (1024, 560)


def pool_after(queries, capacity=3):
    pool, generator = ImagePool(capacity), torch.Generator().manual_seed(2)
    returned = [pool.query(query, draws_from(generator)) for query in queries]
    return pool, torch.cat(returned)


def test_the_pool_gives_back_images_it_has_seen_and_half_of_them_old():
    queries = torch.arange(200.0).view(100, 2, 1, 1, 1).expand(-1, -1, 3, 4, 4)
    pool, returned = pool_after(queries)
    values = returned[:, 0, 0, 0]
    assert values[:3].tolist() == [0, 1, 2]
    assert (values <= torch.arange(200)).all()
    assert 70 < (values < torch.arange(200)).sum() < 130
    assert pool.pictures.shape == (3, 3, 4, 4)


def test_a_pool_that_was_saved_goes_on_alike():
    queries = random(6, 2, 3, 4, 4, dtype=torch.float32)
    pool, _ = pool_after(queries[:4])
    again = ImagePool(3)
    again.pictures = pool.state_dict()["pictures"].clone()
    states = [torch.Generator().manual_seed(5) for _ in range(2)]
    for query in queries[4:]:
        assert torch.equal(pool.query(query, draws_from(states[0])), again.query(query, draws_from(states[1])))


def test_images_of_another_size_are_refused_by_the_pool():
    pool, _ = pool_after(random(1, 2, 3, 4, 4))
    with pytest.raises(ConfigError, match=r"transform: the image pool needs images of one size, got 8 x 6 after 4 x 4; add resize or crop"):
        pool.query(random(1, 3, 6, 8), draws_from(torch.Generator()))


@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_sgd_of_one_repeat_is_torchs(decay):
    ours, theirs = torch.nn.Parameter(random(9)), torch.nn.Parameter(random(9))
    pair = RepeatedSGD([ours], 0.1, 0.9, decay), torch.optim.SGD([theirs], 0.1, 0.9, weight_decay=decay)
    for seed in range(4):
        for parameter, optimizer in zip((ours, theirs), pair, strict=True):
            parameter.grad = random(9, seed=seed)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_parameter_without_gradient_does_not_decay():
    used, unused = torch.nn.Parameter(random(3)), torch.nn.Parameter(random(3))
    optimizer = RepeatedSGD([{"params": [used, unused], "repeats": 3}], 0.1)
    before = unused.detach().clone()
    used.grad = random(3, seed=1)
    optimizer.step()
    assert torch.equal(unused.detach(), before)
    assert len(optimizer.state) == 1


@pytest.mark.parametrize("options", [{"repeats": 0}, {"repeats": 1.5}, {"momentum": -1.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        RepeatedSGD([torch.nn.Parameter(random(3))], 0.1, **options)


def test_the_rate_of_translation_goes_down_in_stairs_to_zero_in_the_last_epoch():
    schedule = ScheduleConfig(name="linear", from_="8 epochs", over="11 epochs", stairs="1 epochs")
    rates = [rate(schedule, step, 100, epoch=5) for step in range(100)]
    assert rates[:45] == [1.0] * 45
    assert rates[45:50] == [10 / 11] * 5
    assert rates[90:] == pytest.approx([1 / 11] * 5 + [0.0] * 5)
    assert [rate(attrs.evolve(schedule, stairs=1), step, 100, epoch=5) for step in (46, 47)] == pytest.approx([49 / 55, 48 / 55])
