"""Runs one program under a filter that only watches: run_one.py SETTING PROGRAM [ARGUMENT...]."""

import sys

import cbprocess

with cbprocess.CBProcess() as instance:
    instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D12}")
    instance.config("EventsToFire=27")  # what has to do with lifetimes: no filter without a need
    instance.config(sys.argv[1])
    instance.start_filter(0)
    status = instance.popen(sys.argv[2:]).wait(30)
sys.exit(status)
