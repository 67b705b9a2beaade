"""The volume's root: opened once, and checked before anything in it is believed."""

import errno
import os
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final, Self

from trainingjob_api.constants import (
    REASON_FOREIGN_VOLUME,
    REASON_PERMISSION_DENIED,
    REASON_VOLUME_LOCKED,
)
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.errors import DISK_FULL, to_volume_error
from trainingjob_operator.volume.forbidden_roots import check_directory, check_path
from trainingjob_operator.volume.layout import (
    LOST_AND_FOUND,
    SENTINEL,
    TRASH,
    directory_name,
    job_id_of,
)
from trainingjob_operator.volume.owner_files import (
    Sentinel,
    create_sentinel,
    new_sentinel,
    read_mark,
    read_sentinel,
    write_mark,
    write_sentinel,
)
from trainingjob_operator.volume.ownership import (
    MOST_ADOPTED,
    Mark,
    Owner,
    no_sentinel,
    not_ours,
    other_volume,
)
from trainingjob_operator.volume.safe_open import lock, open_directory, open_root


class Root:
    """An open root. Everything below it is reached from its descriptor.

    Attributes:
        path: for messages.
        fd: the root's descriptor.
        device: the only file system that is ever entered.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path: Final = path
        self.fd: Final = fd
        self.device: Final = os.fstat(fd).st_dev

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the root.

        Raises:
            VolumeError: it is not there, is a link, or is none that may be looked after.
        """
        plain = check_path(path)
        try:
            fd = open_root(plain)
        except OSError as error:
            raise to_volume_error(error, plain) from error
        try:
            check_directory(plain, fd)
            return cls(plain, fd)
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    # --- whose it is --------------------------------------------------------------------------

    def check(self, owner: Owner | None, expected_id: str | None) -> Sentinel:
        """Check that this is the volume that we look after.

        Args:
            owner: who we are. None: whoever the volume says.
            expected_id: the volume's id as the default policy remembers it, if it does.

        Raises:
            VolumeError: it is not; nothing may be removed.
        """
        with self._explained():
            sentinel = read_sentinel(at=self.fd, path=self.path)
        if sentinel is None:
            if expected_id is None:  # else what is there is another directory than the volume
                self._refuse_unwritable()
            raise no_sentinel(self.path)
        if expected_id is not None and sentinel.volume_id != expected_id:
            raise other_volume(self.path, sentinel.volume_id, expected_id)
        if owner is not None and not owner.covers(sentinel.owner):
            raise not_ours(self.path, sentinel.owner, owner)
        return sentinel

    def claim(
        self, owner: Owner, expected_id: str | None, *, known: Container[str] = ()
    ) -> Sentinel:
        """As `check`, but take an empty root that has no owner.

        Where the policy remembers a volume, an empty root is a volume that is not mounted.

        Args:
            owner: who we are.
            expected_id: as for `check`.
            known: uids of jobs that exist and are ours. A root is empty though it has their
                directories: a kubelet makes them for pods that start before the root can be taken.

        Raises:
            VolumeError: it is not ours and not empty, or does not let us write.
        """
        with self._explained(), self.locked():
            if expected_id is None and self.is_empty(known) and not self._has_sentinel():
                self._refuse_unwritable()
                self._take(owner)  # unless another operator was quicker, on another node
            sentinel = self.check(owner, expected_id)
            # Whoever serves more namespaces by now says so: a later, smaller operator must not
            # take the directories of the others for its own.
            owner = replace(owner, adopted=sentinel.owner.adopted)
            if owner != sentinel.owner:
                return self._rewrite(sentinel, owner)
            return sentinel

    def initialise(self, owner: Owner) -> Sentinel:
        """Take a root whatever is in it; one that has an owner stays its owner's.

        Raises:
            VolumeError: another one owns it.
        """
        with self._explained(), self.locked():
            if not self._has_sentinel():
                self._take(owner)
            return self.check(owner, None)

    def adopt(self, owner: Owner, earlier: str) -> Sentinel:
        """Take a volume over, because a person says that its earlier owner is gone for good.

        What that one has marked, directories of jobs included, counts as ours from now on.

        Args:
            owner: who we are.
            earlier: the earlier owner's identity; "": what names none.

        Raises:
            VolumeError: there is no sentinel, or it names a third owner.
        """
        with self._explained(), self.locked():
            sentinel = self.check(None, None)
            theirs = sentinel.owner
            if theirs.identity not in {earlier, owner.identity}:
                raise not_ours(self.path, theirs, owner)
            adopted = tuple(dict.fromkeys((*theirs.adopted, earlier)))
            if len(adopted) > MOST_ADOPTED:
                raise VolumeError(
                    f"{self.path} has had {MOST_ADOPTED} owners already; move what is to be kept "
                    "to a new volume",
                    reason=REASON_FOREIGN_VOLUME,
                )
            return self._write(Sentinel(sentinel.volume_id, replace(owner, adopted=adopted)))

    def _has_sentinel(self) -> bool:
        with suppress(FileNotFoundError):
            os.stat(SENTINEL, dir_fd=self.fd, follow_symlinks=False)
            return True
        return False

    def _take(self, owner: Owner) -> None:
        """Write a sentinel where there is none; if another one was quicker, theirs stays."""
        self._make_trash()
        with suppress(FileExistsError):
            create_sentinel(new_sentinel(owner), at=self.fd)

    def _write(self, sentinel: Sentinel) -> Sentinel:
        self._make_trash()
        write_sentinel(sentinel, at=self.fd)
        return sentinel

    def _make_trash(self) -> None:
        # Before the sentinel: later, on a full volume, there may be no room for it.
        with suppress(FileExistsError):
            os.mkdir(TRASH, 0o700, dir_fd=self.fd)

    def _rewrite(self, sentinel: Sentinel, owner: Owner) -> Sentinel:
        """Say who looks after it now; a full volume is swept first, and says so another time."""
        try:
            return self._write(Sentinel(sentinel.volume_id, owner))
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return sentinel

    def is_empty(self, known: Container[str] = ()) -> bool:
        """True if nothing is in it but what a new file system or a half-done claim leaves.

        Args:
            known: uids of jobs whose directories count as nothing.
        """
        with os.scandir(self.fd) as entries:
            return all(
                entry.name in {LOST_AND_FOUND, TRASH}
                or entry.name.startswith(SENTINEL)
                or _is_directory_of(known, entry)
                for entry in entries
            )

    def _refuse_unwritable(self) -> None:
        """Refuse a root that cannot be written, before any other check.

        A new file system belongs to root, and only to root.

        Raises:
            VolumeError: we cannot make files there.
        """
        try:
            self.check_writable()
        except PermissionError as error:
            found = os.fstat(self.fd)
            raise VolumeError(
                f"{self.path} cannot be written: it belongs to user {found.st_uid}, group "
                f"{found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}, and the operator is user "
                f"{os.geteuid()}, group {os.getegid()}: is the volume mounted there? If so, let the kubelet give it to the operator's "
                "group (`logVolume.fsGroup` in the chart), or, where the volume has no groups of "
                "its own (NFS, hostPath), give it away on the server, or set "
                "`logVolume.asRoot=true`; it is tried again within a minute",
                reason=REASON_PERMISSION_DENIED,
            ) from error
        except OSError as error:
            raise to_volume_error(error, self.path) from error

    # --- the jobs' directories ----------------------------------------------------------------

    def open_job_directory(self, uid: str) -> int:
        """Return a descriptor of `job_<uid>/`; the caller closes it.

        Raises:
            OSError: it is not there, or no directory of this volume.
            EntryChangedError: it was swapped just now.
        """
        return open_directory(directory_name(uid), at=self.fd, device=self.device)[0]

    def make_job_directory(self, mark: Mark, *, mode: int) -> int:
        """Make `job_<uid>/` with its mark, if it is not there; the caller closes the descriptor.

        Args:
            mark: whose it is.
            mode: of a new directory, whatever the umask is.

        Raises:
            OSError: the volume does not take it, or something else has that name.
        """
        name = directory_name(mark.uid)
        made = False
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self.fd)
            made = True
        fd = self.open_job_directory(mark.uid)
        try:
            if made or read_mark(at=fd) is None:
                write_mark(mark, at=fd)
            if made:  # last: from now on others may write there, the mark's name included
                os.fchmod(fd, mode)
        except BaseException:
            os.close(fd)
            raise
        return fd

    # --- time, room, and the others -----------------------------------------------------------

    def touch(self) -> int:
        """Return the volume's own time in nanoseconds: the sentinel is touched, which takes no room.

        Raises:
            VolumeError: the volume takes no writes.
        """
        with self._explained():
            fd = os.open(SENTINEL, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                os.utime(fd)
                return os.fstat(fd).st_mtime_ns
            finally:
                os.close(fd)

    def check_writable(self) -> None:
        """Refuse a root in which we have no right to make files.

        Raises:
            OSError: EROFS: the file system is mounted for reading; EACCES: the root's permissions
                keep us from writing; or what the volume says.
        """
        if os.fstatvfs(self.fd).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.path)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from sweeping at the same time.

        By a lock on the root itself; NFS locks only what is open for writing, so there on the
        sentinel. Where nothing can be locked there is no lock: whatever has vanished is fine.

        Raises:
            VolumeError: another process sweeps it.
        """
        try:
            held = self._lock()
        except BlockingIOError as error:
            raise VolumeError(
                f"another process sweeps {self.path} at the moment", reason=REASON_VOLUME_LOCKED
            ) from error
        try:
            yield
        finally:
            if held is not None:
                os.close(held)

    def _lock(self) -> int | None:
        for name, flags in ((".", os.O_RDONLY | os.O_DIRECTORY), (SENTINEL, os.O_RDWR)):
            # A new open file each time: a lock belongs to it, and so two threads exclude each other.
            try:
                fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
            except FileNotFoundError:
                return None
            try:
                if lock(fd):
                    return fd
            except OSError:
                os.close(fd)
                raise
            os.close(fd)
        return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise to_volume_error(error, self.path) from error


def _is_directory_of(known: Container[str], entry: "os.DirEntry[str]") -> bool:
    """True if it is the own directory of one of these jobs."""
    uid = job_id_of(entry.name)
    if uid is None or uid not in known or entry.name != directory_name(uid):
        return False
    return entry.is_dir(follow_symlinks=False)
