"""Files are written whole or not at all."""

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

from bimix_jax.files import atomic_path, check_readable, write_atomically


def test_text_and_bytes_are_written(tmp_path):
    write_atomically(tmp_path / "a.txt", "ä\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    write_atomically(str(tmp_path / "a.txt"), b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == b"\x00\xff"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with atomic_path(path) as beside:
            beside.write_text("ne")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_path_beside_is_in_the_same_folder_and_keeps_the_extension(tmp_path):
    with atomic_path(tmp_path / "plot.png") as beside:
        assert beside.parent == tmp_path
        assert beside.suffix == ".png"
        assert beside.name != "plot.png"


def test_permissions_are_those_of_a_file_opened_for_writing(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.txt", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_missing_folder_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder .*gone does not exist.*create it first"):
        write_atomically(tmp_path / "gone" / "a.txt", "x")


def test_a_folder_in_the_way_stays_and_nothing_beside_it(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"):
        write_atomically(tmp_path / "a.txt", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    write_atomically(path, "new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (mode, "new")


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path, exists):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "fit.json", tmp_path / "latest.json"
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path / "real") == ["fit.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_refuses_is_said_with_the_path(tmp_path, number):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with atomic_path(path) as beside:
            beside.write_text("ne")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=r"a\.txt cannot be written: ") as caught:
        write()
    assert os.strerror(number) in str(caught.value)
    assert ".partial" not in str(caught.value)
    assert (path.read_text(), names(tmp_path)) == ("old", ["a.txt"])


def test_an_error_about_another_file_keeps_its_words(tmp_path):
    def read_another():
        with atomic_path(tmp_path / "a.txt"):
            (tmp_path / "other.csv").read_bytes()

    with pytest.raises(FileNotFoundError, match=r"other\.csv"):
        read_another()
    assert names(tmp_path) == []


HANG = """
import sys, time
from bimix_jax.files import atomic_path
with atomic_path(sys.argv[1]) as beside:
    beside.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def hanging(path):
    """A process that has begun to write, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path):
    path = tmp_path / "a.json"
    killed, alive = hanging(path), hanging(path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(names(tmp_path)) == 2
        write_atomically(path, "whole")
        left = names(tmp_path)
        assert path.read_text() == "whole"
        assert len(left) == 2
        assert all(name.startswith(".") for name in left if name != "a.json")
    finally:
        alive.kill()
        alive.wait()
        for process in (killed, alive):
            process.stdout.close()


@pytest.mark.parametrize("removed", [True, False], ids=["removed", "about to be removed"])
def test_a_new_file_that_another_process_takes_for_a_leftover_is_begun_again(
    tmp_path, monkeypatch, removed
):
    fcntl = pytest.importorskip("fcntl")
    begun, held, make = [], [], tempfile.mkstemp

    def raced(**given):
        """Make a file; another process locks the first one before its maker does."""
        handle, name = make(**given)
        begun.append(name)
        if len(begun) == 1:
            held.append(os.open(name, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)
            if removed:
                os.unlink(name)
                os.close(held.pop())
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", raced)
    with atomic_path(tmp_path / "a.txt") as beside:
        assert [str(beside)] == begun[1:]
        for other in held:  # the other process goes on
            os.unlink(begun[0])
            os.close(other)
        write_atomically(tmp_path / "a.txt", "of another")
        assert beside.exists()
        beside.write_text("whole")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_pipe_is_neither_replaced_nor_waited_for(tmp_path):
    pipe = tmp_path / "out.json"
    os.mkfifo(pipe)

    with pytest.raises(OSError, match=r"out\.json is a named pipe"):
        write_atomically(pipe, "x")
    with pytest.raises(OSError, match=r"out\.json is a named pipe.*a fit"):
        check_readable(pipe, "a fit")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_not_replaced():
    with pytest.raises(OSError, match="/dev/null is a device; name a file"):
        write_atomically("/dev/null", "x")


def test_a_file_where_a_folder_is_expected_is_named(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OSError, match=r"out is a file, so a\.txt cannot be written in it"):
        write_atomically(tmp_path / "out" / "a.txt", "x")


@pytest.mark.parametrize("bad", ["", "gone.csv", "a\0b"])
def test_what_cannot_be_read_is_named(tmp_path, bad):
    path = str(tmp_path) if not bad else f"{tmp_path}/{bad}"
    with pytest.raises(OSError, match=r"expected .*a table of runs"):
        check_readable(path, "a table of runs")
