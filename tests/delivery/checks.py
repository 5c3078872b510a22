"""What the tests in Python share: the expectation that something is refused, and TAP."""

import re
import sys
import traceback


def refused(exception, words, function, *arguments, **options):
    """Expects a call to be refused in these words; '*' stands for any text."""
    try:
        function(*arguments, **options)
    except exception as error:
        pattern = ".*".join(map(re.escape, words.split("*")))
        assert re.search(pattern, str(error)), f"got '{error}' want '{words}'"
        return error
    raise AssertionError(f"not refused: '{words}'")


def run(name, tests):
    """Runs tests, each a text, a function, and why it cannot be run, or None; prints TAP, and exits."""
    failed = 0
    for number, (text, test, lacking) in enumerate(tests, 1):
        text = f"{number} - {name}: {text}"
        if lacking:
            print(f"ok {text} # SKIP {lacking}", flush=True)
            continue
        try:
            test()
            print(f"ok {text}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {text}")
            print("# " + traceback.format_exc().replace("\n", "\n# "), flush=True)
    print(f"1..{len(tests)}")
    sys.exit(failed > 0)
