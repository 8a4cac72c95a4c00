"""Kept programs: taken where they are right, compiled anew where they are not, never an error."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from jax._src import compilation_cache

import bimix_jax as bx
from bimix_jax.batching import _compiled
from bimix_jax.xla import cache
from tests.batching.tables import table_of_sweeps

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
    "jax_persistent_cache_enable_xla_caches",
)
X = np.arange(5.0, dtype=np.float32)
events = []
jax.monitoring.register_event_listener(lambda name, **more: events.append(name))


@pytest.fixture(autouse=True)
def plain_jax(monkeypatch):
    """JAX as a user has it, without the folder of the tests; all is put back at the end."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "programs"


def in_new_process(folder):
    """As a new process sees it: JAX has no directory, and knows no compiled programs."""
    jax.config.update("jax_compilation_cache_dir", None)
    jax.clear_caches()
    return bx.use_compilation_cache(folder)


def hits(factor=3.0):
    """How many programs were taken, and how many were compiled, for a result that is right."""
    events.clear()
    assert jax.jit(lambda x: factor * x + 1)(X).tolist() == (factor * X + 1).tolist()
    kinds = ("cache_hits", "cache_misses")
    return tuple(sum(name.endswith(kind) for name in events) for kind in kinds)


def programs(place):
    return sorted(path for path in place.iterdir())


def test_a_second_process_takes_what_the_first_compiled(folder):
    in_new_process(folder)
    assert hits() == (0, 1)
    place = in_new_process(folder)
    assert place.parent == folder
    assert hits() == (1, 0)
    assert hits(4.0) == (0, 1)
    assert [path.stat().st_mode & 0o777 for path in (folder, place)] == [0o700, 0o700]


def test_fits_of_like_size_share_a_kept_program(folder, embedded):
    place = in_new_process(folder)
    bx.fit(embedded, bx.BiMix(), targets=["c"])
    kept = programs(place)
    in_new_process(folder)
    events.clear()
    bx.fit(embedded.without_runs(list(embedded.runs)[:1]), bx.BiMix(), targets=["python"])
    assert sum(name.endswith("cache_misses") for name in events) == 0
    assert programs(place) == kept


