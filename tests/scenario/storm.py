# SPDX-License-Identifier: MIT
"""A storm: a hundred targets that go up and down, and the books about what was told of them."""
import collections
import json
import random
import socket
import sqlite3
import threading
import time

import harness

TARGETS = 100
SLOW_FLIGHTS = 64


class Storm:
    """Listeners on 100 ports; while it blows each is closed and opened at random. Random, but by a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.ports = []
        self.listeners = {}
        self.blowing = False
        self.stopped = threading.Event()
        for _ in range(TARGETS):
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            self.ports.append(listener.getsockname()[1])
            self.listeners[self.ports[-1]] = listener
        threading.Thread(target=self._blow, daemon=True).start()

    def _set(self, port, up):
        listener = self.listeners.get(port)
        if up and listener is None:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
            self.listeners[port] = listener
        elif not up and listener is not None:
            listener.close()
            self.listeners[port] = None
        elif listener is not None:
            listener.setblocking(False)
            try:
                while True:
                    listener.accept()[0].close()
            except OSError:
                pass

    def _blow(self):
        while not self.stopped.is_set():
            for port in self.ports:
                # About a third is down at any time, and each turns every few seconds.
                self._set(port, not self.blowing or (self.listeners[port] is not None
                                                     if self.random.random() < 0.9 else self.random.random() < 0.66))
            time.sleep(0.1)

    def config(self, hook_port, interval="1s"):
        targets = "".join(f'  - {{name: t{i}, address: "127.0.0.1:{port}"}}\n' for i, port in enumerate(self.ports))
        return f"""
defaults: {{interval: {interval}, timeout: 800ms, alert: {{after: 1, recover: 1}}}}
targets:
{targets}
senders:
  hook: {{type: webhook, url: "http://127.0.0.1:{hook_port}/", rate: off, timeout: 5s}}
routes:
  - {{send_to: [hook], group_by: [target], group_wait: 200ms}}
"""


def check_books(work, hook, kills, flights):
    """Every incident of the database was told, ended, and told as ended; what came twice was in flight at a kill."""
    database = sqlite3.connect(f"file:{work}/state/state.db?mode=ro", uri=True)
    integrity = database.execute("PRAGMA integrity_check").fetchone()[0]
    harness.ok(integrity == "ok", "the database is whole", integrity)
    incidents = [row[0] for row in database.execute("SELECT number FROM incident WHERE target != 'portbell'")]
    still_open = database.execute("SELECT count(*) FROM incident WHERE ended_unix_us = 0").fetchone()[0]
    waiting = database.execute("SELECT count(*) FROM message").fetchone()[0]
    waiting += database.execute("SELECT count(*) FROM notice").fetchone()[0]
    harness.ok(still_open == 0 and waiting == 0, "nothing is open and nothing waits", f"{still_open} {waiting}")
    told = collections.defaultdict(lambda: collections.defaultdict(set))
    arrivals = collections.defaultdict(list)
    bodies = collections.defaultdict(set)
    for request in hook.requests:
        ident = request["headers"]["webhook-id"]
        arrivals[ident].append(request["at"])
        bodies[ident].add(request["body"])
        for alert in json.loads(request["body"])["alerts"]:
            told[int(alert["annotations"]["incident"])][alert["status"]].add(ident)
    lost = [n for n in incidents if "resolved" not in told[n] or
            ("firing" not in told[n] and not was_missed(hook, n))]
    harness.ok(incidents and not lost, f"0 of {len(incidents)} incidents lost", lost[:20])
    doubled = [n for n in incidents if len(told[n]["firing"]) > 1 or len(told[n]["resolved"]) > 1]
    harness.ok(not doubled, "no incident was told by two messages", doubled[:20])
    harness.ok(all(len(b) == 1 for b in bodies.values()), "a repeat has the same body")
    repeats = {ident: times for ident, times in arrivals.items() if len(times) > 1}
    # A delivery is noted within a commit or two; on a machine that is busy with other things that may take seconds.
    unexplained = [times for times in repeats.values() if not any(times[0] <= k <= times[0] + 3.0 for k in kills)]
    count = sum(len(times) - 1 for times in repeats.values())
    harness.ok(not unexplained, f"{count} repeats in {len(kills)} kills, each in flight when the process died",
               unexplained[:10])
    first_after = [min((k for k in kills if k >= times[0]), default=0) for times in repeats.values()]
    each = [first_after.count(kill) for kill in kills]
    more = [number for number in each if number > flights]
    harness.ok(len(more) <= len(kills) // 20 and max(each, default=0) <= SLOW_FLIGHTS,
               f"at most {flights} of a kill, or {SLOW_FLIGHTS} where the store takes over a second (most: {max(each, default=0)})",
               each)


def was_missed(hook, number):
    for body in hook.bodies():
        for alert in body["alerts"]:
            if int(alert["annotations"]["incident"]) == number and body["portbell"].get("missed"):
                return True
    return False
