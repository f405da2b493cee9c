"""A controller for test_blocking.py: starts a bystander, whose id it prints, and an attacker, under a filter
of these events and settings; then it does nothing more.

silent_controller.py EVENTS [SETTING...] -- ATTACKER [ARGUMENT...]"""

import sys
import time

import cbprocess

separator = sys.argv.index("--")
flt = cbprocess.CBProcess()
flt.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}")
flt.config(f"EventsToFire={sys.argv[1]}")
for setting in sys.argv[2:separator]:
    flt.config(setting)
flt.start_filter(0)
print(flt.popen(["sleep", "60"]).pid, flush=True)
flt.popen(sys.argv[separator + 1 :])
time.sleep(60)
