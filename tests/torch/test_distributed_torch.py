"""W processes against one, with gloo. Four processes are started once and run all cases; see `distributed_worker`."""

import json
import os
import pathlib
import subprocess
import sys
import time

import distributed_cases
import distributed_matrix
import pytest

WORLD_SIZE = 4
TIME_LIMIT = 600  # seconds; a hang is a failure
MATRIX = [f"{name}, {size} ranks" for size in (2, 3, 4) for name, _ in distributed_matrix.cases(size)]
OTHERS = list(distributed_cases.cases(None, {}))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str | None]]:
    """For each rank, the traceback of every case, or None if it passed. Run once, even with several pytest workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ranks"
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + TIME_LIMIT
        while not (folder / "done").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
    else:
        run_processes(folder)
        (folder / "done").touch()
    logs = [(folder / f"{rank}.log").read_text() for rank in range(WORLD_SIZE)]
    assert all((folder / f"{rank}.json").exists() for rank in range(WORLD_SIZE)), logs
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


def run_processes(folder: pathlib.Path) -> None:
    worker = pathlib.Path(__file__).with_name("distributed_worker.py")
    path = os.pathsep.join(filter(None, sys.path))  # includes the folder of the table of losses
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    processes = []
    for rank in range(WORLD_SIZE):
        command = [sys.executable, str(worker), str(rank), str(WORLD_SIZE), str(folder)]
        with (folder / f"{rank}.log").open("w") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
    deadline = time.monotonic() + TIME_LIMIT
    try:
        for process in processes:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass  # the cases that were not reached are missing from the results
    finally:
        for process in processes:
            process.kill()
            process.wait()


def check(results: list[dict[str, str | None]], name: str, ranks: int) -> None:
    for rank in range(ranks):
        failure = results[rank].get(name, "not reached: a rank hung or died before")
        assert failure is None, f"rank {rank}: {failure}"


@pytest.mark.parametrize("name", MATRIX)
def test_processes_equal_one(results: list[dict[str, str | None]], name: str) -> None:
    check(results, name, int(name.removesuffix(" ranks")[-1]))


@pytest.mark.parametrize("name", OTHERS)
def test_behaviour(results: list[dict[str, str | None]], name: str) -> None:
    check(results, name, WORLD_SIZE)
