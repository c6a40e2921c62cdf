"""The spool: bounds, order, files that are not what they should be, and disks that do not take them."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_distro.guard import Guard
from otel_distro.otlp.directory import Corrupt, Directory, Stored
from otel_distro.otlp.later import Later
from otel_distro.otlp.spool import Spool

TARGET = "traces-0123456789abcdef"


class Kept:
    """A spool whose lines are kept."""

    def __init__(self, root: Path | None, *, memory: int = 10_000, disk: int = 100_000, target: str = TARGET) -> None:
        self.lines: list[str] = []
        self.later = Later(Guard(output=lambda level, text: self.lines.append(text)))
        self.directory = Directory(str(root), target) if root is not None else None
        self.spool = Spool(memory_limit=memory, directory=self.directory, directory_limit=disk, later=self.later)

    def all(self) -> list[bytes]:
        """Everything that waits, one by one, in order."""
        bodies = []
        while len(self.spool):
            items, body = self.spool.take(0)
            if items:
                bodies.append(body)
            self.spool.done()
        self.later.say()
        return bodies


def noise(number: int, size: int = 1_000) -> bytes:
    """Bytes that do not pack, beginning with a number."""
    return number.to_bytes(4, "big") + os.urandom(size - 4)


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.otlp"), key=lambda path: path.name)


def test_what_is_adopted_does_not_take_the_place_of_what_is_being_sent(tmp_path: Path) -> None:
    """A request under way settles its own batches, also where a dead process's came in front meanwhile."""
    old = Kept(tmp_path)
    old.spool.put(b"old", 5, away=True)
    old.spool.close(lambda: 1.0)
    kept = Kept(tmp_path)
    kept.spool.put(b"under way", 2, away=False)
    kept.spool.put(b"next", 1, away=False)
    assert kept.spool.take(2) == (2, b"under way")
    assert kept.spool.adopt() == 5
    kept.spool.done()
    assert kept.all() == [b"old", b"next"]


def test_batches_come_out_as_they_went_in() -> None:
    """In memory, batches are taken in order, joined up to the limit of items, and gone once they are done."""
    kept = Kept(None)
    for number in range(5):
        kept.spool.put(bytes([number]), 2, away=False)
    assert kept.spool.take(5) == (4, b"\x00\x01")
    kept.spool.done()
    assert kept.spool.take(1) == (2, b"\x02")
    kept.spool.failed()
    assert kept.all() == [b"\x02", b"\x03", b"\x04"]
    assert (kept.spool.items, kept.spool.memory) == (0, 0)


def test_a_full_memory_drops_the_oldest_but_never_what_is_being_sent() -> None:
    """Over the limit the oldest waiting batches go and are counted; the request under way stays."""
    kept = Kept(None, memory=3_000)
    kept.spool.put(noise(0), 1, away=False)
    kept.spool.take(0)
    for number in range(1, 10):
        kept.spool.put(noise(number), 1, away=False)
    assert kept.spool.memory <= 3_000
    assert kept.spool.dropped == {"spool full": 7}
    assert [int.from_bytes(body[:4], "big") for body in kept.all()] == [0, 8, 9]


def test_one_batch_is_kept_however_small_the_spool() -> None:
    """A spool of no size still holds the newest batch, so that it can be sent at all."""
    kept = Kept(None, memory=0)
    kept.spool.put(b"a", 1, away=False)
    kept.spool.put(b"b", 1, away=False)
    assert kept.all() == [b"b"]
    assert kept.spool.dropped == {"spool full": 1}


def test_a_failure_moves_everything_to_the_directory(tmp_path: Path) -> None:
    """When a send has failed, all that waits goes to files, in order, and so does what comes while it is away."""
    kept = Kept(tmp_path / "spool")
    kept.spool.put(b"first", 1, away=False)
    kept.spool.put(b"second", 1, away=False)
    assert files(tmp_path) == []
    kept.spool.take(0)
    kept.spool.failed()
    kept.spool.put(b"third", 1, away=True)
    assert len(files(tmp_path)) == 3
    assert kept.spool.memory == 0
    assert kept.all() == [b"first", b"second", b"third"]
    assert files(tmp_path) == []


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        kept = Kept(tmp_path / "spool")
        kept.spool.put(b"x", 1, away=True)
    finally:
        os.umask(before)
    for path in (tmp_path / "spool").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_what_a_dead_process_left_is_sent_first(tmp_path: Path) -> None:
    """Files whose owner is gone are adopted, oldest first, before our own; a living owner's are left alone."""
    dead, living = Kept(tmp_path), Kept(tmp_path)
    for number in range(3):
        dead.spool.put(noise(number), 1, away=True)
    living.spool.put(b"mine", 1, away=True)
    assert dead.directory is not None
    dead.directory.close()
    new = Kept(tmp_path)
    new.spool.put(b"new", 1, away=False)
    assert new.spool.adopt() == 3
    assert new.spool.adopt() == 0
    bodies = new.all()
    assert [int.from_bytes(body[:4], "big") for body in bodies[:3]] == [0, 1, 2]
    assert bodies[3:] == [b"new"]
    new.spool.adopt()
    assert len(files(tmp_path)) == 1
    assert living.all() == [b"mine"]


