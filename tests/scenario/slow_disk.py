#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A storm on a disk whose every fsync takes 2 s: probes stay on time, status answers, alerts go out."""
import os
import re
import signal
import subprocess
import time

import harness
import storm
from harness import SANITIZED, ok, wait_for

harness.own_network()
work = harness.work_directory("slow-disk")
shim = os.path.join(work, "slow_fsync.so")
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_fsync.c")
subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
weather = storm.Storm(1)
hook = harness.WebhookReceiver()
daemon = harness.Daemon(work, weather.config(hook.port), environment={
    "LD_PRELOAD": shim, "SLOW_FSYNC_MS": "2000",
    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
daemon.start()
ok(daemon.wait_ready(60), "it starts", daemon.log())
weather.blowing = True
slowest = 0.0
end = time.monotonic() + 30
asked = 0
while time.monotonic() < end:
    begin = time.monotonic()
    code, _, err = daemon.ask("status")
    slowest = max(slowest, time.monotonic() - begin)
    asked += code in (0, 1)
    daemon.process.send_signal(signal.SIGUSR1)
    time.sleep(1)
ok(asked >= 15 and slowest <= 1.0, f"status answers within 1 s (slowest {slowest * 1000:.0f} ms)", err)
lags = [int(lag) for lag in re.findall(r"lag p99 (\d+) us", daemon.log())]
ok(lags and (SANITIZED or max(lags) <= 50000), f"p99 probe lateness <= 50 ms (worst second {max(lags, default=0) / 1000:.1f} ms)", lags)
ok(len(hook.requests) >= 200, f"alerts go out ({len(hook.requests)} messages in the storm)", daemon.log()[-3000:])
weather.blowing = False
ok(wait_for(lambda: daemon.ask("status")[0] == 0 and daemon.status()["messages_waiting"] == 0, 90, 0.5),
   "all is up and told", daemon.ask("status", "--failing")[1])
daemon.stop(30)
harness.finish()
