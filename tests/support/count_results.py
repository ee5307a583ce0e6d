#!/usr/bin/env python3
"""Add up ctest's JUnit files and print the closing line of launch/test.sh.

    count_results.py FAILED_STEPS FILE...

Prints one line per failed test, then `N passed, N failed`, and `, N skipped` where tests asked to be skipped. Exit code
1 when anything failed or nothing ran.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """passed, failed or skipped. ctest's status is run, fail, notrun or disabled."""
    if case.get("status") == "run":
        return "passed"
    reason = case.find("skipped")
    # A test whose program is missing is "notrun" too; only one that asked for it is skipped.
    asked = reason is not None and reason.get("message", "").startswith("SKIP_")
    return "skipped" if asked else "failed"


def number_of_cases(case):
    """One, or as many as a program of googletest says that it ran: in sanitizers' builds a test is all of a subject."""
    # At the start of what it says: scripts that run such a program are one test.
    start = r"\s*(Running main\(\).*\n)?(Note: .*\n)?\[=+\] Running (\d+) tests? from "
    running = re.match(start, case.findtext("system-out") or "")
    return int(running[3]) if running else 1


def main():
    counts = {"passed": 0, "failed": int(sys.argv[1]), "skipped": 0}
    for path in filter(pathlib.Path.is_file, map(pathlib.Path, sys.argv[2:])):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            result = outcome(case)
            counts[result] += number_of_cases(case) if result == "passed" else 1
            if result == "failed":
                print(f"failed: {path.stem}: {case.get('name')}")
    closing = f"{counts['passed']} passed, {counts['failed']} failed"
    print(closing + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
