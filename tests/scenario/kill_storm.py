#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""kill -9 at random instants during a storm of 100 flapping targets: no message is lost, and what comes twice has the
same id and was in flight."""
import os
import random
import time

import harness
import storm
from harness import ok, wait_for

harness.own_network()
KILLS = int(os.environ.get("PORTBELL_KILLS", "15" if harness.SANITIZED else "50"))
FLIGHTS = 4  # a sender delivers so many at a time, counted until the store has noted it
seed = int(os.environ.get("PORTBELL_SEED", time.time()))
print(f"# seed {seed}")
chance = random.Random(seed)
# What a killed process wrote is there after it, synced or not: in memory the disk of the machine has no say in FLIGHTS.
work = harness.work_directory("kill-storm", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
weather = storm.Storm(seed)
hook = harness.WebhookReceiver()
daemon = harness.Daemon(work, weather.config(hook.port))

weather.blowing = True
kills = []
for _ in range(KILLS):
    daemon.start()
    started = wait_for(lambda: "msg=\"started:" in daemon.log()[-4000:] or not daemon.running(), 10)
    time.sleep(chance.uniform(0.1, 2.0))
    if not daemon.running():
        break
    kills.append(time.time())
    daemon.kill()
ok(len(kills) == KILLS, f"started and killed {KILLS} times", daemon.log()[-3000:])
daemon.start()
ok(daemon.wait_ready(), "it starts once more")
weather.blowing = False
calm = wait_for(lambda: daemon.ask("status")[0] == 0 and daemon.status()["messages_waiting"] == 0, 60, 0.5)
ok(calm, "all is up and told", daemon.ask("status", "--failing")[1] + daemon.ask("outbox")[1])
time.sleep(1)
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s", f"{status} {seconds:.1f}")
storm.check_books(work, hook, kills, FLIGHTS)
harness.finish()
