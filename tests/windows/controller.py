"""A controller that holds every creation for ever, for tests that end it: controller.py PROGRAM...

Prints the id of its program as soon as its child is held."""

import sys
import threading

from cbprocess import CBProcess

process = CBProcess()
process.initialize("{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B11}")
process.config("EventsToFire=-1")
root = []


def hold(event):
    if not root:
        root.append(event.process_id)
        return
    print(root[0], event.process_id, flush=True)
    threading.Event().wait()


process.on_process_creation = hold
process.start_filter(0)
process.popen(sys.argv[1:]).wait()
