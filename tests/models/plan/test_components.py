"""Connected parts of a mask."""

import torch

from kintsugi.models.plan.components import components_of


def test_parts_that_touch_at_a_corner_are_one_and_others_have_labels_of_their_own() -> None:
    places = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    places[..., 0:3, 0:3] = places[..., 3, 3] = places[..., 8, 2:11] = True
    # A spiral's arm is far from its beginning.
    places[..., 2:9, 10] = True
    labels = components_of(places)
    assert (labels > 0).equal(places[0, 0])
    assert len(labels.unique()) == 3
    assert labels[0, 0] == labels[3, 3] != labels[8, 2] == labels[2, 10]


def test_nothing_has_no_label() -> None:
    assert not components_of(torch.zeros(1, 1, 3, 4, dtype=torch.bool)).any()
