"""What jobs request of a cluster, from their GPUs, hours and model."""

import pytest

from vlmscale.costs.cluster import Cluster, Request, constant_resources

SEVEN_BILLION = 7.7e9


def test_gpus_divide_the_batch_and_fill_their_nodes():
    assert Cluster().possible_gpus(24) == [1, 2, 3, 4, 6, 8, 24]  # not twelve on two nodes
    assert Cluster(gpus_per_node=4).possible_gpus(24) == [1, 2, 3, 4, 8, 12, 24]
    assert Cluster(gpus_per_node=1).possible_gpus(6) == [1, 2, 3, 6]


def test_hours_are_those_of_the_peak_times_its_share():
    assert Cluster(tflops=100, utilisation=0.5).gpu_hours(50e12 * 3600) == pytest.approx(1)


def test_resources_on_one_node_and_on_several():
    one, two = (Request(Cluster(), gpus, 5, SEVEN_BILLION).resources(1) for gpus in (8, 16))
    assert tuple(one) == tuple(two)
    assert (one["gpus"], one["gpu"], one["nodes"], one["cpus_per_task"]) == (8, 8, 1, 64)
    assert one["mpi"] is None
    assert (two["gpus"], two["nodes"], two["mpi"]) == (16, 2, "srun")
    assert (two["tasks_per_node"], two["cpus_per_task"]) == (8, 8)
    small = Request(Cluster(gpus_per_node=1), 8, 5, SEVEN_BILLION).resources(1)
    assert (small["nodes"], small["tasks_per_node"]) == (8, 2)  # one is refused by the executor
    # Of each of eight processes 8 GB and the weights at two bytes.
    assert one["mem_mb"] == 4_000 + 8 * (8_000 + 15_400)


def test_a_request_has_twice_the_hours_and_time_to_start():
    assert Request(Cluster(), 1, 2, 0).minutes == 30 + 240


def test_an_attempt_requests_more_time_and_memory_up_to_the_longest_job():
    attempts = [Request(Cluster(), 8, 3, SEVEN_BILLION).resources(attempt) for attempt in (1, 2, 9)]
    assert attempts[1]["runtime"] == 2 * attempts[0]["runtime"]
    assert attempts[2]["runtime"] == 24 * 60
    assert attempts[1]["mem_mb"] == pytest.approx(1.5 * attempts[0]["mem_mb"], abs=1)
    assert attempts[1]["gpus"] == attempts[0]["gpus"]


def test_constant_resources_leave_out_what_grows_with_the_attempt():
    small, large, two_nodes = (Request(Cluster(), gpus, 5, SEVEN_BILLION) for gpus in (2, 8, 16))
    constant = {"nodes": 1, "mpi": None, "tasks_per_node": 8}
    assert constant_resources([small, large]) == constant
    assert constant_resources([small, small]) == {
        **constant,
        "gpus": 2,
        "gpu": 2,
        "cpus_per_task": 16,
    }
    assert constant_resources([small, two_nodes]) == {"tasks_per_node": 8}
