"""What an image's layers are called in the builder's store, also while another image is being built."""

import json

from e2e.cluster.image_build.tools import ids_of_layers


def test_a_layer_that_is_just_being_made_is_left_out() -> None:
    listed = [{"id": "a", "diff-digest": "sha256:1", "diff-size": 10}, {"id": "b", "parent": "a"}]
    assert ids_of_layers(json.dumps(listed).encode()) == {"sha256:1": "a"}