DAMAGE = {
    "empty": lambda content: b"",
    "shorter than its checksum": lambda content: content[:10],
    "cut off": lambda content: content[: len(content) // 2],
    "a bit turned": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "a checksum turned": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "longer": lambda content: content + b"\0",
    "other text": lambda content: b"<html>a captive portal</html>" * 99,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_program_is_compiled_anew_and_replaced(folder, damage):
    place = in_new_process(folder)
    hits()
    (path,) = programs(place)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    in_new_process(folder)
    assert hits() == (0, 1)
    in_new_process(folder)
    assert hits() == (1, 0)


def test_a_program_under_the_name_of_another_is_not_taken(folder):
    place = in_new_process(folder)
    hits(3.0)
    (first,) = programs(place)
    hits(4.0)
    (second,) = set(programs(place)) - {first}
    shutil.copy(first, second)
    in_new_process(folder)
    assert hits(4.0) == (0, 1)


OTHERS = {
    "version of the package": (cache, "__version__", "0.0.1"),
    "version of JAX": (cache.jax, "__version__", "0.0.1"),
    "version of jaxlib": (cache.jaxlib, "__version__", "0.0.1"),
    "architecture": (cache.platform, "machine", lambda: "vax"),
    "system": (cache.platform, "system", lambda: "VMS"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_no_program_is_taken_across_versions_or_machines(folder, monkeypatch, other):
    ours = in_new_process(folder)
    hits()
    monkeypatch.setattr(*other)
    theirs = in_new_process(folder)
    assert theirs != ours
    # Not even one that somebody copies from one folder to the other.
    shutil.copytree(ours, theirs, dirs_exist_ok=True)
    assert hits() == (0, 1)


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("model : 17\nflags : fpu avx2 avx512f\n", True),
        ("model : 17\nflags : fpu avx2\n", False),
        ("model : 17\nflags : fpu avx2\ncpu MHz : 2600.1\n", False),
        ("model : 18\nflags : fpu avx2\n", True),
        ("Features : fp asimd sve\nCPU part : 0xd40\n", True),
    ],
)
def test_features_of_the_processor_tell_machines_apart_and_its_clock_does_not(
    tmp_path, folder, monkeypatch, text, differs
):
    described = tmp_path / "cpuinfo"
    monkeypatch.setattr(cache, "PROCESSORS", described)
    described.write_text("model : 17\nflags : fpu avx2\ncpu MHz : 1200.0\n")
    before = in_new_process(folder)
    described.write_text(text)
    assert (in_new_process(folder) != before) == differs


def test_where_the_processor_is_not_described_every_machine_is_its_own(folder, monkeypatch):
    monkeypatch.setattr(cache, "PROCESSORS", Path("/nowhere"))
    before = in_new_process(folder)
    monkeypatch.setattr(cache.platform, "node", lambda: "another")
    assert in_new_process(folder) != before


# ---- whom it trusts ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder, mode):
    place = in_new_process(folder)
    for path in (folder, place):
        path.chmod(mode)
        with pytest.raises(PermissionError, match=rf"others can write to .* \(mode {mode:o}\)"):
            in_new_process(folder)
        assert jax.config.jax_compilation_cache_dir is None
        path.chmod(0o755)
    assert in_new_process(folder) == place


def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    in_new_process(folder)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(PermissionError, match=f"belongs to user {mine}, .* BIMIX_CACHE to a fold"):
        in_new_process(folder)


def test_a_folder_in_one_that_everybody_can_write_to_is_refused(folder):
    folder.parent.chmod(0o777)
    with pytest.raises(PermissionError, match="everybody can write to"):
        in_new_process(folder)
    folder.parent.chmod(0o1777)  # as /tmp, where only owners rename
    in_new_process(folder)
    folder.parent.chmod(0o700)


# ---- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["off", "OFF", "0", "no"])
def test_off_keeps_nothing_and_touches_nothing(monkeypatch, value):
    monkeypatch.setenv(cache.VARIABLE, value)
    before = dict(jax.config.values)
    assert bx.use_compilation_cache() is None
    assert dict(jax.config.values) == before


def test_the_folder_is_the_named_one_or_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert bx.use_compilation_cache().parent == tmp_path / "xdg" / "bimix_jax"
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "named"))
    assert in_new_process(None).parent == tmp_path / "named"
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for not_absolute in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
        assert in_new_process(None).parent == tmp_path / "home" / ".cache" / "bimix_jax"


def test_a_directory_of_the_users_is_left_as_it_is(tmp_path, folder):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    before = dict(jax.config.values)
    assert bx.use_compilation_cache(folder) == tmp_path / "theirs"
    assert dict(jax.config.values) == before
    jax.config.update("jax_compilation_cache_dir", "")
    assert bx.use_compilation_cache(folder) is None
    assert not folder.exists()


def test_a_user_who_names_a_directory_later_has_the_cache_of_jax(tmp_path, folder):
    place = in_new_process(folder)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    compilation_cache.reset_cache()
    assert hits() == (0, 1)
    assert programs(place) == []
    assert len(programs(tmp_path / "theirs")) >= 1


def test_importing_the_package_and_fitting_keeps_nothing(embedded):
    before = dict(jax.config.values)
    bx.fit(embedded, bx.BiMix(), targets=["c"])
    assert dict(jax.config.values) == before
    assert jax.config.jax_compilation_cache_dir is None


# ---- whatever happens to the disk ----------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_keeps_nothing_and_stops_nothing(folder, monkeypatch, code):
    def refuse(path, content):
        raise OSError(code, os.strerror(code), str(path))

    place = in_new_process(folder)
    monkeypatch.setattr(cache, "write_atomically", refuse)
    assert hits() == (0, 1)
    assert programs(place) == []


