#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Peers that mean harm, or just fail in every way: each gets its exact reason, none delays the others, and nothing of
theirs reaches a log or a message as it came."""
import os
import socket
import ssl
import struct
import threading
import time

import harness
from harness import SANITIZED, ok, wait_for

harness.own_network()
work = harness.work_directory("hostile")
ca = harness.Authority(os.path.join(work, "ca"))
good = ca.issue("good", -1, 90)
TIMEOUT = 1.5
RST = struct.pack("ii", 1, 0)


def serve(talk):
    """A server that talks in a thread for each connection; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def one(peer):
        try:
            with peer:
                peer.settimeout(10)
                talk(peer)
        except OSError:
            pass

    def run():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def tls_server(pem, key, change=lambda context: None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    change(context)

    def talk(peer):
        with context.wrap_socket(peer, server_side=True) as tls:
            tls.recv(1)

    return serve(talk)


def flood(peer):
    peer.settimeout(2)
    while True:
        peer.sendall(b"\x1b]0;owned\x07" * 8192)


def drip(peer):
    for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03":
        peer.sendall(bytes([byte]))
        time.sleep(0.3)
    time.sleep(5)


def reset(peer):
    peer.recv(1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


def refuse_old(context):
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.ca)


full = socket.socket()  # a backlog that nobody empties
full.bind(("127.0.0.1", 0))
full.listen(0)
crowd = []
for _ in range(4):
    crowd.append(socket.socket())
    crowd[-1].setblocking(False)
    crowd[-1].connect_ex(full.getsockname())
closed = harness.free_port()


def refuse_new(context):
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.ca)


def ask_only(context):
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(ca.ca)


many = ca.issue("many", -1, 90, names="subjectAltName=DNS:localhost," + ",".join(f"DNS:n{i}.example" for i in range(900)))
evil = ca.issue("evil", -90, -1, host="\x1b[31mevil<script>\u202e\t")
other = ca.issue("other", -1, 90, host="other.example", names="subjectAltName=DNS:other.example")
self_signed = ca.ca, ca.key
dns = harness.Dns({"broken.test": "SERVFAIL", "silent.test": "SILENT"})

TLS = [  # name, port, reason of availability (or of the certificate), phase
    ("plain", serve(lambda p: p.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")), "tls_protocol"),
    ("silent", serve(lambda p: time.sleep(8)), "tls_timeout"),
    ("closes", serve(lambda p: p.recv(65536)), "tls_closed"),
    ("resets", serve(reset), "connect_reset"),
    ("floods", serve(flood), "tls_protocol"),
    ("drips", serve(drip), "tls_timeout"),
    ("alerts", serve(lambda p: (p.recv(1), p.sendall(b"\x15\x03\x03\x00\x02\x02\x28"), p.recv(4096))), "tls_alert"),
    ("demands", tls_server(*good, refuse_old), "tls_alert"),
    ("demands later", tls_server(*good, refuse_new), "tls_alert"),
    ("asks", tls_server(*good, ask_only), "ok"),
    ("many", tls_server(*many), "ok"),
    ("good", tls_server(*good), "ok"),
]
CERTIFICATE = [
    ("evil", tls_server(*evil), "cert_expired"),
    ("other", tls_server(*other), "cert_hostname"),
]
TCP = [
    ("banner", f"127.0.0.1:{serve(flood)}", "ok"),
    ("refused", f"127.0.0.1:{closed}", "connect_refused"),
    ("full", f"127.0.0.1:{full.getsockname()[1]}", "connect_timeout"),
    ("hole", "192.0.2.8:80", "connect_timeout"),
    ("no route", "198.51.100.1:80", "local_error"),
    ("servfail", "broken.test:80", "dns_failed"),
    ("no answer", "silent.test:80", "dns_timeout"),
    ("no name", "nothing.test:80", "dns_not_found"),
]
mail = harness.MailServer(*good, "portbell", "password")
with open(os.path.join(work, "password"), "w") as f:
    f.write("password")
os.chmod(f.name, 0o600)
config = f"""
resolver: {{servers: ["127.0.0.1:{dns.port}"], timeout: 500ms, tries: 2}}
defaults: {{interval: 2s, timeout: 1500ms, alert: {{after: 2, recover: 2, recheck: 1s}}}}
targets:
""" + "".join(f'  - {{name: {n}, address: "127.0.0.1:{port}", tls: {{ca_file: ca/ca.pem, server_name: localhost}}}}\n'
              for n, port, _ in TLS + CERTIFICATE) + "".join(
    f'  - {{name: {n}, address: "{address}"}}\n' for n, address, _ in TCP) + f"""
senders:
  mail: {{type: email, server: "smtp://127.0.0.1:{mail.port}", starttls: required, ca_file: ca/ca.pem, rate: off,
         username: portbell, password_file: password, from: portbell@example.com, to: [ops@example.com]}}
routes:
  - {{send_to: [mail], group_by: [target, check], group_wait: 200ms}}
"""
daemon = harness.Daemon(work, config)
daemon.start()
ok(daemon.wait_ready(), "it starts", daemon.log())
time.sleep(12)


def check(name, reason, which="availability"):
    target = daemon.target(name)
    seen = target["checks"][which]["reason"] if which in target["checks"] else None
    last = target["last_probe"] or {}
    if reason == "local_error":  # of our own: never critical
        ok(last.get("reason") == "local_error" and target["level"] != "critical", f"{name}: local_error, not down", target)
    elif which == "availability":
        ok(last.get("reason") == reason and seen == reason, f"{name}: {reason}", target)
    else:
        ok(seen == reason, f"{name}: {reason}", target)
    return target


for name, _, reason in TLS:
    check(name, reason)
for name, _, reason in CERTIFICATE:
    target = check(name, reason, "certificate")
    ok(target["checks"]["availability"]["level"] == "ok", f"{name}: the port itself is well", target)
for name, _, reason in TCP:
    check(name, reason)
late = [t["name"] for t in daemon.status()["targets"]
        if (t["last_probe"] or {}).get("phases", {}).get("total", 0) > TIMEOUT + harness.LATE_S]
ok(not late, f"no probe lasts longer than its timeout and {harness.LATE_S * 1000:.0f} ms", late)

with open(f"/proc/{daemon.process.pid}/status") as f:
    resident = int(next(line for line in f if line.startswith("VmRSS")).split()[1])
descriptors = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
time.sleep(10)
with open(f"/proc/{daemon.process.pid}/status") as f:
    grown = int(next(line for line in f if line.startswith("VmRSS")).split()[1]) - resident
more = len(os.listdir(f"/proc/{daemon.process.pid}/fd")) - descriptors
ok((SANITIZED or grown < 4096) and more < 30, f"memory grew by {grown} kB, descriptors by {more}, in 10 s")

ok(wait_for(lambda: any(m["message"]["X-Portbell-Target"] == "evil" for m in mail.mails), 10), "evil is told by mail",
   daemon.log()[-2000:])
for entry in mail.mails:
    if entry["message"]["X-Portbell-Target"] == "evil":
        text = entry["message"].get_body(("plain",)).get_content()
        page = entry["message"].get_body(("html",)).get_content()
        ok("evil" in text and "\x1b" not in text + page and "\u202e" not in text + page and "<script>" not in page,
           "its certificate's text is cleaned in the mail", text)
log = daemon.log()
bad = [line for line in log.splitlines() if any(ord(c) < 32 or 0x7f <= ord(c) < 0xa0 or c == "\u202e" for c in line)]
ok(not bad, "no control character in the log", bad[:3])
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s", f"{status} {seconds:.1f}")
harness.finish()
