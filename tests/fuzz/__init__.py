"""A mutation fuzzer over everything that reads a file.

A sound file is damaged at random, read by the package, and read by an independent small reader (the
oracle). It fails on a raw exception, on a hang, and on a silent difference: content that is not the
oracle's, without a note that the sound file does not have.

    python -m tests.fuzz --count 10000 --seed 0
"""
