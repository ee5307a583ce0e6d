"""Two hosts on one machine: namespaces for network, names, processes and mounts, and a link between."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NAMES = ("node01", "node02")
ADDRESS = "10.213.77.{}"  # inside the namespaces only
NAMESPACES = ("--net", "--uts", "--mount")


def skip_without_namespaces():
    """Ends a test program, counted as skipped, where this user may not make such namespaces; first in its main."""
    needed = [tool for tool in ("ip", "unshare", "nsenter") if not shutil.which(tool)]
    if needed:
        print(f"{', '.join(needed)} missing")
        sys.exit(77)
    probe = ["unshare", *NAMESPACES, "--pid", "--fork", "--mount-proc", "sh", "-ec",
             "hostname probe; ip link add left type veth peer name right; ip link set lo up"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no root, or no namespaces and links allowed: {done.stderr.strip()}")
        sys.exit(77)


class Host:
    """A process that keeps the namespaces of a host; with processes of its own its end is that of them all."""

    def __init__(self, name, names_file, own_processes):
        self.name = name
        self.namespaces = [*NAMESPACES, *(["--pid"] if own_processes else [])]
        script = 'hostname "$1"; mount --bind "$2" /etc/hosts; ip link set lo up; echo up; exec sleep infinity'
        command = ["unshare", *self.namespaces, *(["--fork", "--kill-child", "--mount-proc"] if own_processes else [])]
        self.outer = subprocess.Popen([*command, "sh", "-ec", script, "host", name, names_file],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.outer.stdout.readline() == "up\n", f"{name} does not come up"
        self.first = self.outer.pid
        if own_processes:
            children = pathlib.Path(f"/proc/{self.first}/task/{self.first}/children").read_text(encoding="ascii")
            self.first = int(children)

    def command(self, *command, folder="/"):
        """`command` as it is run on this host."""
        return ["nsenter", "-t", str(self.first), *self.namespaces, f"--wd={folder}", "--", *map(str, command)]

    def run(self, *command):
        subprocess.run(self.command(*command), check=True)

    def die(self):
        os.kill(self.first, signal.SIGKILL)
        self.outer.wait()
        self.outer.stdout.close()


class TwoHosts:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="braid-hosts-"))
        names_file = self.folder / "names"
        names_file.write_text("127.0.0.1 localhost\n" + "".join(
            f"{ADDRESS.format(index + 1)} {name}\n" for index, name in enumerate(NAMES)), encoding="utf-8")
        self.hosts = [Host(name, str(names_file), own_processes=name != NAMES[0]) for name in NAMES]
        subprocess.run(["ip", "link", "add", "eth0", "netns", str(self.hosts[0].first), "type", "veth", "peer", "name",
                        "eth0", "netns", str(self.hosts[1].first)], check=True)
        for index, host in enumerate(self.hosts):
            host.run("ip", "address", "add", ADDRESS.format(index + 1) + "/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
        self.agent = self.folder / "agent"
        # In ssh's place: a host's name, then words of a shell's command.
        self.agent.write_text("#!/bin/sh\nhost=$1\nshift\ncase $host in\n" + "".join(
            f"{host.name}) first={host.first} ;;\n" for host in self.hosts[1:]) +
            '*) echo "no host $host" >&2; exit 255 ;;\nesac\n'
            'exec nsenter -t $first --net --uts --mount --pid --wd="$PWD" -- sh -c "$*"\n', encoding="utf-8")
        self.agent.chmod(0o755)

    def cut(self):
        """Takes the link away, without a word to anybody on either host."""
        for host in self.hosts:
            host.run("ip", "link", "set", "eth0", "down")

    def close(self):
        for host in self.hosts:
            if host.outer.returncode is None:
                host.die()
        shutil.rmtree(self.folder, ignore_errors=True)
