"""The pytest plugin, as a user's suite has it: found by its entry point, silent until it is asked for."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

USERS_TESTS = """
import cbprocess

class Guard:
    def __init__(self, process):
        self.seen = []
        process.on_process_creation = self.creation

    def creation(self, event):
        self.seen.append(event.process_name)
        if event.process_name.endswith("/curl"):
            event.result_code = cbprocess.ERROR_ACCESS_DENIED
        if event.process_name.endswith("/boom"):
            raise RuntimeError("boom")

def test_curl_is_refused(cbprocess_simulator):
    guard = Guard(cbprocess_simulator.process)
    assert cbprocess_simulator.process_creation(process_name="/usr/bin/curl").refused
    assert not cbprocess_simulator.process_creation(process_name="/usr/bin/wget").refused
    assert guard.seen == ["/usr/bin/curl", "/usr/bin/wget"]

def test_a_failure_is_seen(cbprocess_simulator):
    Guard(cbprocess_simulator.process)
    verdict = cbprocess_simulator.process_creation(process_name="/bin/boom")
    assert str(verdict.raised) == "boom"

def test_a_failure_is_overlooked(cbprocess_simulator):
    Guard(cbprocess_simulator.process)
    cbprocess_simulator.process_creation(process_name="/bin/boom")

def test_wrong_expectation(cbprocess_simulator):
    assert cbprocess_simulator.process_creation().refused
"""


@pytest.fixture(autouse=True)
def without_options_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's tests are run once, whatever is asked of the run that this test belongs to."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def test_a_users_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USERS_TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_a_failure_is_overlooked*", "*RuntimeError: boom*"]
    )


def test_it_says_what_it_is(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*cbprocess_simulator*", "*made-up operations*"])


def test_nothing_is_loaded_before_it_is_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_modules():
            loaded = {name for name in sys.modules if name.startswith("cbprocess.")}
            assert not loaded & {"cbprocess.testing", "cbprocess._binding.abi", "cbprocess.script"}
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
