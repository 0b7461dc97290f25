#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Ways to a target, through real parts: SOCKS5 and CONNECT proxies with and without login, the PROXY protocol before
haproxy, addresses that are given, chosen by family, and connected to from an address of our own."""
import os
import re
import socket
import threading

import harness
import servers
from harness import ok, wait_for

harness.own_network()
work = harness.work_directory("ways")
ca = harness.Authority(os.path.join(work, "ca"))
good = ca.issue("good", -10, 80)
named = ca.issue("named", -10, 50, host="given.test")
PASSWORD = "s3cret-canary-password"
for name, text in (("password", PASSWORD), ("wrong", "another-canary-word")):
    with open(os.path.join(work, name), "w") as f:
        f.write(text + "\n")
    os.chmod(f.name, 0o600)


class Callers:
    """Accepts on IPv4 and IPv6, and keeps (who called, which of our addresses they called)."""

    def __init__(self):
        self.seen = set()
        self.listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, address = self.listener.accept()
            self.seen.add((address[0].removeprefix("::ffff:"), peer.getsockname()[0].removeprefix("::ffff:")))
            peer.close()


try:
    target = servers.GnutlsServ(work, good, ca.ca)
    given = servers.GnutlsServ(work, named, ca.ca, name="given.test")
    dns = servers.Unbound(work, {"target.test": ["127.0.0.1"], "both.test": ["127.0.0.3", "::1"],
                                 "four.test": ["127.0.0.4"]})
    # What only a proxy knows proves that it was the proxy that looked it up.
    hosts = "127.0.0.1 localhost behind.test\n"
    socks = servers.Microsocks(work, hosts=hosts)
    socks_login = servers.Microsocks(work, f"user:{PASSWORD}", hosts)
    http = servers.Tinyproxy(work, hosts=hosts)
    http_login = servers.Tinyproxy(work, f"user:{PASSWORD}", hosts)
    haproxy = servers.Haproxy(work, good, ca.ca)
except servers.NotReady as trouble:
    ok(False, "the servers start", trouble)
    harness.finish()
callers = Callers()
closed = harness.free_port()
TLS = "tls: {ca_file: ca/ca.pem, server_name: localhost}"


def proxy(scheme, server, password=None):
    user = "user@" if password else ""
    file = f", proxy_password_file: {password}" if password else ""
    return f'proxy: "{scheme}://{user}127.0.0.1:{server.port()}"{file}'


here, there, shut = f"target.test:{target.port()}", f"behind.test:{target.port()}", f"127.0.0.1:{closed}"
WAYS = [  # name, address, keys, reason
    ("socks5", here, proxy("socks5", socks), "ok"),
    ("socks5h", there, proxy("socks5h", socks), "ok"),
    ("http", there, proxy("http", http), "ok"),
    ("socks5 login", here, proxy("socks5", socks_login, "password"), "ok"),
    ("socks5h login", there, proxy("socks5h", socks_login, "password"), "ok"),
    ("http login", there, proxy("http", http_login, "password"), "ok"),
    ("socks5 wrong password", here, proxy("socks5", socks_login, "wrong"), "proxy_failed"),
    ("socks5h wrong password", there, proxy("socks5h", socks_login, "wrong"), "proxy_failed"),
    ("http wrong password", there, proxy("http", http_login, "wrong"), "proxy_failed"),
    ("socks5 no password", here, proxy("socks5", socks_login), "proxy_failed"),
    ("http no password", there, proxy("http", http_login), "proxy_failed"),
    ("socks5 target refuses", shut, proxy("socks5", socks), "proxy_refused"),
    ("socks5h target refuses", f"behind.test:{closed}", proxy("socks5h", socks), "proxy_refused"),
    ("http target refuses", shut, proxy("http", http), "proxy_refused"),
    ("socks5h no such name", "nowhere.test:443", proxy("socks5h", socks), "proxy_refused"),
    ("http no such name", "nowhere.test:443", proxy("http", http), "proxy_refused"),
    ("socks5 looks up here", there, proxy("socks5", socks), "dns_not_found"),
    ("http asks a SOCKS proxy", there, proxy("http", socks), "proxy_failed"),
    ("socks5 asks an HTTP proxy", here, proxy("socks5", http), "proxy_timeout"),  # it waits for the end of the line
    ("haproxy v1", f"127.0.0.1:{haproxy.ports['tls']}", "proxy_protocol: v1", "ok"),
    ("haproxy v2", f"127.0.0.1:{haproxy.ports['tls']}", "proxy_protocol: v2", "ok"),
    ("haproxy v1 written", f"127.0.0.1:{haproxy.ports['tls']}",
     'proxy_protocol: {version: 1, source: "[2001:db8::9]:11", destination: "[2001:db8::1]:443"}', "ok"),
    ("haproxy v2 written", f"127.0.0.1:{haproxy.ports['tls']}",
     'proxy_protocol: {version: 2, source: "192.0.2.9:22", destination: "192.0.2.1:443"}', "ok"),
    ("haproxy behind a proxy", f"127.0.0.1:{haproxy.ports['tls']}",
     "proxy_protocol: v2, " + proxy("socks5", socks), "ok"),
]
PLAIN = [  # name, host, keys, reason, address connected to
    ("family ipv4", "both.test", "family: ipv4", "ok", "127.0.0.3"),
    ("family ipv6", "both.test", "family: ipv6", "ok", "::1"),
    ("family missing", "four.test", "family: ipv6", "dns_not_found", None),
    ("resolve", "nowhere.test", "resolve: [127.0.0.7]", "ok", "127.0.0.7"),
    ("source address", "four.test", "source: 127.0.0.8", "ok", "127.0.0.4"),
    ("source interface", "four.test", "source: lo", "ok", "127.0.0.4"),
    ("source not ours", "four.test", "source: 198.51.100.7", "local_error", None),
    ("source no interface", "four.test", "source: nothere0", "local_error", None),
]
config = f"""
resolver: {{servers: ["127.0.0.1:{dns.port()}"], timeout: 500ms, tries: 2, cache: off}}
defaults: {{interval: 2s, timeout: 1500ms, alert: {{after: 1, recover: 1, recheck: 1s}}}}
targets:
  - {{name: haproxy without, address: "127.0.0.1:{haproxy.ports['tls']}", {TLS}}}
  - {{name: resolve tls, address: "given.test:{given.port()}", resolve: [127.0.0.1], tls: {{ca_file: ca/ca.pem}}}}
