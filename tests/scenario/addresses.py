#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""All addresses of a name: one verdict, the bad address named, in the message too."""
import os
import socket
import ssl
import threading

import harness
from harness import ok, wait_for

harness.own_network()
work = harness.work_directory("addresses")
ca = harness.Authority(os.path.join(work, "ca"))
good, old = ca.issue("good", -1, 90), ca.issue("old", -85, 5)


class Node:
    """One address of a service: accepts and waits for the end; with a certificate it speaks TLS first."""

    def __init__(self, ip, port, pair=None):
        self.place, self.pair, self.socket = (ip, port), pair, None
        self.start()

    def start(self):
        self.socket = socket.create_server(self.place, backlog=64)
        threading.Thread(target=self._serve, args=(self.socket,), daemon=True).start()

    def _serve(self, listener):
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        try:
            with peer:
                peer.settimeout(5)
                if self.pair is not None:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(*self.pair)
                    peer = context.wrap_socket(peer, server_side=True)
                while peer.recv(4096):
                    pass
        except OSError:
            pass

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


port, tls_port = harness.free_port(), harness.free_port()
nodes = [Node(f"127.0.0.{i}", port) for i in (2, 3, 4)]
secure = [Node(f"127.0.0.{i}", tls_port, pair) for i, pair in ((2, good), (3, old))]
dns = harness.Dns({"three.test": ["127.0.0.2", "127.0.0.3", "127.0.0.4"], "localhost": ["127.0.0.2", "127.0.0.3"]})
hook = harness.WebhookReceiver()
daemon = harness.Daemon(work, f"""
resolver: {{servers: ["127.0.0.1:{dns.port}"]}}
defaults: {{interval: 1s, timeout: 900ms, addresses: all, alert: {{after: 2, recover: 2, recheck: 200ms}}}}
targets:
  - {{name: each, address: "three.test:{port}"}}
  - {{name: two, address: "three.test:{port}", require: 2}}
  - {{name: any, address: "three.test:{port}", require: any}}
  - {{name: certificates, address: "node.test:{tls_port}", resolve: [127.0.0.2, 127.0.0.3],
     tls: {{ca_file: ca/ca.pem, server_name: localhost}}}}
senders: {{hook: {{type: webhook, url: "http://127.0.0.1:{hook.port}/", rate: off}}}}
routes: [{{send_to: [hook], group_by: [target, check], group_wait: 100ms}}]
""")
daemon.start()


def alerts(name, check="Availability"):
    return [(alert["status"], alert["labels"]["severity"], alert["annotations"]["reason"], alert["annotations"]["description"])
            for body in hook.bodies() for alert in body["alerts"]
            if alert["labels"]["target"] == name and alert["labels"]["alertname"] == "Portbell" + check]


def reason(name, check="availability"):
    target = daemon.target(name)
    return target and (target["checks"][check]["level"], target["checks"][check]["reason"])


ok(daemon.wait_ready(), "it starts", daemon.log())
ok(wait_for(lambda: all(reason(n) == ("ok", "ok") and daemon.target(n)["last_probe"] for n in ("each", "two", "any")), 10),
   "three addresses are well", daemon.status())
last = daemon.target("each")["last_probe"]
ok([a["address"] for a in last["addresses"]] == [f"127.0.0.{i}:{port}" for i in (2, 3, 4)] and
   all(a["reason"] == "ok" and a["latency"] > 0 for a in last["addresses"]), "each has its own line", last)

nodes[1].stop()
ok(wait_for(lambda: reason("each") == ("critical", "connect_refused"), 10), "one is down: critical where all are needed",
   daemon.status())
ok(wait_for(lambda: reason("two") == ("warning", "some_addresses"), 10) and
   wait_for(lambda: reason("any") == ("warning", "some_addresses"), 10), "a warning where two or any will do", daemon.status())
ok(wait_for(lambda: alerts("each") and alerts("two") and alerts("any"), 10) and
   all("127.0.0.3: connection refused" in alerts(n)[0][3] for n in ("each", "two", "any")), "the message names the address",
   hook.bodies())
nodes[0].stop()
ok(wait_for(lambda: reason("two") == ("critical", "connect_refused"), 10), "two are down: critical where two are needed",
   daemon.status())
ok(wait_for(lambda: reason("any") == ("warning", "some_addresses"), 5), "still a warning where any will do", daemon.status())
nodes[0].start()
nodes[1].start()
ok(wait_for(lambda: all(reason(n) == ("ok", "ok") for n in ("each", "two", "any")), 10), "all are back", daemon.status())
ok(wait_for(lambda: all(alerts(n)[-1][0] == "resolved" for n in ("each", "two", "any")), 10), "and told", hook.bodies())

ok(wait_for(lambda: reason("certificates", "certificate") == ("critical", "cert_expiring"), 10),
   "one address serves the old certificate", daemon.target("certificates"))
ok(wait_for(lambda: alerts("certificates", "Certificate"), 10) and
   "127.0.0.3 still shows it" in alerts("certificates", "Certificate")[0][3], "the message says which", hook.bodies()[-1])
secure[1].stop()
secure[1].pair = good
secure[1].start()
ok(wait_for(lambda: reason("certificates", "certificate") == ("ok", "ok"), 15), "renewed there too",
   daemon.target("certificates"))
ok(wait_for(lambda: alerts("certificates", "Certificate")[-1][0] == "resolved", 10), "and told once",
   alerts("certificates", "Certificate"))
ok(len([a for a in alerts("certificates", "Certificate") if a[0] == "firing"]) == 1, "with one problem before",
   alerts("certificates", "Certificate"))
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s", f"{status} {seconds:.1f}")
harness.finish()
