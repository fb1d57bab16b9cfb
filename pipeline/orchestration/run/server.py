"""A process that has DVC imported and forks a supervisor for each job.

    python -m pipeline.orchestration.run.server DESCRIPTOR [DESCRIPTOR…]

Starting `dvc` costs 1.2 to 1.9 s of CPU, nearly all of it imports; a fork costs milliseconds. This process has one
thread and opens no repository, so that what it forks begins clean. A build hands over one end of a socket pair for
each job on the first descriptor; the others, such as the lock on the workspace, are kept open by the supervisors and
so until the last process of a build is gone, even if the build itself was killed.
"""

import gc
import os
import signal
import socket
import sys
import threading
from importlib import import_module

from pipeline import stage
from pipeline.orchestration.run.supervise import supervise


def main(descriptors: list[int]) -> None:
    """Fork a supervisor for every connection that arrives, until the build closes its end or is gone."""
    stage.set_defaults()
    dvc_job = import_module("pipeline.orchestration.run.dvc_job")
    import_module("pipeline.orchestration.dvc_inside.repository").preload()
    import_module("pipeline.orchestration.sharing.storage").preload()
    gc.freeze()
    # Supervisors that end need no waiting for; they themselves take the default back.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=descriptors[0]) as control:
        while True:
            _, received, _, _ = socket.recv_fds(control, 1, 1)
            if not received:
                return
            assert threading.active_count() == 1
            if os.fork() == 0:
                _be_supervisor(received[0], dvc_job.do, descriptors)
            os.close(received[0])


def _be_supervisor(connection: int, work: object, descriptors: list[int]) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(descriptors[0])
        supervise(socket.socket(fileno=connection), work, tuple(descriptors[1:]))  # type: ignore[arg-type]
    finally:
        os._exit(0)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