def test_a_folder_that_is_deleted_meanwhile_stops_nothing(folder):
    place = in_new_process(folder)
    hits()
    shutil.rmtree(folder)
    jax.clear_caches()
    assert hits() == (0, 1)
    assert not place.exists()


def test_a_file_in_the_place_of_the_folder_is_an_error_that_names_it(folder):
    folder.write_text("")
    with pytest.raises(OSError, match="programs"):
        in_new_process(folder)


def test_beyond_the_limit_what_was_not_used_for_longest_goes(folder, monkeypatch):
    place = in_new_process(folder)
    sizes = []
    for age, factor in enumerate((2.0, 3.0, 4.0)):
        hits(factor)
        (new,) = set(programs(place)) - {path for path, _ in sizes}
        sizes.append((new, new.stat().st_size))
        os.utime(new, (time.time() - 100 + age,) * 2)
    in_new_process(folder)
    assert hits(2.0) == (1, 0)  # the oldest is the last one used now
    monkeypatch.setattr(cache, "MOST", sum(size for _, size in sizes) + 10)
    assert hits(5.0) == (0, 1)
    assert sizes[0][0] in programs(place)
    assert sizes[1][0] not in programs(place)
    assert sum(path.stat().st_size for path in programs(place)) <= cache.MOST


def test_programs_of_older_versions_count_and_go_first(folder, monkeypatch):
    place = in_new_process(folder)
    old = folder / "jax-0.1-abc"
    old.mkdir()
    (old / "jit_run").write_bytes(b"\0" * 1000)
    os.utime(old / "jit_run", (0, 0))
    monkeypatch.setattr(cache, "MOST", 10**5)
    hits()
    assert len(programs(old)) == 1
    monkeypatch.setattr(cache, "MOST", programs(place)[0].stat().st_size + 999)
    hits(4.0)
    assert programs(old) == []


MANY = """
import json, sys
import jax
import bimix_jax as bx

events = []
jax.monitoring.register_event_listener(lambda name, **more: events.append(name))
bx.use_compilation_cache(sys.argv[1])
found = [float(jax.jit(lambda x: factor * x)(2.0)) for factor in range(12)]
counts = [sum(e.endswith(kind) for e in events) for kind in ("cache_hits", "cache_misses")]
print(json.dumps([found, *counts]))
"""


def test_two_processes_at_once_and_a_third_that_compiles_nothing(folder):
    command = [sys.executable, "-W", "error", "-c", MANY, str(folder)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}

    def start():
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    pair = [start(), start()]
    told = [json.loads(process.communicate()[0]) for process in pair]
    third = json.loads(start().communicate()[0])
    doubled = [2.0 * factor for factor in range(12)]
    assert [found for found, *_ in (*told, third)] == [doubled] * 3
    assert third[1:] == [12, 0]
    (place,) = folder.iterdir()
    assert not [path for path in place.iterdir() if ".partial" in path.name]


def test_a_folder_that_is_not_on_a_disk_is_refused():
    pytest.importorskip("fsspec")
    with pytest.raises(OSError, match=r"memory://programs is not on a disk; name a folder that is"):
        bx.use_compilation_cache("memory://programs")


def test_a_batch_is_traced_once_for_all_processes(folder, monkeypatch):
    table = table_of_sweeps(3)

    def again():
        """The fits as a new process makes them."""
        in_new_process(folder)
        _compiled.compiled_chunk.cache_clear()
        return bx.fit_table(table)

    def refuse(*given):
        raise AssertionError("traced again")

    plain = bx.fit_table(table)
    first = again()
    with monkeypatch.context() as patch:
        patch.setattr(_compiled.BatchMethod, "fit_in_kernel", refuse)
        patch.setattr(_compiled.BatchMethod, "fit", refuse)
        pd.testing.assert_frame_equal(again(), first, check_exact=True)
    pd.testing.assert_frame_equal(first, plain, check_exact=True)
    _compiled.compiled_chunk.cache_clear()
