"""Opens the volume's root, checks its owner, and claims, adopts and locks it."""

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
    MAX_ADOPTED,
    Mark,
    Owner,
    foreign_volume_error,
    missing_sentinel_error,
    wrong_volume_error,
)
from trainingjob_operator.volume.safe_open import lock, open_directory, open_root


class Root:
    """An open root. All access to the volume starts from its descriptor.

    Attributes:
        path: the path, for messages.
        fd: the root's descriptor.
        device: the device number; no other file system is ever entered.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path: Final = path
        self.fd: Final = fd
        self.device: Final = os.fstat(fd).st_dev

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the root.

        Raises:
            VolumeError: it does not exist, is a link, or is a forbidden directory.
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

    # --- the owner ----------------------------------------------------------------------------

    def check(self, owner: Owner | None, expected_id: str | None) -> Sentinel:
        """Check that the volume belongs to us, and is the expected one.

        Args:
            owner: this install. None: accept any owner.
            expected_id: the id in the default policy's `status.volumeId`, if there is one.

        Raises:
            VolumeError: it is another volume, or another owner's; nothing may be removed.
        """
        with self._explained():
            sentinel = read_sentinel(at=self.fd, path=self.path)
        if sentinel is None:
            if expected_id is None:  # else this is another directory: the volume is not mounted
                self._refuse_unwritable()
            raise missing_sentinel_error(self.path)
        if expected_id is not None and sentinel.volume_id != expected_id:
            raise wrong_volume_error(self.path, sentinel.volume_id, expected_id)
        if owner is not None and not owner.covers(sentinel.owner):
            raise foreign_volume_error(self.path, sentinel.owner, owner)
        return sentinel

    def claim(
        self, owner: Owner, expected_id: str | None, *, known: Container[str] = ()
    ) -> Sentinel:
        """Check the volume as `check` does, but first claim an empty root that has no owner.

        If the policy's status has a volume id, an empty root means that the volume is not mounted.

        Args:
            owner: this install.
            expected_id: as for `check`.
            known: uids of existing jobs of ours. A root with only their directories counts as
                empty: the kubelet creates them for pods that start before the root is claimed.

        Raises:
            VolumeError: it is neither ours nor empty, or is not writable.
        """
        with self._explained(), self.locked():
            if expected_id is None and self.is_empty(known) and not self._has_sentinel():
                self._refuse_unwritable()
                # This has no effect if an operator on another node was faster.
                self._create_sentinel(owner)
            sentinel = self.check(owner, expected_id)
            # If we serve more namespaces now, the sentinel must list them: a later operator that
            # serves fewer must not treat the directories of the others as its own.
            owner = replace(owner, adopted=sentinel.owner.adopted)
            if owner != sentinel.owner:
                return self._rewrite(sentinel, owner)
            return sentinel

    def initialise(self, owner: Owner) -> Sentinel:
        """Claim a root without an owner, even if it is not empty.

        Raises:
            VolumeError: another install owns it.
        """
        with self._explained(), self.locked():
            if not self._has_sentinel():
                self._create_sentinel(owner)
            return self.check(owner, None)

    def adopt(self, owner: Owner, earlier: str) -> Sentinel:
        """Take over a volume whose earlier owner was removed permanently, as somebody confirmed.

        From now on marks of the earlier owner, in jobs' directories as well, count as ours.

        Args:
            owner: this install.
            earlier: the earlier owner's identity; "": an owner without an identity.

        Raises:
            VolumeError: there is no sentinel, or it names a third owner.
        """
        with self._explained(), self.locked():
            sentinel = self.check(None, None)
            theirs = sentinel.owner
            if theirs.identity not in {earlier, owner.identity}:
                raise foreign_volume_error(self.path, theirs, owner)
            adopted = tuple(dict.fromkeys((*theirs.adopted, earlier)))
            if len(adopted) > MAX_ADOPTED:
                raise VolumeError(
                    f"{self.path} has already been adopted from {MAX_ADOPTED} owners, which is "
                    "the maximum; move the files to keep to a new volume",
                    reason=REASON_FOREIGN_VOLUME,
                )
            return self._write(Sentinel(sentinel.volume_id, replace(owner, adopted=adopted)))

    def _has_sentinel(self) -> bool:
        with suppress(FileNotFoundError):
            os.stat(SENTINEL, dir_fd=self.fd, follow_symlinks=False)
            return True
        return False

    def _create_sentinel(self, owner: Owner) -> None:
        """Write a sentinel if there is none; if another operator was faster, keep its sentinel."""
        self._make_trash()
        with suppress(FileExistsError):
            create_sentinel(new_sentinel(owner), at=self.fd)

    def _write(self, sentinel: Sentinel) -> Sentinel:
        self._make_trash()
        write_sentinel(sentinel, at=self.fd)
        return sentinel

    def _make_trash(self) -> None:
        # Created before the sentinel: on a full volume there may be no space for it later.
        with suppress(FileExistsError):
            os.mkdir(TRASH, 0o700, dir_fd=self.fd)

    def _rewrite(self, sentinel: Sentinel, owner: Owner) -> Sentinel:
        """Update the owner in the sentinel; not on a full volume, until a sweep freed space."""
        try:
            return self._write(Sentinel(sentinel.volume_id, owner))
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return sentinel

    def is_empty(self, known: Container[str] = ()) -> bool:
        """True if it has only what a new file system or an interrupted claim leaves in it.

        Args:
            known: uids of jobs whose directories are ignored.
        """
        with os.scandir(self.fd) as entries:
            return all(
                entry.name in {LOST_AND_FOUND, TRASH}
                or entry.name.startswith(SENTINEL)
                or _is_directory_of(known, entry)
                for entry in entries
            )

    def _refuse_unwritable(self) -> None:
        """Refuse a root that is not writable, before any other check.

        A new file system belongs to the user root, and only root may write to it.

        Raises:
            VolumeError: we cannot create files there.
        """
        try:
            self.check_writable()
        except PermissionError as error:
            found = os.fstat(self.fd)
            raise VolumeError(
                f"{self.path} cannot be written: it belongs to user {found.st_uid}, group "
                f"{found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}, and the operator is user "
                f"{os.geteuid()}, group {os.getegid()}: is the volume mounted there? If so, let "
                "the kubelet set the operator's group on it (`logVolume.fsGroup` in the chart), "
                "or, for volumes without fsGroup support (NFS, hostPath), change the owner on the "
                "server, or set `logVolume.asRoot=true`; the operator retries within a minute",
                reason=REASON_PERMISSION_DENIED,
            ) from error
        except OSError as error:
            raise to_volume_error(error, self.path) from error

    # --- the jobs' directories ----------------------------------------------------------------

    def open_job_directory(self, uid: str) -> int:
        """Return a descriptor of `job_<uid>/`; the caller closes it.

        Raises:
            OSError: it does not exist, or is not a directory of this volume.
            EntryChangedError: it was replaced just now.
        """
        return open_directory(directory_name(uid), at=self.fd, device=self.device)[0]

    def make_job_directory(self, mark: Mark, *, mode: int) -> int:
        """Create `job_<uid>/` with its mark, if missing; the caller closes the descriptor.

        Args:
            mark: the owner of the directory.
            mode: the mode of a new directory, regardless of the umask.

        Raises:
            OSError: it cannot be created, or the name is used by something else.
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
            if made:  # last: from now on the job may write there, and may replace the mark
                os.fchmod(fd, mode)
        except BaseException:
            os.close(fd)
            raise
        return fd

    # --- time, access and locking -------------------------------------------------------------

    def touch(self) -> int:
        """Return the volume's own time in nanoseconds, by touching the sentinel.

        This needs no free space.

        Raises:
            VolumeError: the volume is not writable.
        """
        with self._explained():
            fd = os.open(SENTINEL, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                os.utime(fd)
                return os.fstat(fd).st_mtime_ns
            finally:
                os.close(fd)

    def check_writable(self) -> None:
        """Refuse a root in which we may not create files.

        Raises:
            OSError: EROFS: the file system is mounted read-only; EACCES: the root's permissions
                do not allow it; or any other error of the volume.
        """
        if os.fstatvfs(self.fd).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.path)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a lock that keeps other processes from sweeping at the same time.

        The lock is on the root itself, or on NFS, which locks only files open for writing, on the
        sentinel. Without lock support there is none: a sweep tolerates entries that vanish.

        Raises:
            VolumeError: another process holds the lock.
        """
        try:
            held = self._lock()
        except BlockingIOError as error:
            raise VolumeError(
                f"another process is sweeping {self.path}", reason=REASON_VOLUME_LOCKED
            ) from error
        try:
            yield
        finally:
            if held is not None:
                os.close(held)

    def _lock(self) -> int | None:
        for name, flags in ((".", os.O_RDONLY | os.O_DIRECTORY), (SENTINEL, os.O_RDWR)):
            # Open the file anew each time: the lock belongs to the open file, so that two threads
            # exclude each other as well.
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
    """True if the entry is the directory of one of these jobs."""
    uid = job_id_of(entry.name)
    if uid is None or uid not in known or entry.name != directory_name(uid):
        return False
    return entry.is_dir(follow_symlinks=False)
