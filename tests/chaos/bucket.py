"""Runs whose output is in a bucket of a real S3 gateway, and the faults of such a store and of the way to it.

`matrix.TRIALS` are tried here too: what they do to files is done to objects.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from tests.chaos.faults import ALWAYS, Fault
from tests.chaos.laboratory import Laboratory, Run, data_files, head_arguments, partitions, wait_until
from tests.chaos.matrix import KILLED, Aftermath, Disturb, Trial, busy, expect
from tests.chaos.outputs import Output
from tests.clusters.s3.gateway import open_gateway
from tests.clusters.s3.proxy import StoreFault, open_proxy

# A run waits this long for its storage before it gives up; a request is repeated for 60 s.
OUTAGE_SECONDS = 75.0
_GAVE_UP = (0, 3, 6)


class BucketLaboratory(Laboratory):
    """A laboratory with a bucket of its own; runs reach it through a proxy, the judge directly."""

    def __init__(self, mode: str = "static") -> None:
        from ray.cluster_utils import Cluster

        with ExitStack() as opened:
            # Sockets have short names.
            lab = opened.enter_context(tempfile.TemporaryDirectory(prefix="rgw-", dir="/tmp"))
            self.gateway = opened.enter_context(open_gateway(Path(lab)))
            self.proxy = opened.enter_context(open_proxy(self.gateway.port))
            # Before the nodes start, from which workers inherit it.
            os.environ |= self.gateway.environment | {"AWS_ENDPOINT_URL": self.proxy.endpoint}
            cluster = Cluster(initialize_head=True, head_node_args=head_arguments())
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            super().__init__(cluster, mode=mode)
            self._opened = opened.pop_all()

    def output_named(self, name: str) -> Output:
        storage = self.gateway.storage(f"{self.folder.name}/{name}")
        return Output(storage.root, storage)

    def close(self) -> None:
        super().close()
        self._opened.close()


def requests(*faults: StoreFault, codes: tuple[int, ...] = (0,)) -> Disturb:
    """Requests of the whole run meet faults."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        assert isinstance(laboratory, BucketLaboratory)
        laboratory.proxy.set_faults(faults, random)
        try:
            run = laboratory.start(output)
            code = run.wait(180)
            struck = laboratory.proxy.strikes
        finally:
            laboratory.proxy.set_faults((), random)
        assert code in codes, f"exit code {code}; the run said:\n{run.said()}"
        assert struck, "no request met a fault"
        return Aftermath(survived=code == 0)

    return disturb


def gateway_killed(seconds: float, codes: tuple[int, ...] = (0,)) -> Disturb:
    """The gateway is killed among commits, and comes back."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        assert isinstance(laboratory, BucketLaboratory)
        run = busy(laboratory, random, output)
        laboratory.gateway.kill()
        time.sleep(seconds * random.uniform(0.8, 1.2))
        laboratory.gateway.start()
        code = run.wait(240)
        assert code in codes, f"exit code {code}; the run said:\n{run.said()}"
        return Aftermath(survived=code == 0)

    return disturb


def gateway_killed_in_compaction(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The gateway is killed when the first data file is there, and comes back."""
    assert isinstance(laboratory, BucketLaboratory)
    run = laboratory.start(output, faults=[Fault("compaction", "write", "", "pause", times=ALWAYS)])
    assert wait_until(lambda: bool(data_files(output)), run), run.said()
    laboratory.gateway.kill()
    time.sleep(random.uniform(0.2, 3.0))
    laboratory.gateway.start()
    expect(run, 0)
    return Aftermath(survived=True)


