#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Under a real systemd: install, start, reload with a good and a bad file, kill -9 in a storm, credentials, permissions,
stop, watchdog."""
import ctypes
import json
import os
import subprocess
import sys
import time

import harness
import storm
from harness import ok, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
harness.skip_if_sanitized("under systemd", "the unit's sandbox denies what a sanitizer needs")
if os.environ.get("PORTBELL_HOST") != "own":
    if os.geteuid() != 0:
        print("ok under systemd # SKIP needs root")
        sys.exit(0)
    os.environ["PORTBELL_HOST"] = "own"
    os.execv(os.path.join(HERE, "own_systemd.sh"), ["own_systemd.sh", "400", sys.executable, *sys.argv])


def run(*words, timeout=60):
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


def show(name):
    return run("systemctl", "show", "portbelld", "-P", name)[1].strip()


def journal(*matches):
    return run("journalctl", "-q", "--no-pager", "-u", "portbelld", *matches)[1]


def status():
    done = subprocess.run(["portbell", "--json", "status"], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout) if done.returncode in (0, 1) else None


CONFIG = "/etc/portbell/portbell.yaml"


def write(text):
    with open(CONFIG + ".new", "w") as f:
        f.write(text)
    os.chmod(f.name, 0o640)
    run("chgrp", "portbell", f.name)
    os.rename(f.name, CONFIG)


# Install ---------------------------------------------------------------------------------------------------------------
code, out = run("make", "-s", "-C", harness.BUILD, "install", timeout=300)
ok(code == 0, "make install", out)
ok(run("systemd-sysusers")[0] == 0 and run("id", "portbell")[0] == 0, "the user exists")
code, out = run("systemd-tmpfiles", "--create", "portbell.conf")
ok(code == 0 and run("runuser", "-u", "portbell", "--", "test", "-r", CONFIG)[0] == 0, "it can read the configuration", out)
run("systemctl", "daemon-reload")
unit = run("systemctl", "show", "portbelld", "-P", "FragmentPath")[1].strip()
code, out = run("systemd-analyze", "verify", "--man=no", unit)
ok(code == 0 and not out.strip(), "systemd-analyze verify", out)
code, out = run("systemd-analyze", "security", "--offline=true", "--threshold=12", unit)
ok(code == 0, "systemd-analyze security: 1.2 or better", out.splitlines()[-1])

# Start -----------------------------------------------------------------------------------------------------------------
weather = storm.Storm(7)
hook = harness.WebhookReceiver()
server = harness.TcpServer()
with open("/etc/portbell/hook-secret", "w") as f:
    f.write("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=" + "\n")
os.chmod(f.name, 0o600)
os.makedirs("/etc/systemd/system/portbelld.service.d", exist_ok=True)
with open("/etc/systemd/system/portbelld.service.d/secrets.conf", "w") as f:
    f.write("[Service]\nLoadCredential=hook-secret:/etc/portbell/hook-secret\n")
run("systemctl", "daemon-reload")
stormy = weather.config(hook.port).replace("rate: off,", "rate: off, signing_secret_credential: hook-secret,")
one = f'  - {{name: one, address: "127.0.0.1:{server.port}", interval: 1s, timeout: 800ms, alert: {{after: 1, recover: 1}}}}\n'
good = stormy.replace("targets:\n", "targets:\n" + one, 1)
write(good)
code, out = run("systemctl", "start", "portbelld")
ok(code == 0 and show("ActiveState") == "active", "systemctl start", out + journal())
ok(show("User") == "portbell" and os.stat("/var/lib/portbell/state.db").st_uid != 0, "it runs as portbell")
ok(wait_for(lambda: "101 targets, 0 down" in show("StatusText"), 15), "STATUS has counts", show("StatusText"))
code, out = run("portbell", "status")
ok(code == 0 and len(out.splitlines()) == 101, "portbell status: all well", out[-500:])
code, out = run("runuser", "-u", "nobody", "--", "portbell", "status")
ok(code == 4 and "portbell" in out, "others have no permission: exit 4", f"{code} {out}")

# One outage, in the journal with its fields -------------------------------------------------------------------------------
server.stop()
ok(wait_for(lambda: any(a["labels"]["target"] == "one" for b in hook.bodies() for a in b["alerts"]), 15),
   "an outage is told", journal("-n", "20"))
lines = [json.loads(line) for line in run("journalctl", "-o", "json", "PORTBELL_TARGET=one")[1].splitlines()]
ok(lines and lines[0]["PORTBELL_REASON"] == "connect_refused" and lines[0]["PORTBELL_LEVEL"] == "critical" and
   lines[0]["PORTBELL_CHECK"] == "availability" and int(lines[0]["PORTBELL_INCIDENT"]) > 0 and "MESSAGE_ID" in lines[0],
   "the journal has its fields", lines[:1])

# Reload ------------------------------------------------------------------------------------------------------------------
write(good + "x-note: only a note\n")
code, out = run("systemctl", "reload", "portbelld")
ok(code == 0 and status()["generation"] == 2, "systemctl reload takes a good file", out)
write(good.replace("interval: 1s", "intervall: 1s").replace("type: webhook", "type: webhok"))
code, out = run("systemctl", "reload", "portbelld")
ok(code != 0, "systemctl reload refuses a bad one", out)
ok("intervall: unknown key (did you mean \"interval\"?)" in journal(), "the mistakes are in the journal",
   journal("-n", "20"))
ok(show("ActiveState") == "active" and status()["generation"] == 2 and status()["counts"]["targets"] == 101,
   "the old configuration runs on")
ok(wait_for(lambda: "refused" in show("StatusText"), 10), "STATUS says so", show("StatusText"))
ok(any(s["reason"] == "config_refused" for s in status()["self"]), "a self incident says so", status()["self"])
write(good)
code, out = run("portbell", "reload")
ok(code == 0 and not status()["self"], "a good file ends it", out)
before = len(hook.requests)
pid = int(show("MainPID"))
for _ in range(5):
    os.kill(pid, 1)
    time.sleep(0.2)
ok(wait_for(lambda: status()["generation"] >= 4, 10) and int(show("MainPID")) == pid, "SIGHUP reloads")
server.start()

# kill -9 in a storm --------------------------------------------------------------------------------------------------------
weather.blowing = True
time.sleep(3)
kills = []
for _ in range(5):
    pid = int(show("MainPID"))
    kills.append(time.time())
    os.kill(pid, 9)
    ok(wait_for(lambda: show("ActiveState") == "active" and int(show("MainPID")) not in (0, pid), 15),
       "systemd restarts it after kill -9")
    time.sleep(2)
weather.blowing = False
calm = wait_for(lambda: run("portbell", "status")[0] == 0 and status()["messages_waiting"] == 0, 60, 0.5)
ok(calm, "all is up and told", run("portbell", "status", "--failing")[1])

# Stop ----------------------------------------------------------------------------------------------------------------------
begin = time.monotonic()
code, out = run("systemctl", "stop", "portbelld")
ok(code == 0 and time.monotonic() - begin < 5 and show("Result") == "success", "systemctl stop within 5 s",
   f"{time.monotonic() - begin:.1f} s {show('Result')}")
ok(run("portbell", "status")[0] == 3, "portbell status: exit 3 when it does not run")
os.makedirs("/tmp/books", exist_ok=True)
run("cp", "-r", "/var/lib/portbell", "/tmp/books/state")
storm.check_books("/tmp/books", hook, kills, 4)
run("rm", "-rf", "/tmp/books")

# Watchdog --------------------------------------------------------------------------------------------------------------------
with open("/etc/systemd/system/portbelld.service.d/watchdog.conf", "w") as f:
    f.write("[Service]\nWatchdogSec=5\n")
run("systemctl", "daemon-reload")
run("systemctl", "start", "portbelld")
pid = int(show("MainPID"))
time.sleep(7)
ok(int(show("MainPID")) == pid, "the watchdog is fed")
threads = {open(f"/proc/{pid}/task/{t}/comm").read().strip(): int(t) for t in os.listdir(f"/proc/{pid}/task")}
prober = next((tid for name, tid in threads.items() if name.startswith("prober")), None)
ok(prober, "the prober threads have names", threads)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, INTERRUPT = 0x4206, 0x4207
ok(libc.ptrace(SEIZE, prober, None, None) == 0 and libc.ptrace(INTERRUPT, prober, None, None) == 0,
   "a prober thread is stopped")


def reap():
    """A traced thread that was killed stays until its tracer has waited for it."""
    try:
        os.waitpid(prober, os.WNOHANG | 0x40000000)  # __WALL
    except ChildProcessError:
        pass
    return int(show("MainPID")) not in (0, pid) and show("ActiveState") == "active"


begin = time.monotonic()
ok(wait_for(reap, 30, 0.2) and int(show("NRestarts")) >= 1, f"the watchdog restarts it ({time.monotonic() - begin:.0f} s)",
   show("NRestarts") + journal("-n", "20"))
run("systemctl", "stop", "portbelld")
harness.finish()