def test_two_heirs_do_not_share(tmp_path: Path) -> None:
    """Of two processes that adopt at the same time only one gets a dead process's files."""
    dead = Kept(tmp_path)
    dead.spool.put(b"x", 4, away=True)
    assert dead.directory is not None
    dead.directory.close()
    first, second = Kept(tmp_path), Kept(tmp_path)
    assert sorted([first.spool.adopt(), second.spool.adopt()]) == [0, 4]


def test_the_end_keeps_what_waits_and_leaves_no_litter(tmp_path: Path) -> None:
    """Closing puts memory into files for the next process; an empty spool leaves no directory behind."""
    kept = Kept(tmp_path)
    kept.spool.put(b"x", 3, away=False)
    assert kept.spool.close(lambda: 1.0) == (3, 0)
    assert len(files(tmp_path)) == 1
    heir = Kept(tmp_path)
    assert heir.spool.adopt() == 3
    assert heir.all() == [b"x"]
    heir.spool.close(lambda: 1.0)
    assert [path for path in tmp_path.rglob("*") if path.name != TARGET] == []


def test_the_end_without_time_counts_what_it_loses(tmp_path: Path) -> None:
    """When there is no time left to write, what waits in memory is counted as not sent."""
    kept = Kept(tmp_path)
    kept.spool.put(b"x", 3, away=False)
    assert kept.spool.close(lambda: 0.0) == (0, 3)
    assert kept.spool.dropped == {"not sent before the end": 3}


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[:-5])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        path.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    elif how == "foreign":
        path.write_bytes(b"something else entirely, written by an editor")
    else:
        path.unlink()
        if how == "directory":
            path.mkdir()
        elif how == "fifo":
            os.mkfifo(path)
        elif how == "link":
            secret = path.parent / "secret"
            secret.write_bytes(data)
            path.symlink_to(secret)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "foreign", "gone", "directory", "fifo", "link"])
def test_a_damaged_file_costs_only_itself(tmp_path: Path, how: str) -> None:
    """A file that is cut, changed, gone, or no file at all is skipped, named once and counted; the others are sent."""
    kept = Kept(tmp_path)
    for number in range(4):
        kept.spool.put(bytes([number]) * 50, 5, away=True)
    for path in files(tmp_path)[1:3]:
        damage(path, how)
    assert [body[0] for body in kept.all()] == [0, 3]
    assert kept.spool.dropped == {"file unreadable": 10}
    assert len(kept.lines) == 1
    assert ".otlp" in kept.lines[0]


def test_foreign_files_are_left_alone_and_named_once(tmp_path: Path) -> None:
    """A file of somebody else's in an adopted directory stays where it is; half-written ones of ours are removed."""
    dead = Kept(tmp_path)
    dead.spool.put(b"x", 1, away=True)
    home = files(tmp_path)[0].parent
    (home / "notes.txt").write_text("mine")
    (home / (files(tmp_path)[0].name + ".new")).write_bytes(b"half")
    assert dead.directory is not None
    dead.directory.close()
    heir = Kept(tmp_path)
    assert heir.spool.adopt() == 1
    heir.spool.adopt()
    heir.later.say()
    assert (home / "notes.txt").read_text() == "mine"
    assert not list(home.glob("*.new"))
    assert len(heir.lines) == 1
    assert "notes.txt" in heir.lines[0]


def test_the_directory_is_bounded_over_all_processes(tmp_path: Path) -> None:
    """The bytes of all processes together keep the limit: each drops its own oldest, and counts them."""
    first, second = Kept(tmp_path, disk=50_000), Kept(tmp_path, disk=50_000)
    for number in range(30):
        first.spool.put(noise(number), 1, away=True)
    for number in range(100):
        second.spool.put(noise(number), 1, away=True)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 50_000
    assert len(second.spool) + second.spool.dropped["spool full"] == 100
    assert int.from_bytes(second.all()[-1][:4], "big") == 99


def test_what_is_left_for_another_target_takes_no_room(tmp_path: Path) -> None:
    """The limit is one signal's at one endpoint: what waits for one that nobody uses any more costs no room."""
    left = Kept(tmp_path, disk=50_000, target="traces-of-yesterday")
    for number in range(40):
        left.spool.put(noise(number), 1, away=True)
    left.spool.close(lambda: 1.0)
    kept = Kept(tmp_path, disk=50_000)
    for number in range(40):
        kept.spool.put(noise(number), 1, away=True)
    assert (len(kept.spool), kept.spool.dropped["spool full"]) == (40, 0)


