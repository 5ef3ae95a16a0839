"""Where a store may lie: on a disk of this machine, since SQLite's locks and shared memory end there."""

import re
from pathlib import Path

_NETWORK = {
    "nfs": "NFS",
    "nfs4": "NFS",
    "cifs": "SMB",
    "smb3": "SMB",
    "smbfs": "SMB",
    "lustre": "Lustre",
    "ceph": "Ceph",
    "gpfs": "GPFS",
    "beegfs": "BeeGFS",
    "glusterfs": "GlusterFS",
    "afs": "AFS",
    "ocfs2": "OCFS2",
    "gfs2": "GFS2",
    "orangefs": "OrangeFS",
    "9p": "9P",
    "vboxsf": "VirtualBox shared folder",
    "prl_fs": "Parallels shared folder",
}
_LOCAL_FUSE = {"fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.portal", "fuse.lxcfs"}


def network_name(kind: str) -> str | None:
    """What to call the network file system `kind` (as in /proc/mounts); None where it is a local one."""
    if kind in _NETWORK:
        return _NETWORK[kind]
    if kind.startswith("fuse.") and kind not in _LOCAL_FUSE:
        return f"FUSE ({kind.removeprefix('fuse.')})"
    return None


def kind_of(path: Path, mountinfo: str) -> str:
    """The file system type of `path` by the text of /proc/self/mountinfo; "" where no mount holds it."""
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 5 or not kinds:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # ">=": a later line lies over an earlier one on the same place
        if len(mount.parts) >= best and path.is_relative_to(mount):
            best, found = len(mount.parts), kinds[0]
    return found


def network_of(path: Path) -> str | None:
    """The network file system that holds `path`, or None: a local one, or a system that cannot tell."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return None
    return network_name(kind_of(path.resolve(), mounts.read_text(errors="surrogateescape")))