""" + "".join(f'  - {{name: {name}, address: "{address}", {keys}, {TLS}}}\n' for name, address, keys, _ in WAYS) + \
    "".join(f'  - {{name: {name}, address: "{host}:{callers.port}", {keys}}}\n' for name, host, keys, _, _ in PLAIN)
daemon = harness.Daemon(work, config).start()
if not ok(daemon.wait_ready(), "it starts", daemon.log()):
    daemon.stop()
    harness.finish()


def ended(reason, phase=None, days=None, connected=None):
    """What must be true of a target whose last probe ended like this."""

    def look(seen):
        last = seen["last_probe"] or {}
        if last.get("reason") != reason:
            return False
        if reason == "local_error":  # ours: nobody is down
            return seen["level"] != "critical"
        if reason != "ok":
            return seen["checks"]["availability"]["level"] == "critical" and seen["certificate_days"] is None
        return seen["level"] == "ok" and (phase is None or phase in last["phases"]) and \
            (days is None or seen["certificate_days"] == days) and \
            (connected is None or last["address"] == connected)

    return look


def literal(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


expected = {name: ended(reason, "proxy" if "proxy: " in keys else None, 79) for name, _, keys, reason in WAYS}
expected["resolve tls"] = ended("ok", "tls", 49)
expected.update({name: ended(reason, connected=connected and literal(connected, callers.port))
                 for name, _, _, reason, connected in PLAIN})
result, seen = daemon.wait_for_targets(expected)
reasons = {name: reason for name, *_, reason in WAYS} | {name: reason for name, _, _, reason, _ in PLAIN}
for name, good_end in result.items():
    ok(good_end, f"{name}: {reasons.get(name, 'ok')}", seen.get(name))
for name in ("socks5", "socks5h", "http"):
    phases = (seen[name]["last_probe"] or {}).get("phases", {}) if name in seen else {}
    ok(("dns" in phases) == (name == "socks5"), f"{name}: who looks the name up", phases)
# haproxy closes upon a ClientHello that it did not read: the end may come as a reset.
ok(wait_for(lambda: ((daemon.target("haproxy without") or {}).get("last_probe") or {}).get("reason")
            in ("tls_closed", "connect_reset"), 10), "haproxy demands the header", daemon.target("haproxy without"))

for name, wanted in (("v1", rf"src=127\.0\.0\.1:\d+ dst=127\.0\.0\.1:{haproxy.ports['tls']}"),
                     ("v1 written", r"src=2001:db8::9:11 dst=2001:db8::1:443"),
                     ("v2 written", r"src=192\.0\.2\.9:22 dst=192\.0\.2\.1:443")):
    # Of a connection without a request it may say that nothing was wrong with it.
    ok(wait_for(lambda: re.search(f"^tls {wanted}( error=Success)?$", haproxy.log(), re.M), 5),
       f"haproxy {name}: it was told these addresses", haproxy.log()[-2000:])
for caller, called in (("127.0.0.8", "127.0.0.4"), ("127.0.0.1", "127.0.0.4"), ("::1", "::1")):
    ok((caller, called) in callers.seen, f"{caller} called {called}", callers.seen)

status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s with status 0", f"{status} after {seconds:.1f} s")
everything = daemon.log().encode() + repr(seen).encode()
for name in os.listdir(os.path.join(work, "state")):
    with open(os.path.join(work, "state", name), "rb") as f:
        everything += f.read()
ok(not any(word in everything for word in (PASSWORD.encode(), b"another-canary-word")), "no secret in log or database")
harness.finish()
