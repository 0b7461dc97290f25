#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""portbell probe against real servers: exit codes, the page on 80 columns, JSON against openssl, the plugin's line read
back by a parser of its own, summaries and interruption."""
import atexit
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
import unicodedata

import harness
from harness import BUILD, SANITIZED, ok

harness.own_network()
work = harness.work_directory("probe")
ca = harness.Authority(os.path.join(work, "ca"))
CERTIFICATES = {"good": (-10, 80), "soon": (-80, 10), "old": (-100, -3)}
servers = {name: (harness.free_port(), *ca.issue(name, *days)) for name, days in CERTIFICATES.items()}
nginx = harness.Nginx(os.path.join(work, "nginx"), list(servers.values()))
atexit.register(nginx.stop)
tcp = harness.TcpServer()
LOCALE = dict(os.environ, LC_ALL="C.UTF-8")


def port(name):
    return f"localhost:{servers[name][0]}"


def run(*words, environment=LOCALE, timeout=30):
    done = subprocess.run([os.path.join(BUILD, "portbell"), "probe", *words], capture_output=True, text=True,
                          timeout=timeout, env=environment)
    return done.returncode, done.stdout, done.stderr


def on_terminal(*words, environment=LOCALE):
    """What a terminal of 80 columns gets."""
    main, side = pty.openpty()
    process = subprocess.Popen([os.path.join(BUILD, "portbell"), "probe", *words], stdout=side, stderr=side,
                               env=dict(environment, TERM="xterm"))
    os.close(side)
    text = b""
    while True:
        try:
            more = os.read(main, 65536)
        except OSError:
            more = b""
        if not more:
            break
        text += more
    process.wait(10)
    os.close(main)
    return text.decode().replace("\r\n", "\n")


def columns(line):
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain)


# ---- exit codes ------------------------------------------------------------------------------------------------------
TRUST = ("--ca-file", ca.ca)
closed = harness.free_port()
for name, words, status, shown in [
    ("good", [*TRUST, port("good")], 0, "ok  localhost"),
    ("expires-soon", [*TRUST, port("soon")], 1, "certificate expires soon"),
    ("expired", [*TRUST, port("old")], 2, "certificate expired"),
    ("untrusted", ["--tls", "--ca-file", servers["good"][1], port("soon")], 2, "refused"),
    ("another-name", [*TRUST, "--server-name", "shop.example.com", port("good")], 2, "certificate is for another name"),
    ("chain-only", [*TRUST, "--server-name", "shop.example.com", "--verify", "chain", port("good")], 0, "verify: chain"),
    ("not-verified", ["--verify", "off", port("good")], 0, "not verified"),
    ("expires-soon-is-fine", [*TRUST, "--cert-warning", "3d", "--cert-critical", "1d", port("soon")], 0, "ok  localhost"),
    ("tcp-only", [port("old")], 0, "ok  localhost"),
    ("refused", [f"127.0.0.1:{closed}"], 2, "connection refused"),
    ("black-hole", ["--timeout", "300ms", "192.0.2.7:80"], 2, "connect timeout"),
    ("no-such-name", ["--timeout", "3s", "nowhere.invalid:80"], 2, ""),
    ("not-tls", ["--tls", "--timeout", "2s", f"127.0.0.1:{tcp.port}"], 2, "TLS"),
]:
    code, out, err = run(*words)
    ok(code == status and shown in out and err == "", f"exit-{name}", f"{code} instead of {status}\n{out}{err}")
code, out, err = run("--timeout", "5", port("good"))
ok(code == 3 and out == "" and "--timeout" in err, "exit-usage", f"{code} {out}{err}")

# ---- the page --------------------------------------------------------------------------------------------------------
for name, words in [("good", [*TRUST, port("good")]), ("bad", ["--tls", port("old")]),
                    ("refused", [f"127.0.0.1:{closed}"]), ("count", ["--count", "3", "--interval", "10ms", port("good")])]:
    piped = run(*words)[1]
    ok("\x1b" not in piped and all(c == "\n" or c.isprintable() for c in piped), f"pipe-is-plain-{name}", piped)
    shown = on_terminal(*words)
    wide = [line for line in shown.splitlines() + piped.splitlines() if columns(line) > 80]
    ok(not wide and "\x1b[" in shown, f"terminal-80-columns-{name}", "\n".join(wide) or shown)
ascii_page = run(*TRUST, port("good"), environment=dict(os.environ, LC_ALL="C"))[1]
ok(ascii_page.isascii() and "###" in ascii_page, "ascii-locale", ascii_page)
ok("█" in run(*TRUST, port("good"))[1], "utf8-locale")
quiet = on_terminal(*TRUST, port("good"), environment=dict(LOCALE, NO_COLOR="1"))
ok("\x1b" not in quiet, "no-color", quiet)

# ---- JSON, against openssl -------------------------------------------------------------------------------------------


def openssl(pem, *options):
    done = subprocess.run(["openssl", "x509", "-in", pem, "-noout", *options], capture_output=True, text=True)
    return done.stdout.strip().split("=", 1)[1]


for name in servers:
    code, out, err = run("--json", *TRUST, port(name))
    probe = json.loads(out)
    leaf = probe["certificates"][0]
    pem = servers[name][1]
    ok(leaf["serial"].upper() == openssl(pem, "-serial") and
       leaf["fingerprint"].upper() == openssl(pem, "-fingerprint", "-sha256").replace(":", "") and
       leaf["subject"] == openssl(pem, "-subject", "-nameopt", "RFC2253").strip() and
       leaf["issuer"] == openssl(pem, "-issuer", "-nameopt", "RFC2253").strip() and
       leaf["sans"] == ["DNS:localhost", "IP:127.0.0.1"] and leaf["days_left"] == CERTIFICATES[name][1] - 1,
       f"json-certificate-{name}", json.dumps(leaf))
    phases = probe["phases"]
    ok(abs(sum(v for k, v in phases.items() if k != "total") - phases["total"]) < 0.002 and
       set(phases) >= {"connect", "tls", "total"} and probe["tls"]["verified"] == (name != "old") and
       probe["bytes_received"] > 500 and probe["retransmits"] == 0 and probe["addresses"][-1]["address"] ==
       probe["address"] == f"127.0.0.1:{servers[name][0]}", f"json-probe-{name}", out)
code, out, err = run("--json", "--count", "3", "--interval", "20ms", port("good"))
many = json.loads(out)
totals = sorted(p["phases"]["total"] for p in many["probes"])
figures = many["summary"]["phases"]["total"]
ok(len(many["probes"]) == 3 == many["summary"]["sent"] and many["summary"]["loss_percent"] == 0 and
   [figures["min"], figures["p50"], figures["max"]] == totals, "json-count", out)


# ---- the plugin's line: an independent reading of the Monitoring Plugins guidelines -----------------------------------
def read_plugin(line):
    """status, text, {label: (value, unit, warning, critical, minimum, maximum)}; raises if it is not such a line."""
    assert line.endswith("\n") and line.count("\n") == 1 and line.count("|") <= 1, line
    text, _, numbers = line.rstrip("\n").partition("|")
    status = re.fullmatch(r"TCP (OK|WARNING|CRITICAL|UNKNOWN) - (.+)", text.strip())
    assert status, line
    number = r"-?[0-9]+(?:\.[0-9]+)?"
    bound = rf"(?:@?(?:(?:{number}|~)?:)?(?:{number})?)"
    found = {}
    for item in numbers.split():
        match = re.fullmatch(rf"('[^'=]+'|[^'=\s]+)=({number}|U)(s|ms|us|%|B|KB|MB|GB|TB|c)?"
                             rf"(?:;({bound})(?:;({bound})(?:;({number})?(?:;({number})?)?)?)?)?", item)
        assert match, f"{item} in {line}"
        found[match[1].strip("'")] = match.groups()[1:]
    return status[1], status[2], found


def alerts(value, bound):
    """Whether a value is outside of a range, by the guidelines."""
    if not bound:
        return False
    low, colon, high = bound.lstrip("@").rpartition(":")
    low = float("-inf") if low == "~" else float(low or 0)
    high = float(high) if high else float("inf")
    return (value < low or value > high) != bound.startswith("@")


for name, words, status in [("good", [*TRUST, port("good")], "OK"), ("soon", [*TRUST, port("soon")], "WARNING"),
                            ("old", [*TRUST, port("old")], "CRITICAL"), ("refused", [f"127.0.0.1:{closed}"], "CRITICAL"),
                            ("slow", ["--warning", "1ms", "--critical", "1h", "--timeout", "2s", "--expect", "never|x",
                                      f"127.0.0.1:{tcp.port}"], "CRITICAL"),
                            ("usage", ["--timeout", "5", port("good")], "UNKNOWN")]:
    code, out, err = run("--nagios", *words)
    try:
        said, text, numbers = read_plugin(out)
        good = said == status and code == ["OK", "WARNING", "CRITICAL", "UNKNOWN"].index(status) and err == ""
        if "cert_days" in numbers:
            value, _, warning, critical = numbers["cert_days"][:4]
            good = good and ("CRITICAL" if alerts(float(value), critical) else "WARNING" if alerts(
                float(value), warning) else "OK") == status
        if status != "UNKNOWN":
            good = good and numbers["time"][1] == "s" and float(numbers["time"][0]) <= float(numbers["time"][5]) + 0.1
    except AssertionError as failed:
        good = False
        err += f"\n{failed}"
    ok(good, f"plugin-{name}", f"{code}\n{out}{err}")

# ---- many, and Ctrl-C ------------------------------------------------------------------------------------------------
process = subprocess.Popen([os.path.join(BUILD, "portbell"), "probe", "--interval", "50ms", f"127.0.0.1:{tcp.port}"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=LOCALE)
lines = [process.stdout.readline() for _ in range(3)]
process.send_signal(signal.SIGINT)
rest = process.communicate(timeout=10)
ok(process.returncode == 0 and all(re.match(r" +[123]  ok +\d", line) for line in lines) and
   re.search(r": \d+ sent, 0 lost \(0\.0 %\)\nPHASE +MIN +AVG +P50 +P95 +P99 +MAX +DEVIATION\n", rest[0]),
   "interrupted-with-a-summary", f"{process.returncode} {lines} {rest}")

# ---- every address, and what was said on the way ---------------------------------------------------------------------
with open("/etc/hosts") as f:
    hosts = f.read()


def with_hosts(extra, *words):
    """Runs with lines of its own in /etc/hosts, in a mount namespace."""
    file = os.path.join(work, "hosts")
    with open(file, "w") as out:
        out.write(hosts + extra)
    command = ["unshare", "-m", "sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"', "sh", file,
               os.path.join(BUILD, "portbell"), "probe", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=LOCALE)
    return done.returncode, done.stdout, done.stderr


two = "127.0.0.9 two.example\n127.0.0.1 two.example\n"
code, out, err = with_hosts(two, "--json", f"two.example:{tcp.port}")
first = json.loads(out)["addresses"] if code in (0, 2) else []
code_all, out_all, err_all = with_hosts(two, "--all", "--json", f"two.example:{tcp.port}")
both = json.loads(out_all) if code_all in (0, 1, 2) else {"addresses": []}
ok(code == 0 and [(a["address"], a["reason"]) for a in first] ==
   [(f"127.0.0.9:{tcp.port}", "connect_refused"), (f"127.0.0.1:{tcp.port}", "ok")], "address-that-works", f"{out}{err}")
ok(code_all == 2 and sorted((a["address"], a["reason"]) for a in both["addresses"]) ==
   [(f"127.0.0.1:{tcp.port}", "ok"), (f"127.0.0.9:{tcp.port}", "connect_refused")], "all-addresses", f"{out_all}{err_all}")

# ---- the daemon probes a target of its own ---------------------------------------------------------------------------
daemon = harness.Daemon(os.path.join(work, "daemon"), f"""
defaults: {{interval: 1h}}
targets:
  - {{name: shop, address: "{port('soon')}", tls: {{ca_file: {ca.ca}}}}}
  - {{name: gone, address: "127.0.0.1:{closed}"}}
  - {{name: rests, address: "127.0.0.1:{closed}", paused: on}}
