"""kintsugi.data.feeding.feeder: the share of the object store is of where the tasks are."""

from kintsugi.data.feeding.feeder import store_share

NODES = [
    {"NodeID": "small", "Alive": True, "Resources": {"object_store_memory": 10.0}},
    {"NodeID": "large", "Alive": True, "Resources": {"object_store_memory": 990.0}},
    {"NodeID": "gone", "Alive": False, "Resources": {"object_store_memory": 500.0}},
    {"NodeID": "none", "Alive": True, "Resources": {}},
]


def test_pipelines_of_one_node_share_its_store_and_not_the_clusters() -> None:
    assert store_share(NODES, "small", 2) == 0.4 * 10 / 2
    assert store_share(NODES, "large", 1) == 0.4 * 990
    assert store_share(NODES, "none", 1) == 0


def test_pipelines_whose_tasks_run_anywhere_share_all_stores() -> None:
    assert store_share(NODES, "", 4) == 0.4 * 1000 / 4
