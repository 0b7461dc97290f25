#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Restarts and reloads are silent, and what changed meanwhile is told once: recovered, went down, no longer watched."""
import json
import os
import signal
import time

import harness
from harness import ok, wait_for

harness.own_network()
work = harness.work_directory("restart")
ca = harness.Authority(os.path.join(work, "ca"))
expired = harness.SlowTls(*ca.issue("expired", -90, -1))
servers = {name: harness.TcpServer() for name in ("a", "b", "c", "d", "e", "f")}
hook = harness.WebhookReceiver()


def config(names, extra="", target_extra=None):
    targets = "".join(f'  - {{name: {n}, address: "127.0.0.1:{servers[n].port}"'
                      f'{(target_extra or {}).get(n, "")}}}\n' for n in names)
    return f"""
defaults: {{interval: 1s, timeout: 800ms, alert: {{after: 2, recover: 2, recheck: 1s}}, group: web, labels: {{team: core}}}}
targets:
{targets}
senders:
  hook: {{type: webhook, url: "http://127.0.0.1:{hook.port}/", rate: off}}
routes:
  - {{send_to: [hook], group_by: [target], group_wait: 100ms, remind: off}}
{extra}"""


def told(target):
    """What was told of a target, in order: f firing, r resolved."""
    return "".join(alert["status"][0] for body in hook.bodies() for alert in body["alerts"]
                   if alert["labels"]["target"] == target)


def alert(target, status):
    return next((a for body in hook.bodies() for a in body["alerts"]
                 if a["labels"]["target"] == target and a["status"] == status), None)


def settled():
    status = daemon.status()
    return status and status["counts"]["pending"] == 0 and status["messages_waiting"] == 0


everyone = list(servers)
daemon = harness.Daemon(work, config(everyone))
daemon.start()
ok(daemon.wait_ready(), "it starts", daemon.log())
ok(wait_for(lambda: daemon.status()["counts"]["ok"] == 6, 15), "all are up", daemon.ask("status")[1])
for name in ("a", "b", "e"):
    servers[name].stop()
ok(wait_for(lambda: told("a") == told("b") == told("e") == "f", 15), "three are down, told once", hook.bodies())

# Restarts, gentle and not.
for round_ in range(6):
    if round_ % 2:
        daemon.kill()
    else:
        status, seconds = daemon.stop()
        ok(status == 0 and seconds < 5, f"stops in {seconds:.1f} s")
    daemon.start()
    daemon.wait_ready()
    wait_for(lambda: (daemon.target("a")["last_probe"] or {}).get("at"), 10)
    time.sleep(1.5)
ok([told(n) for n in everyone] == ["f", "f", "", "", "f", ""], "six restarts tell nothing", [told(n) for n in everyone])
ok(daemon.target("a")["level"] == "critical" and daemon.target("a")["incident"], "levels and incidents are kept",
   daemon.target("a"))

# What happened while it did not run.
daemon.stop()
servers["a"].start()
servers["c"].stop()
daemon.write(config([n for n in everyone if n != "e"]))
daemon.start()
ok(wait_for(lambda: told("a") == "fr", 15), "recovered while stopped: one recovery", told("a"))
ok(wait_for(lambda: told("c") == "f", 15), "went down while stopped: one problem", told("c"))
ok(wait_for(lambda: told("e") == "fr", 15), "removed while stopped: one word that it is no longer watched", told("e"))
ok(alert("e", "firing")["fingerprint"] == alert("e", "resolved")["fingerprint"] and
   "no longer watched" in str(alert("e", "resolved")["annotations"]), "it closes the alert that it opened",
   [alert("e", "firing"), alert("e", "resolved")])

# What was removed and comes back is found and told anew; what is no longer judged is ended.
daemon.stop()
TLS = f'  - {{name: tls, address: "127.0.0.1:{expired.port}", tls: {{ca_file: ca/ca.pem, server_name: localhost}}}}\n'
daemon.write(config(everyone).replace("senders:", TLS + "senders:", 1))
daemon.start()
ok(wait_for(lambda: told("e") == "frf", 15), "watched again and still down: told again", told("e"))
ok(wait_for(lambda: told("tls") == "f", 15), "an expired certificate is told", told("tls"))
daemon.stop()
daemon.write(config([n for n in everyone if n != "e"]).replace(
    "senders:", f'  - {{name: tls, address: "127.0.0.1:{expired.port}"}}\nsenders:', 1))
