"""A part of the fuzzer that every run of the suite can afford."""

from tests.fuzz.run import fuzz


def test_damaged_files_are_read_rightly_or_refused_in_words():
    findings = fuzz(300, seed=0)
    assert sum(sum(counts.values()) for counts in findings.counts.values()) == 300
    assert not findings.faults, "\n\n".join(findings.faults[:5])
