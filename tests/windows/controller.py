"""A controller that holds a creation for ever, for tests that end or stop it:

    controller.py [--timeout MS] [--exit STATUS] PROGRAM [ARGUMENT]...

Prints the ids of its program and of its program's child as soon as the child is held; with --exit it ends
then, in its handler, without a word to the library."""

import argparse
import os
import threading

from cbprocess import CBProcess

parser = argparse.ArgumentParser()
parser.add_argument("--timeout", type=int, default=0)
parser.add_argument("--exit", type=int)
parser.add_argument("command", nargs=argparse.REMAINDER)
options = parser.parse_args()
process = CBProcess()
process.initialize("{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B11}")
process.config("Driver=debug")
process.config("EventsToFire=-1")
root = []


def hold(event):
    if not root:
        root.append(event.process_id)
        return
    print(root[0], event.process_id, flush=True)
    if options.exit is not None:
        os._exit(options.exit)
    threading.Event().wait()


process.on_process_creation = hold
process.start_filter(options.timeout)
process.popen(options.command).wait()
