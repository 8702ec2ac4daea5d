"""A real S3 server on one machine: Ceph's RADOS Gateway, with a monitor and one object store in memory behind it.

It needs the Debian packages `radosgw ceph-mon ceph-osd ceph-common`, and no root. The gateway can be killed and started
again: what it stored is in the processes behind it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from obstore.store import S3Store
from pyarrow import fs

from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.object_stores import Bucket
from tests.machine import free_ports, missing_programs

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
KEY, SECRET = "phoenix-lab", "phoenix-lab-secret"
BUCKET = "lab"
MEMORY_BYTES = 4 << 30
_START_SECONDS = 180.0
# A monitor that asks for no authentication refuses one request in some hundred all the same; the next one passes.
_REFUSED = "EPERM"
_ATTEMPTS = 5

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{monitor}]
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = {lab}/run
log_file = {lab}/log/$name.log
admin_socket = {lab}/run/$name.asok
pid_file = {lab}/run/$name.pid
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr2 = false
mon_data = {lab}/mon
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_crit = 0
osd_data = {lab}/osd
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_objectstore = memstore
memstore_device_bytes = {memory}
osd_crush_chooseleaf_type = 0
osd_class_load_list = *
osd_class_default_list = *
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_data = {lab}/rgw
"""


def why_not() -> str:
    """Return why there can be no gateway on this machine; an empty text if there can."""
    return missing_programs(PROGRAMS, PACKAGES)


class Gateway:
    """A running gateway.

    Args:
        lab: An empty folder with a short path, for its configuration, sockets and logs.
    """

    def __init__(self, lab: Path) -> None:
        self._lab = lab
        self._configuration = lab / "ceph.conf"
        (self.port,) = free_ports(1)
        self._behind: list[subprocess.Popen[bytes]] = []
        self._gateway: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def begin(self) -> None:
        """Start everything and make the bucket."""
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self._lab / name).mkdir(parents=True)
        cluster, (monitor,) = str(uuid.uuid4()), free_ports(1)
        self._configuration.write_text(
            _CONFIGURATION.format(fsid=cluster, lab=self._lab, monitor=monitor, port=self.port, memory=MEMORY_BYTES)
        )
        address = f"[v1:127.0.0.1:{monitor}]"
        self._do("monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, str(self._lab / "monmap"))
        self._do("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(self._lab / "monmap"))
        self._behind.append(self._start("ceph-mon", "-f", "-i", "a"))
        store = str(uuid.uuid4())
        self._do("ceph", "osd", "create", store)
        self._do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store)
        self._behind.append(self._start("ceph-osd", "-f", "-i", "0"))
        wait_for(self._has_store, "the object store does not come up")
        self.start()
        self._do(
            *("radosgw-admin", "user", "create", "--uid=lab", "--display-name=lab"),
            *(f"--access-key={KEY}", f"--secret-key={SECRET}"),
        )
        self.client().create_dir(BUCKET)

    def client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def storage(self, folder: str) -> ObjectStorage:
        """Return what lies below a folder of the bucket, read and written without a proxy between."""
        store: Any = S3Store(
            BUCKET,
            prefix=folder,
            access_key_id=KEY,
            secret_access_key=SECRET,
            endpoint=self.endpoint,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        return ObjectStorage(Bucket(store, f"s3://{BUCKET}/{folder}"))

    def start(self) -> None:
        """Start the gateway, and wait until it answers."""
        self._gateway = self._start("radosgw", "-f", "-n", "client.rgw")
        wait_for(self._answers, "the gateway does not answer")

    def kill(self) -> None:
        """Kill the gateway in the midst of whatever it does."""
        if self._gateway:
            self._gateway.kill()
            self._gateway.wait()

    def stop_for(self, seconds: float) -> None:
        """Stop the gateway for a while: connections stay open, and nothing is answered."""
        assert self._gateway
        self._gateway.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._gateway.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.kill()
        for process in reversed(self._behind):
            process.kill()
            process.wait()

    def _has_store(self) -> bool:
        if self._behind[-1].poll() is not None:
            # It may have ended with _REFUSED too.
            self._behind[-1] = self._start("ceph-osd", "-f", "-i", "0")
        return "1 up" in self._do("ceph", "osd", "stat")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._lab / "log" / f"{command[0]}.out").open("ab") as log:
            return subprocess.Popen(
                [*command, "--conf", str(self._configuration)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "CEPH_CONF": str(self._configuration)},
            )

    def _do(self, *command: str) -> str:
        words = [*command, "--conf", str(self._configuration)]
        for _ in range(_ATTEMPTS):
            done = subprocess.run(words, capture_output=True, text=True, timeout=_START_SECONDS, check=False)
            if _REFUSED not in done.stderr:
                break
            time.sleep(0.5)
        if done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout


@contextmanager
def open_gateway(lab: Path) -> Iterator[Gateway]:
    gateway = Gateway(lab)
    try:
        gateway.begin()
        yield gateway
    finally:
        gateway.end()


def wait_for(condition: Callable[[], bool], otherwise: str, seconds: float = _START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