""").start()
daemon.wait_ready()
harness.wait_for(lambda: (daemon.target("shop") or {}).get("last_probe"))
before = daemon.target("shop")["last_probe"]["at"]
code, out, err = daemon.ask("--json", "probe", "shop")
probe = json.loads(out) if code == 1 else {}
ok(code == 1 and probe["target"] == "shop" and probe["at"] > before and probe["reason"] == "cert_expiring" and
   len(probe["certificates"]) == 1 and probe["tls"]["verified"], "name-through-the-daemon", f"{code} {out}{err}")
ok(daemon.target("shop")["last_probe"]["at"] == probe.get("at"), "name-counts-as-any-other", str(daemon.target("shop")))
code, out, err = daemon.ask("probe", "gone")
ok(code == 2 and "critical  gone  connection refused" in out, "name-that-is-down", f"{code} {out}{err}")
for name, said in [("nobody", 'no target is called "nobody"'), ("rests", "is paused")]:
    code, out, err = daemon.ask("probe", name)
    ok(code == 3 and out == "" and said in err, f"name-{name}", f"{code} {out}{err}")
ok(daemon.stop()[0] == 0, "daemon-stops")
code, out, err = daemon.ask("probe", "shop")
ok(code == 3 and "not running" in err, "name-without-a-daemon", f"{code} {out}{err}")

# ---- --trace: a login at a proxy is not shown, also where it is refused ------------------------------------------------
logins = []
socks = socket.create_server(("127.0.0.1", 0))


def refuse_login():
    peer, _ = socks.accept()
    with peer:
        peer.settimeout(5)
        peer.recv(100)
        peer.sendall(b"\x05\x02")
        logins.append(peer.recv(100))
        peer.sendall(b"\x01\x01")


thread = threading.Thread(target=refuse_login)
thread.start()
profiles = os.path.join(work, "profiles.yaml")
with open(os.path.join(work, "password"), "w") as f:
    f.write("geheim")
os.chmod(os.path.join(work, "password"), 0o600)
with open(profiles, "w") as f:
    f.write(f"profiles: {{way: {{proxy: 'socks5h://me@127.0.0.1:{socks.getsockname()[1]}', proxy_password_file: password}}}}\n")
os.chmod(profiles, 0o600)
code, out, err = run("--trace", "-c", profiles, "--profile", "way", "shop.example:25")
thread.join(10)
ok(code == 2 and logins == [b"\x01\x02me\x06geheim"] and "geheim" not in err + out and "bytes, hidden)" in err and
   "refuses the login" in out, "trace-hides-a-login", f"{logins}\n{out}{err}")
code, out, err = run("--trace", "--json", *TRUST, port("good"))
ok(code == 0 and json.loads(out)["level"] == "ok" and re.search(r"tls +> ClientHello, \d+ bytes\n", err) and
   re.search(r"tls +< Certificate, \d+ bytes\n", err), "trace-beside-json", err)

# ---- cheap ------------------------------------------------------------------------------------------------------------
if not SANITIZED:
    trace = os.path.join(work, "strace")
    subprocess.run(["strace", "-f", "-e", "trace=openat", "-o", trace, os.path.join(BUILD, "portbell"), "probe",
                    f"127.0.0.1:{tcp.port}"], capture_output=True, timeout=30)
    with open(trace) as f:
        opened = f.read()
    ok("ca-certificates" not in opened and "portbell.yaml" not in opened, "opens-no-more-than-it-needs", opened)

# ---- a good guest: the peer sees an orderly end ------------------------------------------------------------------------
listener = socket.create_server(("127.0.0.1", 0))
ends = []


def guest():
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(5)
        peer.sendall(b"220 hello\r\n")
        try:
            ends.append(peer.recv(100))
        except OSError as failed:
            ends.append(failed)


thread = threading.Thread(target=guest)
thread.start()
code, out, err = run("--expect", "^220", f"127.0.0.1:{listener.getsockname()[1]}")
thread.join(10)
ok(code == 0 and ends == [b""], "ends-in-order", f"{ends}\n{out}{err}")

harness.finish()
