"""A real SLURM on one machine: slurmctld, and nodes that are namespaces with their own address, disk and processes.

Nothing outside the laboratory's folder is changed but the network: a bridge and a pair of interfaces for each node,
which go with it. It needs root, and the Debian packages `slurm-wlm` and `munge`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.machine import missing_programs

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "jobs" / "slurm.sbatch"
NODES = ("phx1", "phx2")
NETWORK = "10.78.0"
BRIDGE = "phxlab"
CPUS = 4
# Where each node sees a disk of its own.
LOCAL_DISK = "/mnt"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare", "nsenter")
PACKAGES = "slurm-wlm munge iproute2"
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"})

CONFIGURATION = """\
ClusterName=phoenixlab
SlurmctldHost=phxctl({network}.254)
SlurmUser=root
SlurmctldPort=6917
AuthType=auth/munge
AuthInfo=socket={lab}/munge/socket
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={lab}/state
SlurmdSpoolDir={lab}/spool-%n
SlurmdPidFile={lab}/slurmd-%n.pid
SlurmctldPidFile={lab}/slurmctld.pid
SlurmctldLogFile={lab}/log/slurmctld.log
SlurmdLogFile={lab}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=30
SlurmdTimeout=20
MinJobAge=3600
{nodes}
PartitionName=main Nodes=phx[1-{count}] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not() -> str:
    """Return why the laboratory cannot run on this machine; an empty text if it can."""
    if os.geteuid():
        return "it needs root: nodes are namespaces"
    return missing_programs(PROGRAMS, PACKAGES)