daemon.start()
ok(wait_for(lambda: told("tls") == "fr", 15), "a check that was taken away while stopped is ended", told("tls"))
ok(wait_for(lambda: daemon.target("tls") and daemon.target("tls")["level"] == "ok", 5), "and its level with it",
   daemon.target("tls"))
ok(wait_for(lambda: told("e") == "frfr", 15), "e is no longer watched", told("e"))
daemon.write(config([n for n in everyone if n != "e"]))
ok(daemon.ask("reload")[0] == 0, "tls is taken away")

# A sender that fails and is removed while it is asked takes nobody down.
hanging = harness.WebhookReceiver(answer=lambda n: time.sleep(1) or 500)
stubborn = config([n for n in everyone if n != "e"]).replace(
    "senders:", f'senders:\n  bad: {{type: webhook, url: "http://127.0.0.1:{hanging.port}/", rate: off}}', 1).replace(
    "[hook]", "[hook, bad]", 1)
daemon.write(stubborn)
ok(daemon.ask("reload")[0] == 0, "a sender that fails joins", daemon.log()[-2000:])
servers["d"].stop()
ok(wait_for(lambda: told("d") == "f", 15), "d is down", told("d"))
for _ in range(6):
    waiting = json.loads(daemon.ask("--json", "outbox")[1])["messages"]
    if waiting:
        daemon.ask("outbox", "--retry", waiting[0]["id"])
    time.sleep(0.3 if len(hanging.requests) >= 5 else 1.3)
daemon.write(config([n for n in everyone if n != "e"]))
ok(daemon.ask("reload")[0] == 0, "it leaves while it is asked")
servers["d"].start()
ok(wait_for(lambda: told("d") == "fr", 15) and daemon.running(), "the daemon lives on", daemon.log()[-2000:])

# Reloads.
for _ in range(5):
    code, out, err = daemon.ask("reload")
    ok(code == 0, "reload of the same file", out + err)
since = daemon.target("b")["since"]
generation = daemon.status()["generation"]
daemon.write("targets: [nonsense\n")
code, out, err = daemon.ask("reload")
ok(code == 1 and "portbell.yaml:" in err, "a bad file is refused with its mistakes", out + err)
daemon.process.send_signal(signal.SIGHUP)
ok(wait_for(lambda: daemon.log().count("reload refused") >= 2, 10), "SIGHUP with a bad file is refused as well")
status = daemon.status()
ok(status["generation"] == generation and status["counts"]["targets"] == 5 and status["config_error"], "nothing changed",
   status["config_error"])
ok(daemon.target("b")["since"] == since, "what was down is down since then")
ok(wait_for(lambda: told("portbell") == "f", 10), "one self incident: config_refused", told("portbell"))

daemon.write(config(["a", "c", "d", "f"], target_extra={"c": ", labels: {team: moved}", "d": ", paused: true"}))
code, out, err = daemon.ask("--json", "reload")
ok(code == 0 and '"removed":1' in out.replace(" ", "") and '"changed":2' in out.replace(" ", ""),
   "a good file is applied as a whole", out + err)
ok(wait_for(lambda: told("b") == "fr", 10), "removed while down: one word", told("b"))
ok(wait_for(lambda: told("portbell") == "fr", 10), "the self incident ends", told("portbell"))
servers["c"].start()
ok(wait_for(lambda: told("c") == "fr", 15), "a changed target recovers", told("c"))
ok(alert("c", "firing")["fingerprint"] == alert("c", "resolved")["fingerprint"] and
   alert("c", "resolved")["labels"]["team"] == "core", "with the labels it had when it went down",
   alert("c", "resolved"))
servers["d"].stop()
time.sleep(3)
ok(told("d") == "fr" and daemon.target("d")["state"] == "paused", "a paused target is not probed", daemon.target("d"))

# Another address starts anew; what was open stays open until it is judged.
servers["f"].stop()
ok(wait_for(lambda: told("f") == "f", 15), "f is down", told("f"))
servers["f"] = harness.TcpServer()
daemon.write(config(["a", "c", "d", "f"], target_extra={"c": ", labels: {team: moved}", "d": ", paused: true"}))
ok(daemon.ask("reload")[0] == 0, "f has another address")
ok(wait_for(lambda: told("f") == "fr", 15), "and is well there", told("f"))
time.sleep(1)
ok([told(n) for n in everyone] == ["fr", "fr", "fr", "fr", "frfr", "fr"] and told("portbell") == "fr", "nothing more was told",
   [told(n) for n in everyone] + [told("portbell")])
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s", f"{status} {seconds:.1f}")
harness.finish()