def test_files_of_another_user_take_no_room(tmp_path: Path) -> None:
    """A root that users share: a huge file that one of them plants makes the others drop nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can make somebody else's directory")
    planted = tmp_path / TARGET / "process"
    planted.parent.mkdir(mode=0o700)
    planted.mkdir()
    (planted / "huge.otlp").touch()
    os.truncate(planted / "huge.otlp", 1 << 40)
    os.chown(planted, 65534, 65534)
    kept = Kept(tmp_path, disk=50_000)
    for number in range(5):
        kept.spool.put(noise(number), 1, away=True)
    assert len(kept.spool) == 5


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Files that are written grow no further than this, as on a full disk (EFBIG instead of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """No further file can be opened, as by an application that leaks descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_without_a_free_descriptor_leaves_no_empty_directory(tmp_path: Path) -> None:
    """A directory of its own that cannot be locked is taken away again: without a lock nobody else ever would."""
    other, directory = Directory(str(tmp_path), TARGET), Directory(str(tmp_path), TARGET)
    other.write(b"x", 1, 1, 1)
    assert directory.adopt() == ([], [])
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        directory.write(b"x", 1, 1, 2)
    assert len([*(tmp_path / TARGET).iterdir()]) == 1


def test_a_full_disk_leaves_everything_in_memory_with_one_line(tmp_path: Path) -> None:
    """When files cannot be written, batches wait in bounded memory, nothing half-written stays; one line."""
    kept = Kept(tmp_path, memory=5_000)
    kept.spool.put(b"small", 1, away=True)
    with files_of_at_most(100):
        for number in range(20):
            kept.spool.put(noise(number), 1, away=True)
    kept.later.say()
    assert kept.spool.memory <= 5_000
    assert not list(tmp_path.rglob("*.new"))
    assert len(kept.lines) == 1
    assert "File too large" in kept.lines[0]
    bodies = kept.all()
    assert bodies[0] == b"small"
    assert [int.from_bytes(body[:4], "big") for body in bodies[1:]] == [15, 16, 17, 18, 19]
    assert kept.spool.dropped == {"spool full": 15}


@pytest.mark.parametrize("obstacle", ["a file", "somebody's", "for others", "a link", "a linked target"])
def test_a_directory_that_is_not_safe_is_not_used(tmp_path: Path, obstacle: str) -> None:
    """A path that is a file, a target that is a link or writable for others: memory, one line, and nothing written."""
    root, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if obstacle == "a file":
        root.write_text("x")
    else:
        root.mkdir(mode=0o700)
        target = root / TARGET
        if obstacle == "for others":
            target.mkdir()
            target.chmod(0o777)
        elif obstacle == "somebody's":
            if os.geteuid() != 0:
                pytest.skip("only root can make somebody else's directory")
            target.mkdir(mode=0o700)
            os.chown(target, 65534, 65534)
        else:
            target.symlink_to(elsewhere)
    kept = Kept(root)
    kept.spool.adopt()
    kept.spool.put(b"x", 1, away=True)
    kept.later.say()
    assert kept.spool.memory == 1
    assert len(kept.lines) == 1
    assert str(root) in kept.lines[0] or TARGET in kept.lines[0], "which directory"
    assert "OTEL_DISTRO_SPOOL_DIR" in kept.lines[0]
    assert list(elsewhere.iterdir()) == []


def test_a_file_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """A link planted under the name of the next temporary file is not written through."""
    directory = Directory(str(tmp_path), TARGET)
    first = directory.write(b"x", 1, 1, 1)
    home = next(tmp_path.rglob(first.name)).parent
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (home / f"{2:020d}-{2:09d}-1.otlp.new").symlink_to(victim)
    with pytest.raises(FileExistsError):
        directory.write(b"y", 1, 2, 2)
    assert victim.read_text() == "precious"
    directory.close()


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A file that would unpack to more than any batch is refused without filling the memory."""
    import struct
    import zlib

    directory = Directory(str(tmp_path), TARGET)
    stored: Stored = directory.write(b"x", 1, 1, 1)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(129)) + packer.flush()
    path = next(tmp_path.rglob(stored.name))
    path.write_bytes(struct.pack("<8sII", b"ODSPOOL1", zlib.crc32(packed), len(packed)) + packed)
    with pytest.raises(Corrupt, match="too large"):
        directory.read(stored)
    directory.close()


def test_a_child_owns_nothing_of_its_parents(tmp_path: Path) -> None:
    """A forked child's spool is empty; it inherits no lock, and may adopt only once the parent has let go."""
    kept = Kept(tmp_path)
    kept.spool.put(b"parent", 1, away=True)
    looked, let_go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            kept.spool.after_fork()
            empty = len(kept.spool) == 0
            adopted = kept.spool.adopt()
            os.write(looked[1], b"1")
            os.read(let_go[0], 1)
            code = 0 if empty and adopted == 0 and kept.spool.adopt() == 1 else 2
        os._exit(code)
    os.read(looked[0], 1)
    assert kept.spool.close(lambda: 1.0) == (1, 0)
    os.write(let_go[1], b"1")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for descriptor in (*looked, *let_go):
        os.close(descriptor)
