#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The main job with real parts: nginx, TCP servers, a black hole, DNS; mail over SMTP with STARTTLS and AUTH, signed
webhooks. Each outage gives one problem and one recovery in each, with the right reason, in time."""
import base64
import json
import os
import re
import socket
import subprocess
import time

import harness
from harness import ok, wait_for

modules = harness.node_modules("standardwebhooks@1.0.0")  # before the network is gone
harness.own_network()

work = harness.work_directory("main")
ca = harness.Authority(os.path.join(work, "ca"))
good = ca.issue("good", -10, 80)
ending = ca.issue("ending", -85, 5)
ended = ca.issue("ended", -90, -1)
http_ports = {name: harness.free_port() for name in ("good", "ending", "ended")}
nginx = harness.Nginx(os.path.join(work, "nginx"),
                      [(http_ports["good"], *good), (http_ports["ending"], *ending), (http_ports["ended"], *ended)])
stable = harness.TcpServer()
flaky = harness.TcpServer()
slow = harness.SlowTls(*good)
dns = harness.Dns({"stable.test": "127.0.0.1"})
hook = harness.WebhookReceiver()
mail = harness.MailServer(*ca.issue("mail", -1, 30), "portbell", "s3cret-canary-password")
secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()

for name, text in (("smtp-password", "s3cret-canary-password\n"), ("hook-secret", secret + "\n")):
    with open(os.path.join(work, name), "w") as f:
        f.write(text)
    os.chmod(f.name, 0o600)

INTERVAL, TIMEOUT, RECHECK, AFTER, GROUP_WAIT = 2, 1.5, 1, 2, 1
config = f"""
location: scenario
resolver: {{servers: ["127.0.0.1:{dns.port}"]}}
defaults:
  interval: {INTERVAL}s
  timeout: 1500ms
  alert: {{after: {AFTER}, recover: 2, recheck: {RECHECK}s}}
profiles:
  tls: {{tls: {{ca_file: ca/ca.pem, server_name: localhost}}, group: web}}
targets:
  - {{name: stable, address: "stable.test:{stable.port}"}}
  - {{name: flaky, address: "127.0.0.1:{flaky.port}", labels: {{team: core}}, runbook: "https://wiki.example/flaky",
     description: "Ünïcödé front door"}}
  - {{name: hole, address: "192.0.2.7:80"}}
  - {{name: ghost, address: "ghost.test:{stable.port}"}}
  - {{name: good, address: "127.0.0.1:{http_ports['good']}", profile: tls}}
  - {{name: ending, address: "127.0.0.1:{http_ports['ending']}", profile: tls}}
  - {{name: ended, address: "127.0.0.1:{http_ports['ended']}", profile: tls}}
  - {{name: slow, address: "127.0.0.1:{slow.port}", profile: tls, latency: {{warning: 250ms, after: 3}}}}
senders:
  mail:
    type: email
    server: smtp://127.0.0.1:{mail.port}
    starttls: required
    ca_file: ca/ca.pem
    username: portbell
    password_file: smtp-password
    from: "Portbell <portbell@example.com>"
    to: [ops@example.com, "Zweite Ops <ops2@example.com>"]
    rate: 1000/m
  hook: {{type: webhook, url: "http://127.0.0.1:{hook.port}/hook?token=canary-url-token", signing_secret_file: hook-secret, rate: 1000/m}}
routes:
  - {{send_to: [mail, hook], group_by: [target, check], group_wait: {GROUP_WAIT}s}}
