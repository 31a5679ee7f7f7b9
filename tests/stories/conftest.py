"""What the stories share."""

from collections.abc import Iterator

import pytest

from tests.stories.edge import Edge, started


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with started(tmp_path_factory.mktemp("edge")) as found:
        yield found
