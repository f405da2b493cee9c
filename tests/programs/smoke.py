"""The package in one short run: smoke.py. Ends with status 0, having written `good` and nothing else."""

import subprocess

import cbprocess
from cbprocess import constants

# A path: a search for a name would go on in the next folder after the first denial.
DENIED = "/usr/bin/env"


def main() -> None:
    events = []
    instance = cbprocess.CBProcess()
    instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D16}")
    instance.config("EventsToFire=-1")

    def decide(event: cbprocess.CBProcessProcessCreationEventParams) -> None:
        events.append(("created", event.process_id, event.arguments))
        if event.arguments[0] == DENIED:
            event.result_code = constants.ERROR_ACCESS_DENIED

    instance.on_process_creation = decide
    instance.on_process_termination = lambda event: events.append(("ended", event.process_id, None))
    instance.start_filter(5000)
    script = f"true; (exit 3); echo $?; exec 2>&-; {DENIED}; echo $?"
    process = instance.popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=20)
    try:
        instance.popen([DENIED])
    except PermissionError:
        pass
    else:
        raise AssertionError("a denied program was started")
    instance.stop_filter()
    assert not instance.active

    # bash's status for a program that it may not execute is 126
    assert (process.returncode, output) == (0, "3\n126\n"), (process.returncode, output)
    created = [arguments for kind, _, arguments in events if kind == "created"]
    assert created == [["bash", "-c", script], [DENIED], [DENIED]], created
    assert ("ended", process.pid, None) in events
    assert sum(kind == "ended" for kind, _, _ in events) >= 3, events

    with cbprocess.monitor(["true"], events=constants.PROC_EVT_PROCESS_CREATION) as monitor:
        seen = [event.arguments for event in monitor]
    assert seen == [["true"]], seen
    print("good")


if __name__ == "__main__":
    main()