class Slurm:
    """A running SLURM.

    Args:
        lab: An empty folder for its state, its logs and the nodes' disks.
    """

    def __init__(self, lab: Path) -> None:
        self.lab = lab
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._nodes: set[str] = set()

    def start(self) -> None:
        """Start munge, the controller and the nodes, and wait until the nodes are idle."""
        for name in ("munge", "state", "log", "conf", "dev", *NODES):
            (self.lab / name).mkdir(parents=True)
        self._configure()
        self._connect()
        munge = self.lab / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o600)
        files = [f"--{what}-file={munge / what}" for what in ("key", "log", "pid", "seed")]
        self._spawn("munge", ["munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *files])
        host = f'hostname phxctl; mount --bind {self.lab}/hosts /etc/hosts; exec slurmctld -D -f "$SLURM_CONF"'
        self._spawn("slurmctld", ["unshare", "--mount", "--uts", "bash", "-c", host])
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes(NODES)

    def _configure(self) -> None:
        devices = []
        for index in range(2):
            devices.append(self.lab / "dev" / f"nvidia{index}")
            # The null device: SLURM only looks whether a file of that kind is there.
            os.mknod(devices[-1], 0o666 | 0o020000, os.makedev(1, 3))
        addresses = {node: f"{NETWORK}.{index}" for index, node in enumerate(NODES, 1)}
        nodes = "\n".join(
            f"NodeName={node} NodeAddr={address} NodeHostname={node} Port=6918 CPUs={CPUS} RealMemory=16000 Gres=gpu:2"
            for node, address in addresses.items()
        )
        conf = self.lab / "conf"
        text = CONFIGURATION.format(lab=self.lab, network=NETWORK, nodes=nodes, count=len(NODES))
        (conf / "slurm.conf").write_text(text)
        (conf / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in devices))
        (conf / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=yes\n")
        hosts = {"localhost": "127.0.0.1", "phxctl": f"{NETWORK}.254", **addresses}
        (self.lab / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))

    def _connect(self) -> None:
        self._disconnect()
        _ip(f"link add {BRIDGE} type bridge")
        _ip(f"addr add {NETWORK}.254/24 dev {BRIDGE}")
        _ip(f"link set {BRIDGE} up")
        for index, node in enumerate(NODES, 1):
            _ip(f"netns add {node}")
            _ip(f"link add {node} type veth peer name eth0 netns {node}")
            _ip(f"link set {node} master {BRIDGE} up")
            _ip(f"-n {node} addr add {NETWORK}.{index}/24 dev eth0")
            _ip(f"-n {node} link set eth0 up")
            _ip(f"-n {node} link set lo up")

    def _disconnect(self) -> None:
        for node in NODES:
            _ip(f"netns del {node}", check=False)
            _ip(f"link del {node}", check=False)
        _ip(f"link del {BRIDGE}", check=False)

    def start_node(self, node: str) -> None:
        """Start a node: its first process ends with all others when it is killed."""
        disk = self.lab / node
        inside = (
            f"hostname {node}; mount --bind {disk} {LOCAL_DISK}; mount -t tmpfs tmpfs /dev/shm; "
            f'mount --bind {self.lab}/hosts /etc/hosts; slurmd -D -N {node} -f "$SLURM_CONF" & wait'
        )
        network = f"--net=/run/netns/{node}"
        namespaces = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._nodes.add(node)
        self._spawn(node, ["nsenter", network, "unshare", *namespaces, "bash", "-c", inside])

    def kill_node(self, node: str) -> None:
        """Let a node lose its power."""
        self._processes.pop(node).kill()

    def wait_for_nodes(self, nodes: Sequence[str], seconds: float = 60.0) -> None:
        """Wait until nodes can take jobs."""
        end = time.monotonic() + seconds
        while (states := self.call("sinfo", "-hN", "-n", ",".join(nodes), "-o", "%T").split()) != ["idle"] * len(nodes):
            if time.monotonic() > end:
                raise TimeoutError(f"nodes {nodes} are {states}; the logs are in {self.lab / 'log'}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End everything, and take the network away."""
        for node in self._nodes & self._processes.keys():
            self._processes[node].kill()
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            _reap(process)
        self._disconnect()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of SLURM's programs and of those who submit."""
        quiet = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM", "SBATCH"))}
        return quiet | {
            "SLURM_CONF": str(self.lab / "conf" / "slurm.conf"),
            "PHOENIX_RAY_VENV": sys.prefix,
            "PHOENIX_RAY_TMP": LOCAL_DISK,
            "PYTHONPATH": str(ROOT),
        }

    def call(self, *words: str, **variables: str) -> str:
        """Run one of SLURM's programs and return what it printed."""
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=self.environment | variables, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.lab / "log" / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    def submit(self, log: Path, *words: str, options: Sequence[str] = (), **variables: str) -> Job:
        """Submit jobs/slurm.sbatch with the words of a run."""
        size = ["--nodes=2", "--cpus-per-task=1", "--mem=3000", "--time=10"]
        line = ["sbatch", "--parsable", *size, f"--output={log}", *options, str(SCRIPT), *words]
        return Job(self, self.call(*line, **variables).strip(), log)

    def submit_array(
        self, log: Path, elements: Sequence[int], *words: str, options: Sequence[str] = (), **variables: str
    ) -> list[Job]:
        """Submit jobs/slurm.sbatch as an array of one-node jobs, half a node each; return its elements."""
        numbers = ",".join(map(str, elements))
        size = ["--nodes=1", f"--cpus-per-task={CPUS // 2}", f"--array={numbers}"]
        whole = self.submit(log.with_suffix(".%a.log"), *words, options=[*size, *options], **variables)
        return [Job(self, f"{whole.number}_{index}", log.with_suffix(f".{index}.log")) for index in elements]


class Job:
    """A job that was submitted; `log` is what it prints."""

    def __init__(self, slurm: Slurm, number: str, log: Path) -> None:
        self.number = number
        self.log = log
        self._slurm = slurm

    def facts(self) -> dict[str, str]:
        """Return what `scontrol show job` says: JobState, ExitCode, EndTime, ..."""
        said = self._slurm.call("scontrol", "show", "job", self.number)
        self.log.with_suffix(".scontrol").write_text(said)
        return dict(word.split("=", 1) for word in said.split() if "=" in word)

    def wait(self, seconds: float = 240.0, states: frozenset[str] = FINAL) -> dict[str, str]:
        """Wait until the job is in one of some states, and return its facts."""
        end = time.monotonic() + seconds
        while (facts := self.facts())["JobState"] not in states:
            if time.monotonic() > end:
                raise TimeoutError(f"job {self.number} is {facts['JobState']}:\n{self.text()}")
            time.sleep(0.5)
        return facts

    def text(self) -> str:
        """Return what the job has printed so far."""
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, text: str, seconds: float = 120.0) -> float:
        """Wait until the job has printed something, and return the time then."""
        end = time.monotonic() + seconds
        while text not in self.text():
            if time.monotonic() > end or self.facts()["JobState"] in FINAL:
                raise TimeoutError(f"job {self.number} has not said {text!r}:\n{self.text()}")
            time.sleep(0.2)
        return time.monotonic()

    def limit(self, minutes: int) -> None:
        """Set the time that the job may take since its start, as an administrator does."""
        self._slurm.call("scontrol", "update", f"JobId={self.number}", f"TimeLimit={minutes}")

    def cancel(self, *words: str) -> None:
        """Call scancel."""
        self._slurm.call("scancel", *words, self.number)


@contextmanager
def open_slurm(lab: Path) -> Iterator[Slurm]:
    """Run a SLURM for a block."""
    slurm = Slurm(lab)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def _ip(words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words.split()], check=check, capture_output=True)


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
