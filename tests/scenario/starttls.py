#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""STARTTLS in thirteen protocols, with the real server for each: the certificate is read, also when every byte comes by
itself; a server that stopped offering TLS is named as such, and well again once it offers it."""
import os

import harness
import servers
from harness import ok

servers.unpacked_inn()  # before the network is gone
harness.own_network()
work = harness.work_directory("starttls")
ca = harness.Authority(os.path.join(work, "ca"))


def days_left(n):
    return 40 + 10 * n


# Each server's certificate ends on a day of its own: who shows which days was really read.
try:
    running = servers.one_of_each(work, lambda n: ca.issue(f"server{n}", -10, days_left(n)), ca.ca)
except servers.NotReady as trouble:
    ok(False, "the servers start", trouble)
    harness.finish()
kinds = list(dict.fromkeys(running.values()))
relays = {name: servers.Relay(server.ports[name]) for name, server in running.items()}
ok(len(running) == 13, "thirteen protocols", list(running))
for name, server in running.items():
    seen, said = servers.s_client(server.ports[name], ca.ca, name)
    ok(seen == server.facts, f"{name}: openssl reads the certificate", f"{seen}\n{said}")

config = """
defaults: {interval: 2s, timeout: 1900ms, alert: {after: 1, recover: 1, recheck: 1s}}
targets:
""" + "".join(f'  - {{name: {label}, address: "127.0.0.1:{port}",\n'
              f'     tls: {{starttls: {name}, ca_file: ca/ca.pem, server_name: localhost}}}}\n'
              for name in running for label, port in ((name, running[name].ports[name]),
                                                      (f"{name} byte by byte", relays[name].port)))
daemon = harness.Daemon(work, config).start()
if not ok(daemon.wait_ready(), "it starts", daemon.log()):
    daemon.stop()
    harness.finish()

def last_reason(target):
    return (target["last_probe"] or {}).get("reason")


def protocol(target):
    return target["name"].split()[0]


def well(target):
    """The certificate's days are those of this server, less the part of a day since it was made."""
    wanted = days_left(kinds.index(running[protocol(target)])) - 1
    return target["level"] == "ok" and last_reason(target) == "ok" and target["certificate_days"] == wanted and \
        "starttls" in target["last_probe"]["phases"]


def trouble_of(name, seen):
    server = running[name.split()[0]]
    return f"{seen.get(name)}\nits own log ends with:\n{server.log()[-1000:]}"


try:
    everybody = [*running, *(f"{name} byte by byte" for name in running)]
    result, seen = daemon.wait_for_targets(dict.fromkeys(everybody, well))
    for name, good in result.items():
        ok(good, f"{name}: its certificate is read after STARTTLS", trouble_of(name, seen))

    # The same servers on the same ports without TLS: a setting was lost.
    for server in kinds:
        server.stop()
    servers.start_all(kinds, tls=False)
    # nnrpd lists STARTTLS whenever it was built with it, and has only "580 Error initializing TLS" for who asks.
    stopped = {name: "starttls_refused" if name == "nntp" else "starttls_not_offered" for name in running}
    result, seen = daemon.wait_for_targets(dict.fromkeys(everybody, lambda target: (
        target["checks"]["availability"]["level"] == "critical" and last_reason(target) == stopped[protocol(target)])))
    for name, good in result.items():
        ok(good, f"{name}: {stopped[name.split()[0]]}", trouble_of(name, seen))
    words = {name: (seen[name]["last_probe"] or {}).get("detail") for name in running if name in seen}
    ok("580" in (words.get("nntp") or ""), "nntp: the server's own words are shown", words)

    for server in kinds:
        server.stop()
    servers.start_all(kinds)
    result, seen = daemon.wait_for_targets(dict.fromkeys(everybody, well))
    for name, good in result.items():
        ok(good, f"{name}: well again", trouble_of(name, seen))
except servers.NotReady as trouble:
    ok(False, "the servers start again", trouble)

status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s with status 0", f"{status} after {seconds:.1f} s")
harness.finish()