def gateway_stopped(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The gateway stands still: connections stay open, and nothing is answered."""
    assert isinstance(laboratory, BucketLaboratory)
    run = busy(laboratory, random, output)
    laboratory.gateway.stop_for(random.uniform(10, 20))
    expect(run, 0)
    return Aftermath(survived=True)


def driver_killed_meanwhile(*faults: StoreFault) -> Disturb:
    """The driver is killed among commits while requests meet faults."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        assert isinstance(laboratory, BucketLaboratory)
        laboratory.proxy.set_faults(faults, random)
        try:
            run, count = laboratory.start(output), random.randint(1, 4)
            assert wait_until(lambda: len(partitions(output)) >= count, run), run.said()
            run.send(signal.SIGKILL)
            expect(run, KILLED)
        finally:
            laboratory.proxy.set_faults((), random)
        return Aftermath(survived=False)

    return disturb


def drivers_race(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """Two drivers start at the same moment, and half of the answers to their claims are lost: one works."""
    assert isinstance(laboratory, BucketLaboratory)
    laboratory.proxy.set_faults([StoreFault("lose", "PUT .*(lease|dataset).json", share=0.5)], random)
    try:
        start = threading.Barrier(2)
        runs: list[Run] = []

        def begin() -> None:
            start.wait()
            runs.append(laboratory.start_again(output))

        threads = [threading.Thread(target=begin) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = sorted(run.wait() for run in runs)
    finally:
        laboratory.proxy.set_faults((), random)
    assert codes == [0, 6], f"exit codes {codes}; they said:\n{runs[0].said()}"
    return Aftermath(survived=True)


_PARTITION, _MANIFEST, _DATA = "PUT .*/partitions/", "PUT .*/manifests/", "PUT .*/data/"
_DELETION = r"POST .*\?delete"

TRIALS = (
    Trial("503 Slow Down", "a third of the partitions", requests(StoreFault("answer", _PARTITION, share=0.33))),
    Trial("503 Slow Down", "a fifth of all requests", requests(StoreFault("answer", "", share=0.2))),
    Trial("503 Slow Down", "half of the listings", requests(StoreFault("answer", "GET .*list-type", share=0.5))),
    Trial(
        "500 after success",
        "each partition, once in three",
        requests(StoreFault("answer after", _PARTITION, share=0.33, status=500, code="InternalError")),
    ),
    Trial(
        "500 after success",
        "each manifest, twice",
        requests(StoreFault("answer after", _MANIFEST, times=2, status=500, code="InternalError")),
    ),
    Trial("connection closed", "a fifth of all requests", requests(StoreFault("close", "", share=0.2))),
    Trial("answer lost", "half of the partitions", requests(StoreFault("lose", _PARTITION, share=0.5))),
    Trial(
        "answer lost",
        "the lease and the identity",
        requests(StoreFault("lose", "PUT .*/(lease|dataset).json", times=6)),
    ),
    Trial("answer lost", "each manifest, twice", requests(StoreFault("lose", _MANIFEST, times=2))),
    Trial("answer lost", "data files, three times", requests(StoreFault("lose", _DATA, times=3))),
    Trial("answer lost", "half of the deletions", requests(StoreFault("lose", _DELETION, share=0.5))),
    Trial("answer lost", "a tenth of all requests", requests(StoreFault("lose", "", share=0.1))),
    Trial("answer cut", "a third of what is read", requests(StoreFault("cut", "GET ", share=0.33))),
    Trial("answer slow", "a fifth of all requests", requests(StoreFault("slow", "", share=0.2))),
    Trial("answer later than a client waits", "a partition", requests(StoreFault("silent", _PARTITION, times=1))),
    Trial(
        "request arrives late, after its repetition",
        "half of the partitions",
        requests(StoreFault("late", _PARTITION, share=0.5)),
    ),
    Trial(
        "request arrives late, after its repetition", "each manifest", requests(StoreFault("late", _MANIFEST, times=1))
    ),
    Trial(
        "request arrives late, after its repetition",
        "half of the deletions",
        requests(StoreFault("late", _DELETION, share=0.5)),
    ),
    Trial(
        "403 Forbidden",
        "partitions, three times",
        requests(StoreFault("answer", _PARTITION, times=3, status=403, code="AccessDenied")),
    ),
    Trial("gateway killed", "among commits, for a moment", gateway_killed(1.0)),
    Trial(
        "gateway killed",
        "among commits, for longer than a request is repeated",
        gateway_killed(OUTAGE_SECONDS, _GAVE_UP),
    ),
    Trial("gateway killed", "during the last compaction", gateway_killed_in_compaction),
    Trial("gateway stands still", "among commits", gateway_stopped),
    Trial("driver killed", "while answers are lost", driver_killed_meanwhile(StoreFault("lose", "", share=0.1))),
    Trial("two drivers at once", "while answers to their claims are lost", drivers_race),
)
