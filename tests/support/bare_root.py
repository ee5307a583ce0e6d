"""A root folder that holds the C library, a shell and a few tools only, and how to enter it."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

TOOLS = ("bash", "sh", "readlink", "dirname", "basename", "sed", "head", "sleep", "nproc", "env", "stty", "cat")
GLIBC = re.compile(r"(ld-linux-x86-64|lib(c|m|mvec|pthread|dl|rt|util|resolv|anl))\.so\.\d+|libnss_\w+\.so\.\d+")

# The mounts end with the namespace. $BARE_MOUNT, where set, is a folder of this machine that is seen at its own path.
ENTER = ('mount --rbind /proc "$0/proc" && mount --bind /dev/null "$0/dev/null" && '
         '{ [ -z "$BARE_MOUNT" ] || mount --rbind "$BARE_MOUNT" "$0$BARE_MOUNT"; } && cd / && root=$0 && '
         'exec chroot "$root" /bin/env -i PATH=/bin HOME=/ "$@"')
NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])


def make_root(root, program):
    """A root folder with the tools, the libraries they need, and of the program's the C library only."""
    for name in ("bin", "proc", "dev/shm", "tmp", "lib64", "work"):
        (root / name).mkdir(parents=True)
    (root / "dev/null").touch()
    needed = set()
    for tool in (*map(shutil.which, TOOLS), program):
        listed = subprocess.run(["ldd", tool], capture_output=True, text=True, check=True).stdout
        paths = set(re.findall(r"(/\S+) \(0x", listed))
        needed |= paths if tool != program else {path for path in paths if GLIBC.fullmatch(os.path.basename(path))}
        if tool != program:
            shutil.copy(tool, root / "bin")
    for path in needed:
        target = root / ("lib64" if "ld-linux" in path else "lib") / os.path.basename(path)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)


def command_in(namespace, root, folder, line):
    """A command that runs a line of shell in a folder of the root, with a bundle in /opt first on its path."""
    script = f"cd {pathlib.Path('/') / folder} && PATH=/opt/braid-bundle/bin:$PATH && exec {line}"
    return [*namespace, "sh", "-c", ENTER, str(root), "/bin/sh", "-c", script]


def find_namespace():
    """How this machine lets its present user change the root folder, or None."""
    for candidate in NAMESPACES:
        with tempfile.TemporaryDirectory() as folder:
            script = 'mount --rbind /proc "$0" && chroot / true'
            if subprocess.run([*candidate, "sh", "-c", script, folder], capture_output=True, timeout=60,
                              check=False).returncode == 0:
                return candidate
    return None
