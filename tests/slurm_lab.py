"""A Slurm of two nodes on this machine, without systemd or cgroups; Debian's packages, as root."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=300
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=6821 CPUs=2 RealMemory=8000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=6822 CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=lab Nodes=n1,n2 Default=YES State=UP
"""
GRES = "NodeName=n[1-2] Name=gpu File=/dev/null\n"
PROFILE = """\
executor: slurm
jobs: 8
latency-wait: 15
retries: 2
slurm-no-account: true
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 2
seconds-between-status-checks: 2
default-resources:
  - slurm_partition=lab
"""


def install() -> None:
    """Install what is missing from Debian's packages."""
    if not all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch", "munged")):
        quiet = {"stdout": subprocess.DEVNULL, "check": True}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)  # type: ignore[call-overload]
        subprocess.run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *PACKAGES],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet,
        )  # type: ignore[call-overload]  # fmt: skip


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Start the cluster; the folder of a Snakemake profile for it. Stops all that it started."""
    install()
    conf = Path("/etc/slurm")
    conf.mkdir(exist_ok=True)
    for name in ("slurm.conf", "gres.conf"):
        assert not (conf / name).exists() or (conf / name).is_symlink(), f"{conf / name} is in use"
    for name in ("state", "spool-n1", "spool-n2", "profile"):
        (folder / name).mkdir()
    (folder / "profile" / "config.yaml").write_text(PROFILE)
    host = socket.gethostname()
    for name, text in (("slurm.conf", CONF), ("gres.conf", GRES)):
        (folder / name).write_text(text.format(folder=folder, host=host) if "{" in text else text)
        (conf / name).unlink(missing_ok=True)
        (conf / name).symlink_to(
            folder / name
        )  # jobs would lose a SLURM_CONF that points elsewhere
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    folder.chmod(0o755)
    run("munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munged.seed")  # fmt: skip
    try:
        run("slurmctld", "-c")
        for node in ("n1", "n2"):
            run("slurmd", "-N", node)
        until(lambda: run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", 60)
        yield folder / "profile"
    finally:
        subprocess.run(["scancel", "--partition=lab"], check=False)
        for name in ("slurmd-n1", "slurmd-n2", "slurmctld", "munged"):
            stop(folder / f"{name}.pid")
        for name in ("slurm.conf", "gres.conf"):
            (conf / name).unlink(missing_ok=True)


def run(*command: str) -> str:
    """What a command says; an error when it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def stop(pid_file: Path) -> None:
    """End the process that wrote this file, and wait until it is gone."""
    if not pid_file.is_file():
        return
    pid = int(pid_file.read_text())
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        until(lambda: not alive(pid), 30)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process runs still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds; TimeoutError when it does not."""
    tick = threading.Event()
    for _ in range(int(seconds * 5)):
        if holds():
            return
        tick.wait(0.2)
    raise TimeoutError(f"not within {seconds} seconds")
