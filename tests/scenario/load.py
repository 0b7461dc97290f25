#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""5,000 loopback targets at 1 s for a minute: no second in which p99 of the probes' lateness is over 50 ms."""
import multiprocessing
import os
import re
import signal
import socket
import time

import harness
from harness import ok

harness.skip_if_sanitized("load", "speed is measured without a sanitizer")
harness.own_network()
TARGETS = 5000
SECONDS = int(os.environ.get("PORTBELL_LOAD_SECONDS", "60"))


def serve(listener):
    while True:
        peer, _ = listener.accept()
        peer.close()


listener = socket.create_server(("0.0.0.0", 0), backlog=4096)
port = listener.getsockname()[1]
multiprocessing.Process(target=serve, args=(listener,), daemon=True).start()
work = harness.work_directory("load")
targets = "".join(f'  - {{name: t{i}, address: "127.0.{i // 250}.{1 + i % 250}:{port}"}}\n' for i in range(TARGETS))
daemon = harness.Daemon(work, f"defaults: {{interval: 1s}}\ntargets:\n{targets}senders: {{log: {{type: log}}}}\n")
daemon.start()
ok(daemon.wait_ready(), "it starts", daemon.log())
time.sleep(5)  # the first round comes early and all at once; the rhythm is what is measured


def processor_seconds():
    with open(f"/proc/{daemon.process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


mark = len(daemon.log())
before = processor_seconds()
for _ in range(SECONDS):
    time.sleep(1)
    daemon.process.send_signal(signal.SIGUSR1)
used = processor_seconds() - before
time.sleep(0.2)
text = daemon.log()[mark:]
lags = [int(lag) for lag in re.findall(r"lag p99 (\d+) us", text)]
rates = [int(rate) for rate in re.findall(r"prober \d+: (\d+) probes/s", text)]
probes = sum(rates)
ok(lags and max(lags) <= 50000, f"p99 lateness in the worst second {max(lags, default=0) / 1000:.2f} ms", lags)
ok(probes >= 0.97 * TARGETS * SECONDS, f"{probes} probes in {SECONDS} s, {used / max(probes, 1) * 1e6:.0f} us of CPU each",
   rates[:20])
status = daemon.status()
ok(status["counts"]["ok"] == TARGETS and not status["self"], "all of them are ok", status["counts"])
daemon.stop()
harness.finish()
