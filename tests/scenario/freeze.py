#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A process that is stopped for a while (suspend, a frozen group, a debugger) takes no target for down or slow."""
import multiprocessing
import os
import random
import signal
import socket
import time

import harness
from harness import ok, wait_for

harness.own_network()
seed = int(os.environ.get("PORTBELL_SEED", time.time()))
print(f"# seed {seed}")
chance = random.Random(seed)
work = harness.work_directory("freeze")
ca = harness.Authority(os.path.join(work, "ca"))
good = ca.issue("good", -1, 90)
plain = socket.create_server(("127.0.0.1", 0), backlog=2048)
secure = harness.Nginx(os.path.join(work, "nginx"), [(harness.free_port(), *good)])


def serve():
    while True:
        plain.accept()[0].close()


multiprocessing.Process(target=serve, daemon=True).start()
hook = harness.WebhookReceiver()
targets = "".join(f'  - {{name: p{i}, address: "127.0.0.1:{plain.getsockname()[1]}"}}\n' for i in range(400))
targets += "".join(f'  - {{name: s{i}, address: "127.0.0.1:{secure.ports[0]}", tls: {{ca_file: ca/ca.pem, '
                   f'server_name: localhost}}}}\n' for i in range(100))
daemon = harness.Daemon(work, f"""
defaults: {{interval: 1s, timeout: 900ms, alert: {{after: 1}}, latency: {{warning: 850ms, after: 1}}}}
targets:
{targets}
senders: {{hook: {{type: webhook, url: "http://127.0.0.1:{hook.port}/", rate: off}}}}
""")
daemon.start()
ok(daemon.wait_ready(), "it starts", daemon.log())
ok(wait_for(lambda: daemon.status()["counts"]["ok"] == 500, 20), "all are up", daemon.status()["counts"])
for _ in range(12):
    time.sleep(chance.uniform(0.3, 1.0))
    daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(chance.uniform(1.0, 2.0))
    daemon.process.send_signal(signal.SIGCONT)
time.sleep(4)
ok(not hook.requests, "twelve stops: nobody is told of anything",
   "\n".join(line for line in daemon.log().splitlines() if "incident=" in line)[:2000])
ok(daemon.status()["counts"]["ok"] == 500, "all are up still", daemon.status()["counts"])
daemon.stop()
secure.stop()
harness.finish()
