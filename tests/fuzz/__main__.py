"""`python -m tests.fuzz --count N --seed S`."""

import argparse
import faulthandler
import sys
import time

from tests.fuzz.run import fuzz


def main() -> None:
    """Print what became of the mutations, and every fault; exit code 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faulthandler.enable()
    begin = time.monotonic()
    findings = fuzz(given.count, given.seed)
    print(findings.table())
    print(f"{given.count} mutations in {time.monotonic() - begin:.0f} s")
    for fault in findings.faults:
        print(f"\n{fault}")
    sys.exit(bool(findings.faults))


if __name__ == "__main__":
    main()
