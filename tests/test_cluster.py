import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from trainer.distribute.cluster import PORT, Cluster, find_cluster, without_proxies
from trainer.distribute.hostlist import expand_hostlist

GPUS = ["GPU:0", "GPU:1", "GPU:2", "GPU:3"]


def tf_config(kind: str, index: int | str, **jobs: list[str]) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def slurm(nodes: str, tasks: str, rank: int, **more: str) -> dict[str, str]:
    """What srun gives a task. `SLURM_NODELIST` and its kin are the whole job's."""
    return {
        "SLURM_JOB_ID": "4711", "SLURM_JOBID": "4711", "SLURM_STEP_ID": "0",
        "SLURM_NODELIST": nodes, "SLURM_JOB_NODELIST": nodes, "SLURM_STEP_NODELIST": nodes,
        "SLURM_TASKS_PER_NODE": tasks, "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_PROCID": str(rank), **more,
    }  # fmt: skip


# 4711 % 320 = 231 and 12288 + 64 * 231 = 27072.
ENVIRONMENTS = {
    # Vertex AI numbers the chief apart from the workers, and adds keys of its own.
    "vertex chief": (
        {"TF_CONFIG": json.dumps({
            "cluster": {"chief": ["c-0:2222"], "worker": ["w-0:2222", "w-1:2222"]},
            "task": {"type": "chief", "index": 0, "trial": ""}, "job": "{}",
        })},
        ["c-0:2222", "w-0:2222", "w-1:2222"], 0,
    ),
    "chief and workers": (tf_config("worker", 1, chief=["c:1"], worker=["a:1", "b:1"]),
                          ["c:1", "a:1", "b:1"], 2),
    "worker 0 is the chief": (tf_config("worker", 0, worker=["a:1", "b:1"]), ["a:1", "b:1"], 0),
    # Kubeflow's TFJob calls the chief master in its older form, and names evaluators.
    "kubeflow": (tf_config("worker", 0, master=["m:1"], worker=["a:1"], evaluator=["e:1"]),
                 ["m:1", "a:1"], 1),
    "index as text": (tf_config("worker", "1", worker=["a:1", "b:1"]), ["a:1", "b:1"], 1),
    "one host, two ports": (tf_config("worker", 1, worker=["h:1", "h:2"]), ["h:1", "h:2"], 1),
    "ipv6": (tf_config("worker", 1, worker=["[::1]:1", "[::1]:2"]), ["[::1]:1", "[::1]:2"], 1),
    "skypilot": ({"SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.3\n", "SKYPILOT_NODE_RANK": "1",
                  "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "8"},
                 [f"10.0.0.7:{PORT}", f"10.0.0.3:{PORT}"], 1),
    "sagemaker": ({"SM_HOSTS": '["algo-1","algo-2"]', "SM_CURRENT_HOST": "algo-2"},
                  [f"algo-1:{PORT}", f"algo-2:{PORT}"], 1),
    "jobset": ({"JOB_COMPLETION_INDEX": "1", "WORKER_HOSTS": "a-w-0-0.a,a-w-0-1.a,a-w-0-2.a"},
               [f"a-w-0-{i}.a:{PORT}" for i in range(3)], 1),
    "jobset with ports": ({"JOB_COMPLETION_INDEX": "0", "WORKER_HOSTS": "x:5, y:6"},
                          ["x:5", "y:6"], 0),
    # TensorFlow's resolver would sort n10 before n2.
    "slurm": (slurm("n[2-10]", "1(x9)", 8), [f"n{2 + i}:{27072 + i}" for i in range(9)], 8),
    "slurm, shared hosts": (
        slurm("n[1-3],m7", "2(x3),1", 5, SLURM_NODEID="2", SLURM_LOCALID="1"),
        ["n1:27072", "n1:27073", "n2:27074", "n2:27075", "n3:27076", "n3:27077", "m7:27078"], 5,
    ),
    "slurm, one host": (slurm("n1", "2", 1, SLURM_NODEID="0", SLURM_LOCALID="1"),
                        ["n1:27072", "n1:27073"], 1),
    # Older names, and those of the job where a container hides the step's.
    "slurm, few variables": (
        {"SLURM_JOBID": "4711", "SLURM_STEP_NODELIST": "gpu-a[01-02]", "SLURM_PROCID": "1",
         "SLURM_TASKS_PER_NODE": "1(x2)"},
        ["gpu-a01:27072", "gpu-a02:27073"], 1,
    ),
    # With PMI, srun says in its variables too how many there are.
    "slurm with PMI": (slurm("n[1-2]", "1(x2)", 1) | {"PMI_SIZE": "2", "PMI_RANK": "1"},
                       ["n1:27072", "n2:27073"], 1),
    # What is said most plainly wins.
    "TF_CONFIG under slurm": (
        slurm("n[1-2]", "1(x2)", 1) | tf_config("worker", 0, worker=["a:1", "b:1"]),
        ["a:1", "b:1"], 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_workers_and_rank(name: str) -> None:
    environ, addresses, rank = ENVIRONMENTS[name]
    cluster = find_cluster({"PATH": "/bin", **environ})
    assert cluster is not None
    assert (list(cluster.addresses), cluster.rank) == (addresses, rank)
    assert cluster.is_chief == (rank == 0)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        {"TF_CONFIG": '{"task": {"type": "chief", "index": 0}}'},
        tf_config("chief", 0, chief=["c:1"]),
        tf_config("worker", 0, worker=["a:1"]),
        {"SKYPILOT_NODE_IPS": "10.0.0.7", "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NUM_NODES": "1"},
        {"SKYPILOT_NODE_IPS": "10.0.0.7\n"},
        {"SKYPILOT_NODE_IPS": ""},
        {"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"},
        {"SM_HOSTS": ""},
        {"JOB_COMPLETION_INDEX": "0"},
        slurm("n1", "1", 0, SLURM_NODEID="0", SLURM_LOCALID="0"),
        # A shell in `salloc --nodes=2`: a job, but no step.
        {"SLURM_JOB_ID": "4711", "SLURM_NODELIST": "n[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)"},
        # A batch script on the first of two hosts, which does not start its commands with srun.
        {"SLURM_JOB_ID": "4711", "SLURM_NODELIST": "n[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)",
         "SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"},
        # The interactive step that `salloc` starts where LaunchParameters=use_interactive_step.
        slurm("n1", "1", 0, SLURM_STEP_ID="4294967290", SLURM_JOB_NODELIST="n[1-2]"),
        # A launcher of copies that started one.
        {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},
        {"OMPI_COMM_WORLD_SIZE": "1"},
        {"WORLD_SIZE": "", "PMI_SIZE": "auto"},
        slurm("n1", "1", 0) | {"PMI_SIZE": "1", "PMI_RANK": "0"},
    ],
)  # fmt: skip
def test_single_process(environ: dict[str, str]) -> None:
    assert find_cluster(environ) is None


COPIES = {
    "torchrun": ({"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1"}, "WORLD_SIZE=4"),
    "mpirun": ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
               "OMPI_COMM_WORLD_SIZE=2"),
    "mpiexec": ({"PMI_SIZE": "8", "PMI_RANK": "0"}, "PMI_SIZE=8"),
    "mvapich": ({"MV2_COMM_WORLD_SIZE": "2"}, "MV2_COMM_WORLD_SIZE=2"),
    # mpirun in an allocation, and on a service's only machine.
    "mpirun under slurm": ({"SLURM_JOB_ID": "4711", "SLURM_NODELIST": "n[1-2]",
                            "OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2"),
    "mpirun on sagemaker": ({"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1",
                             "OMPI_COMM_WORLD_SIZE": "8"}, "OMPI_COMM_WORLD_SIZE=8"),
}  # fmt: skip


@pytest.mark.parametrize("launcher", COPIES)
def test_copies_that_know_nothing_of_each_other_are_refused(launcher: str) -> None:
    environ, received = COPIES[launcher]
    with pytest.raises(ValueError, match="copies of one command") as error:
        find_cluster(environ)
    assert f"Received: {received}. " in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"TF_CONFIG": "{worker"}, "TF_CONFIG must be JSON"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG must be a JSON dict"),
        ({"TF_CONFIG": '{"cluster": {"worker": "a:1"}}'}, "maps each kind of task to addresses"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "has a `type` and an `index`"),
        (tf_config("evaluator", 0, worker=["a:1", "b:1"], evaluator=["e:1"]), "task evaluator"),
        (tf_config("ps", 0, worker=["a:1", "b:1"], ps=["p:1"]), "task ps"),
        (tf_config("worker", 0, worker=["a:1", "b:1"], ps=["p:1"]), "cluster of worker, ps"),
        (tf_config("worker", 2, worker=["a:1", "b:1"]), "and this task"),
        (tf_config("chief", 0, worker=["a:1", "b:1"]), "and this task"),
        (tf_config("worker", 0, worker=["a:1", "a:1"]), "an address of its own"),
        (tf_config("worker", 0, worker=["a", "b"]), "An address is host:port"),
        ({"SKYPILOT_NODE_IPS": "1.1.1.1\n1.1.1.2", "SKYPILOT_NODE_RANK": "0",
          "SKYPILOT_NUM_NODES": "3"}, "3 nodes, 1.1.1.1 1.1.1.2"),
        ({"SKYPILOT_NODE_IPS": "1.1.1.1\n1.1.1.2"}, "SKYPILOT_NODE_RANK must be a number"),
        ({"SM_HOSTS": '["algo-1","algo-2"]', "SM_CURRENT_HOST": "algo-3"}, "'algo-3'"),
        ({"JOB_COMPLETION_INDEX": "2", "WORKER_HOSTS": "a,b"}, "rank 2"),
        # A job of several pods whose manifest does not name them.
        ({"JOB_COMPLETION_INDEX": "1"}, "WORKER_HOSTS"),
        (slurm("n[1-2]", "1(x3)", 0), "a number for each host"),
        (slurm("n[1-2]", "1(x2)", 2), "rank 2"),
        (slurm("n[1-2]", "one", 0), "is like 2(x3),1"),
        (slurm("n[2-1]", "1", 0), "A list of hosts"),
        # srun --distribution=cyclic: task 1 of four is the first of the second host.
        (slurm("n[1-2]", "2(x2)", 1, SLURM_NODEID="1", SLURM_LOCALID="0"), "--distribution=block"),
    ],
)  # fmt: skip
def test_contradiction_gets_one_clear_line(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        find_cluster(environ)
    assert says in str(error.value)
    assert "Received" in str(error.value)
    assert "\n" not in str(error.value)


ALL = ("no_proxy", "NO_PROXY", "no_grpc_proxy")
PROXIES = {
    "none": ({}, {}),
    "none, and exceptions": ({"no_proxy": "x", "http_proxy": ""}, {}),
    "http": ({"http_proxy": "http://p:1"}, dict.fromkeys(ALL, "a,::1")),
    "upper case": ({"HTTPS_PROXY": "http://p:1"}, dict.fromkeys(ALL, "a,::1")),
    "gRPC's": ({"grpc_proxy": "http://p:1"}, dict.fromkeys(ALL, "a,::1")),
    "exceptions": ({"http_proxy": "p", "no_proxy": "x,a,.y"}, dict.fromkeys(ALL, "x,a,.y,::1")),
    "exceptions in upper case": (
        {"http_proxy": "p", "NO_PROXY": "x"}, dict.fromkeys(ALL, "x,a,::1")
    ),
    "each its own": (
        {"http_proxy": "p", "no_proxy": "x", "NO_PROXY": "y", "no_grpc_proxy": "z"},
        {"no_proxy": "x,a,::1", "NO_PROXY": "y,a,::1", "no_grpc_proxy": "z,a,::1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROXIES)
def test_workers_hosts_are_no_proxys(name: str) -> None:
    environ, expected = PROXIES[name]
    cluster = Cluster(launcher="x", addresses=("a:1", "[::1]:2", "a:3"), rank=0)
    assert without_proxies(cluster, environ) == expected


def test_jobs_that_share_a_host_have_other_ports() -> None:
    ports = set()
    for job in range(4711, 4721):
        cluster = find_cluster(slurm("n1", "4", 0, SLURM_JOB_ID=str(job)))
        assert cluster is not None
        ports |= {address.rpartition(":")[2] for address in cluster.addresses}
    assert len(ports) == 40


@pytest.mark.parametrize(
    ("addresses", "rank", "gpus"),
    [
        (("a:1", "b:1"), 1, GPUS),  # One on each host.
        (("a:1", "b:1", "a:2", "b:2"), 0, GPUS[:2]),
        (("a:1", "b:1", "a:2", "b:2"), 3, GPUS[2:]),
        (("a:1", "a:2", "a:3", "a:4"), 2, GPUS[2:3]),
    ],
)
def test_workers_of_a_host_share_its_gpus(addresses, rank, gpus) -> None:
    assert Cluster(launcher="x", addresses=addresses, rank=rank).own_gpus(GPUS) == gpus


def test_gpus_that_do_not_share_out_are_refused() -> None:
    cluster = Cluster(launcher="x", addresses=("a:1", "a:2", "a:3"), rank=0)
    with pytest.raises(ValueError, match="4 GPUs, 3 workers"):
        cluster.own_gpus(GPUS)


@pytest.mark.parametrize(
    "environ",
    [
        slurm("n1", "2", 1, SLURM_GPUS_PER_TASK="1", CUDA_VISIBLE_DEVICES="0"),
        slurm("n1", "2", 1, SLURM_TRES_PER_TASK="cpu=4,gres/gpu=1"),
        slurm("n1", "2", 1, SLURM_GPU_BIND="single:1"),
        tf_config("worker", 1, worker=["h:1", "h:2"]) | {"CUDA_VISIBLE_DEVICES": "1"},
    ],
)
def test_gpus_that_the_launcher_dealt_out_are_all_ones_own(environ: dict[str, str]) -> None:
    cluster = find_cluster(environ)
    assert cluster is not None
    assert cluster.own_gpus(["GPU:0"]) == ["GPU:0"]


def test_port_that_another_program_has_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        cluster = Cluster(launcher="x", addresses=(f"h:{port}", "i:1"), rank=0)
        with pytest.raises(RuntimeError, match=f"cannot listen at h:{port}"):
            cluster.check_port()
    cluster.check_port()


HOSTLISTS = {
    "n1": "n1",
    "n[1-3]": "n1 n2 n3",
    "n[8-11]": "n8 n9 n10 n11",
    "a[01-03,7],b2": "a01 a02 a03 a7 b2",
    "n[098-101]": "n098 n099 n100 n101",
    "r[1-2]n[3-4]": "r1n3 r1n4 r2n3 r2n4",
    "gpu-[1,3],login.example.org": "gpu-1 gpu-3 login.example.org",
    "n[2,1]": "n2 n1",
}


@pytest.mark.parametrize("hostlist", HOSTLISTS)
def test_hostlist(hostlist: str) -> None:
    assert expand_hostlist(hostlist) == HOSTLISTS[hostlist].split()


@pytest.mark.skipif(not shutil.which("scontrol"), reason="needs Slurm's scontrol")
@pytest.mark.parametrize("hostlist", HOSTLISTS)
def test_hostlist_is_slurms(hostlist: str, tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=any\nSlurmctldHost=localhost\n")
    done = subprocess.run(
        ["scontrol", "show", "hostnames", hostlist],
        capture_output=True, text=True, check=True, env={**os.environ, "SLURM_CONF": str(conf)},
    )  # fmt: skip
    assert expand_hostlist(hostlist) == done.stdout.split()


@pytest.mark.parametrize("hostlist", ["", "n[1-", "n[]", "n[a-b]", "n1,,n2", "n[3-1]", "n 1"])
def test_what_is_no_hostlist_is_refused(hostlist: str) -> None:
    with pytest.raises(ValueError, match="A list of hosts looks like"):
        expand_hostlist(hostlist)