"""
daemon = harness.Daemon(work, config)


def bound(t):
    return INTERVAL + AFTER * t + (AFTER - 1) * RECHECK + GROUP_WAIT + 2


def mails_of(target, kind):
    """Mails about a target: kind is "problem" or "recovered"."""
    found = []
    for entry in list(mail.mails):
        subject = entry["message"]["Subject"]
        if entry["message"]["X-Portbell-Target"] == target and subject.startswith("[OK]") == (kind == "recovered"):
            found.append(entry)
    return found


def alerts_of(target, status):
    return [(body, alert) for body in hook.bodies() for alert in body["alerts"]
            if alert["labels"]["target"] == target and alert["status"] == status]


def expect_problem(target, reason, began, within, words):
    arrived = wait_for(lambda: mails_of(target, "problem") and alerts_of(target, "firing"), within + 10)
    ok(arrived, f"{target}: a problem is told", daemon.log())
    if not arrived:
        return
    late = max(mails_of(target, "problem")[0]["at"], alerts_time(target)) - began
    ok(late <= within, f"{target}: within the bound of {within} s", f"{late:.2f} s")
    message = mails_of(target, "problem")[0]["message"]
    ok(words in message["Subject"], f"{target}: the subject says it", message["Subject"])
    text = message.get_body(("plain",)).get_content()
    ok(reason in text, f"{target}: the mail has the reason {reason}", text)
    _, alert = alerts_of(target, "firing")[0]
    ok(alert["annotations"]["reason"] == reason, f"{target}: the webhook has the reason", json.dumps(alert))


def alerts_time(target):
    with hook.lock:
        for request in hook.requests:
            if any(a["labels"]["target"] == target for a in json.loads(request["body"])["alerts"]):
                return request["at"]
    return 0


def expect_recovery(target):
    arrived = wait_for(lambda: mails_of(target, "recovered") and alerts_of(target, "resolved"), 40)
    ok(arrived, f"{target}: a recovery is told", daemon.log())


began = time.time()
daemon.start()
ok(daemon.wait_ready(), "the daemon answers", daemon.log())

# Down from the start.
expect_problem("hole", "connect_timeout", began, bound(TIMEOUT), "timeout")
expect_problem("ghost", "dns_not_found", began, bound(0.2), "")
expect_problem("ended", "cert_expired", began, bound(0.2), "expired")
expect_problem("ending", "cert_expiring", began, bound(0.2), "expires in")

# A server stops, another becomes slow.
ok(wait_for(lambda: (daemon.target("flaky") or {}).get("state") == "active"), "flaky is up first")
began = time.time()
flaky.stop()
slow.delay = 0.4
expect_problem("flaky", "connect_refused", began, bound(0.1), "refused")
ok(wait_for(lambda: mails_of("slow", "problem") and alerts_of("slow", "firing"), 30), "slow: a problem is told",
   daemon.log())
if alerts_of("slow", "firing"):
    ok(alerts_of("slow", "firing")[0][1]["annotations"]["reason"] == "latency_high", "slow: latency_high")
    ok(mails_of("slow", "problem")[0]["message"]["Subject"].startswith("[WARNING] slow:"), "slow: a warning",
       mails_of("slow", "problem")[0]["message"]["Subject"])

code, out, err = daemon.ask("status")
ok(code == 1 and out.splitlines()[0].split("\t")[1] == "critical", "status: exit 1, worst first", out + err)
ok(daemon.target("ending")["certificate_days"] == 4, "status: certificate days", daemon.target("ending"))
latency = daemon.target("stable")["latency"]
ok(latency is not None and 0 < latency < 1, "status: latency in seconds", latency)

# All is well again.
flaky.start()
slow.delay = 0
dns.names["ghost.test"] = "127.0.0.1"
nginx.stop()
nginx = harness.Nginx(os.path.join(work, "nginx"), [(port, *good) for port in http_ports.values()])
subprocess.run(["ip", "addr", "add", "192.0.2.7/32", "dev", "lo"], check=True)
hole = socket.create_server(("192.0.2.7", 80), backlog=64)
for target in ("flaky", "slow", "ghost", "hole", "ended", "ending"):
    expect_recovery(target)
ok(wait_for(lambda: daemon.ask("status")[0] == 0, 15), "status: exit 0 when all is well", daemon.ask("status")[1])
time.sleep(GROUP_WAIT + 2)  # what should not come would have come

DOWN = ("hole", "ghost", "ended", "ending", "flaky", "slow")
for target in DOWN:
    ok(len(mails_of(target, "problem")) == 1 and len(mails_of(target, "recovered")) == 1,
       f"{target}: one problem and one recovery by mail", [m["message"]["Subject"] for m in mail.mails])
    ok(len(alerts_of(target, "firing")) == 1 and len(alerts_of(target, "resolved")) == 1,
       f"{target}: one problem and one recovery by webhook", json.dumps(hook.bodies(), indent=1))
others = [m["message"]["Subject"] for m in mail.mails if m["message"]["X-Portbell-Target"] not in DOWN]
ok(not others, "nobody else is told of", others)

# Mails, as an independent parser reads them.
ids = [m["message"]["Message-ID"] for m in mail.mails]
ok(len(set(ids)) == len(ids) and all(re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", i) for i in ids), "mail: Message-IDs", ids)
ok(all(m["tls"] and m["user"] == "portbell" for m in mail.mails), "mail: STARTTLS and AUTH were used")
ok(all(m["to"] == ["ops@example.com", "ops2@example.com"] for m in mail.mails), "mail: both recipients")
for entry in mail.mails:
    message = entry["message"]
    kinds = [part.get_content_type() for part in message.iter_parts()]
    if message.defects or message.get_content_type() != "multipart/alternative" or kinds[0] != "text/plain" or \
            message["Auto-Submitted"] != "auto-generated" or not message["Date"] or not message["List-Id"] or \
            any(len(line) > 998 for line in entry["raw"].split(b"\r\n")):
        ok(False, "mail: well formed", entry["raw"].decode(errors="replace"))
        break
else:
    ok(True, "mail: well formed, multipart/alternative, text first")
for target in DOWN:
    if mails_of(target, "problem") and mails_of(target, "recovered"):
        problem, recovery = mails_of(target, "problem")[0]["message"], mails_of(target, "recovered")[0]["message"]
        ok(recovery["In-Reply-To"] == problem["Message-ID"] and problem["Message-ID"] in recovery["References"],
           f"{target}: the recovery threads under the problem", recovery["In-Reply-To"])
flaky_text = mails_of("flaky", "problem")[0]["message"].get_body(("plain",)).get_content()
ok("Ünïcödé front door" in flaky_text and "https://wiki.example/flaky" in flaky_text,
   "mail: description and runbook", flaky_text)

# Webhooks: the shape of Alertmanager's version 4, and signatures by somebody else's library.
TOP = {"version": str, "groupKey": str, "status": str, "receiver": str, "groupLabels": dict, "commonLabels": dict,
       "commonAnnotations": dict, "externalURL": str, "truncatedAlerts": int, "alerts": list}
ALERT = {"status": str, "labels": dict, "annotations": dict, "startsAt": str, "endsAt": str, "generatorURL": str,
         "fingerprint": str}
wrong = []
for body in hook.bodies():
    wrong += [f"{key} is {body.get(key)!r}" for key, kind in TOP.items() if not isinstance(body.get(key), kind)]
    wrong += [f"{key} is {alert.get(key)!r}" for alert in body["alerts"] for key, kind in ALERT.items()
              if not isinstance(alert.get(key), kind)]
    wrong += [f"label {k}={v!r}" for a in body["alerts"] for k, v in a["labels"].items() if not isinstance(v, str)]
    if body["version"] != "4" or body["receiver"] != "hook" or not isinstance(body.get("portbell"), dict):
        wrong.append(json.dumps(body))
ok(not wrong, "webhook: Alertmanager's version 4", "\n".join(wrong[:5]))
for target in DOWN:
    if alerts_of(target, "firing") and alerts_of(target, "resolved"):
        (first, firing), (last, resolved) = alerts_of(target, "firing")[0], alerts_of(target, "resolved")[0]
        ok(first["groupKey"] == last["groupKey"] and firing["fingerprint"] == resolved["fingerprint"] and
           firing["labels"] == resolved["labels"] and firing["startsAt"] == resolved["startsAt"] and
           firing["endsAt"].startswith("0001-01-01T") and resolved["endsAt"] >= resolved["startsAt"],
           f"{target}: the webhook resolves what it fired", json.dumps([firing, resolved], indent=1))
labels = alerts_of("flaky", "firing")[0][1]["labels"]
ok(labels["alertname"] == "PortbellAvailability" and labels["severity"] == "critical" and labels["team"] == "core" and
   labels["check"] == "availability" and labels["instance"] == f"127.0.0.1:{flaky.port}", "webhook: labels", labels)

lines = "".join(json.dumps({
    "secret": secret, "body": base64.b64encode(r["body"]).decode(),
    "headers": {k.lower(): v for k, v in r["headers"].items() if k.lower().startswith("webhook-")}}) + "\n"
    for r in hook.requests)
done = subprocess.run(["node", os.path.join(os.path.dirname(os.path.abspath(__file__)), "webhook_verify.js")],
                      input=lines, capture_output=True, text=True, env=dict(os.environ, NODE_PATH=modules))
ok(done.returncode == 0, f"webhook: signatures verify ({done.stdout.strip()})", done.stdout + done.stderr)

# Secrets and the end.
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s with status 0", f"{status} after {seconds:.1f} s")
everything = daemon.log().encode() + b"".join(m["raw"] for m in mail.mails)
for name in os.listdir(os.path.join(work, "state")):
    with open(os.path.join(work, "state", name), "rb") as f:
        everything += f.read()
found = [c for c in ("s3cret-canary-password", "canary-url-token", secret[6:]) if c.encode() in everything]
ok(not found, "no secret in log, mail or database", found)
nginx.stop()
harness.finish()
