"""Faults of the network between hosts: cables that are pulled, for a moment or for good.

Trials like those of `tests.chaos.matrix`, on hosts of their own (`tests.chaos.hosts`).
"""

from __future__ import annotations

import time
from random import Random

from tests.chaos.hosts import HEAD, WORKERS, Hosts
from tests.chaos.laboratory import Laboratory
from tests.chaos.matrix import Aftermath, Disturb, Trial, busy, expect
from tests.chaos.outputs import Output

# Shorter than it takes Ray to give up a host here, and longer.
MOMENT_SECONDS, LONG_SECONDS = 1.0, 8.0


class NetworkLaboratory(Laboratory):
    """A laboratory whose nodes have a network between them."""

    def __init__(self) -> None:
        self.hosts = Hosts()
        super().__init__(self.hosts, runs_on=HEAD)

    def renew_nodes(self) -> None:
        self.hosts.renew()


def cut_off(host: str, seconds: float) -> Disturb:
    """A host's cable is pulled while shards are computed, and plugged in again; any of the workers where none is given.

    A worker behind it goes on meanwhile: it commits to the shared disk what another may be given to compute again.
    """

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        assert isinstance(laboratory, NetworkLaboratory)
        run, cable = busy(laboratory, random, output), host or random.choice(WORKERS)
        laboratory.hosts.cut(cable)
        time.sleep(seconds)
        laboratory.hosts.mend(cable)
        expect(run, 0)
        return Aftermath(survived=True)

    return disturb


def cut_for_good(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The run ends without the host; its worker must not outlive the cable's return."""
    assert isinstance(laboratory, NetworkLaboratory)
    run, cable = busy(laboratory, random, output), random.choice(WORKERS)
    laboratory.hosts.cut(cable)
    expect(run, 0)
    laboratory.hosts.mend(cable)
    return Aftermath(survived=True)


def all_cut_then_new(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The driver's host is alone for so long that all nodes are given up; then they are started anew."""
    assert isinstance(laboratory, NetworkLaboratory)
    run = busy(laboratory, random, output)
    laboratory.hosts.cut(HEAD)
    time.sleep(LONG_SECONDS)
    laboratory.renew_nodes()
    expect(run, 0)
    return Aftermath(survived=True)


TRIALS = (
    Trial("a worker's host cut off", "among commits, for a moment", cut_off("", MOMENT_SECONDS)),
    Trial("a worker's host cut off", "among commits, back when it was given up", cut_off("", LONG_SECONDS)),
    Trial("a worker's host cut off", "among commits, for good", cut_for_good),
    Trial("the driver's host cut off", "among commits, for a moment", cut_off(HEAD, MOMENT_SECONDS)),
    Trial("the driver's host cut off", "among commits; new nodes join", all_cut_then_new),
)
