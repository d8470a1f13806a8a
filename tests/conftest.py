import pytest
from gevent.monkey import is_module_patched

pytest.register_assert_rewrite("wippy_lua.testing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs patched sockets in a process that has none."""
    if is_module_patched("socket"):
        return
    network = [item for item in items if item.get_closest_marker("network")]
    if network:
        config.hook.pytest_deselected(items=network)
        items[:] = [item for item in items if item not in network]
