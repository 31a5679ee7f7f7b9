"""Files that run phases begin first: two workers share the suite by file, and neither ends with a long one."""

import pytest

LONGEST_FIRST = ("test_phase", "test_killed", "test_recomputation", "test_step_cut", "test_delta")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    order = {f"{name}.py": rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
