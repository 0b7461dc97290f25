#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Authorities are asked whether certificates were revoked: by their list, and by OCSP; one fetch for all who share a URL."""
import datetime
import http.server
import os
import subprocess
import threading

import harness
from harness import ok, wait_for

harness.own_network()
work = harness.work_directory("revocation")
ca = harness.Authority(os.path.join(work, "ca"))
cnf = os.path.join(ca.directory, "ca.cnf")
hook = harness.WebhookReceiver()


def openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


class Lists:
    """The authority's web server: files by their path, and how often each was fetched."""

    def __init__(self):
        lists = self
        self.pages, self.counts, self.lock = {}, {}, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with lists.lock:
                    lists.counts[self.path] = lists.counts.get(self.path, 0) + 1
                    body = lists.pages.get(self.path)
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def make_list(begins_s, ends_s):
    """A list of what is revoked now, that holds from begins_s to ends_s from now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp = lambda s: (now + datetime.timedelta(seconds=s)).strftime("%Y%m%d%H%M%SZ")
    out = os.path.join(work, "list.pem")
    openssl("ca", "-config", cnf, "-cert", ca.ca, "-keyfile", ca.key, "-gencrl", "-crl_lastupdate", stamp(begins_s),
            "-crl_nextupdate", stamp(ends_s), "-out", out)
    return openssl("crl", "-in", out, "-outform", "DER")


def revoke(pem):
    openssl("ca", "-config", cnf, "-cert", ca.ca, "-keyfile", ca.key, "-revoke", pem, "-crl_reason", "keyCompromise")


responder = None


def respond():
    """openssl's own responder on its port; it reads what is revoked when it starts."""
    global responder
    responder = subprocess.Popen(
        ["openssl", "ocsp", "-index", os.path.join(ca.directory, "index.txt"), "-CA", ca.ca, "-rsigner", ca.ca, "-rkey",
         ca.key, "-port", str(ocsp_port), "-nmin", "600"],
        stdout=subprocess.DEVNULL, stderr=open(os.path.join(work, "ocsp.err"), "a"), start_new_session=True)
    # A connection that says nothing would make it hang.
    return wait_for(lambda: subprocess.run(
        ["openssl", "ocsp", "-issuer", ca.ca, "-cert", certificates["ocsp"][0], "-no_nonce", "-CAfile", ca.ca, "-url",
         f"http://127.0.0.1:{ocsp_port}/"], capture_output=True).returncode == 0, 10)


def stop_responding():
    responder.terminate()
    responder.wait(10)


lists = Lists()
ocsp_port = harness.free_port()


def issue(name, page="/ca.crl", ocsp=True):
    more = ["authorityInfoAccess=OCSP;URI:http://127.0.0.1:%d/" % ocsp_port] if ocsp else []
    more += ["crlDistributionPoints=URI:http://127.0.0.1:%d%s" % (lists.port, page)] if page else []
    return ca.issue(name, -1, 300, extensions=more)


certificates = {
    "crl": issue("crl"), "shared": issue("shared"), "ocsp": issue("ocsp"), "ocsp-good": issue("ocsp-good"),
    "old": issue("old", "/old.crl"), "lost": issue("lost", "/lost.crl"), "bare": issue("bare", None, False),
}
ports = {name: harness.free_port() for name in certificates}
nginx = harness.Nginx(os.path.join(work, "nginx"), [(ports[name], *certificates[name]) for name in certificates])

# Many targets share a list, and some a certificate.
asked = {
    "crl": ("crl", "crl, revocation_private: on"),
    "ocsp": ("ocsp", "ocsp, revocation_private: on"),
    "ocsp-good": ("ocsp-good", "ocsp, revocation_private: on"),
    "private": ("shared", "crl"),
    "private-ocsp": ("ocsp-good", "ocsp"),
    "bare": ("bare", "crl, revocation_private: on"),
    "bare-ocsp": ("bare", "ocsp, revocation_private: on"),
    "old": ("old", "crl, revocation_private: on"),
    "lost": ("lost", "crl, revocation_private: on"),
    "off": ("crl", "off"),
}
asked.update({f"shared-{i}": ("shared", "crl, revocation_private: on") for i in range(20)})


def config(interval="1s"):
    text = ("daemon: {log_level: debug}\n"
            f"defaults: {{interval: {interval}, tls: {{ca_file: {ca.ca}}}, alert: {{after: 1, recheck: 500ms}}}}\n"
            f"senders:\n  hook: {{type: webhook, rate: off, url: 'http://127.0.0.1:{hook.port}/'}}\n"
            "routes:\n  - {send_to: hook, group_wait: 0s, group_by: [target]}\ntargets:\n")
    for name, (server, how) in asked.items():
        text += (f"  - {{name: {name}, address: 'localhost:{ports[server]}', resolve: 127.0.0.1,"
                 f" certificate: {{revocation: {how}}}}}\n")
    return text


def alerts(target):
    return [a for body in hook.bodies() for a in body["alerts"] if a["labels"].get("target") == target]


def firing(target, reason):
    return next((a for a in alerts(target) if a["status"] == "firing" and a["annotations"]["reason"] == reason), None)


def level(name):
    return (daemon.target(name) or {}).get("level")


def probed(name):
    return (daemon.target(name) or {}).get("last_probe") is not None


def restart():
    daemon.stop()
    daemon.start()
    daemon.wait_ready()


# While all is well.
lists.pages["/ca.crl"] = make_list(-60, 7200)
lists.pages["/old.crl"] = lists.pages["/ca.crl"]
ok(respond(), "openssl's responder answers", open(os.path.join(work, "ocsp.err")).read())
daemon = harness.Daemon(os.path.join(work, "daemon"), config()).start()
ok(daemon.wait_ready(), "portbelld is ready", daemon.log())
expected = {
    "private": "127.0.0.1: private, loopback and link-local addresses are not connected to "
               "(certificate.revocation_private)",
    "private-ocsp": "127.0.0.1: private, loopback and link-local addresses are not connected to "
                    "(certificate.revocation_private)",
    "bare": "the certificate names no list (CRL distribution point)",
    "bare-ocsp": "the certificate names no OCSP responder (over http)",
    "lost": "127.0.0.1: answered 404",
}
for target, text in expected.items():
    alert = wait_for(lambda target=target: firing(target, "cert_revocation_unknown"), 20)
    ok(alert and alert["labels"]["severity"] == "warning" and text in alert["annotations"]["description"],
       f"{target}: a warning: {text}", alert or daemon.log())
good = [name for name in asked if name not in expected]
answered = [f"revocation: http://127.0.0.1:{lists.port}{page}: answered" for page in ("/ca.crl", "/old.crl")]
answered += [f"revocation: http://127.0.0.1:{ocsp_port}/: answered"] * 2
ok(wait_for(lambda: all(daemon.log().count(line) >= answered.count(line) for line in answered), 20),
   "lists and responses come", daemon.log())
ok(wait_for(lambda: all(level(name) == "ok" for name in good), 20), "all others are well", daemon.ask("status")[1])
ok(all(alerts(name) == [] for name in good), "and nobody is told of them", [alerts(name) for name in good])
ok(lists.counts == {"/ca.crl": 1, "/old.crl": 1, "/lost.crl": 1}, "each list was fetched once", lists.counts)
code, out, err = daemon.ask("reload")
ok(code == 0, "a reload", out + err)
asked["private"] = ("shared", "crl, revocation_private: on")
daemon.write(config("2s"))
code, out, err = daemon.ask("reload")
ok(code == 0 and wait_for(lambda: all(level(name) == "ok" for name in good + ["private"]), 20),
   "and one that lets a target ask at private addresses", out + err + daemon.ask("status")[1])
ok(wait_for(lambda: alerts("private")[-1]["status"] == "resolved", 10), "which ends its warning", alerts("private"))
ok(lists.counts == {"/ca.crl": 1, "/old.crl": 1, "/lost.crl": 1}, "fetch nothing again", lists.counts)

# Revoked: what is fetched after the restart says so.
revoke(certificates["crl"][0])
revoke(certificates["ocsp"][0])
stop_responding()
ok(respond(), "openssl's responder knows", open(os.path.join(work, "ocsp.err")).read())
lists.pages["/ca.crl"] = make_list(-30, 7200)
# This one will be too old in some seconds: five minutes are given to clocks that differ.
lists.pages["/old.crl"] = make_list(-600, -300 + 15)
restart()
for target in ("crl", "ocsp"):
    alert = wait_for(lambda target=target: firing(target, "cert_revoked"), 20)
    ok(alert and alert["labels"]["severity"] == "critical" and "revoked on 2" in alert["annotations"]["description"] and
       "(keyCompromise)" in alert["annotations"]["description"], f"{target}: revoked", alert or daemon.log())
ok(all(level(f"shared-{i}") == "ok" for i in range(20)) and level("ocsp-good") == "ok", "and only those",
   daemon.ask("status")[1])
ok(lists.counts["/ca.crl"] == 2, "one fetch for all", lists.counts)
ok(level("off") == "ok", "whoever does not ask is not told", daemon.target("off"))
ok(probed("old") and alerts("old") == [], "a list that still holds is good", alerts("old"))

# Nobody answers any more, and time passes.
lists.stop()
stop_responding()
alert = wait_for(lambda: firing("old", "cert_revocation_unknown"), 40)
ok(alert and alert["labels"]["severity"] == "warning" and
   "the list is too old: it held until 2" in alert["annotations"]["description"], "a list that is over is a warning",
   alert or daemon.log())
ok(level("crl") == "critical" and level("shared-0") == "ok", "what is known stays", daemon.ask("status")[1])

# After a restart nothing is known of the good ones, but what was revoked is.
told = len(alerts("crl") + alerts("ocsp"))
restart()
for target, host in (("shared-3", "127.0.0.1: connect"), ("ocsp-good", "127.0.0.1: connect")):
    alert = wait_for(lambda target=target: firing(target, "cert_revocation_unknown"), 20)
    ok(alert and host in alert["annotations"]["description"], f"{target}: not knowable", alert or daemon.log())
ok(wait_for(lambda: probed("crl") and probed("ocsp"), 20) and level("crl") == "critical" and level("ocsp") == "critical",
   "revoked stays revoked", daemon.ask("status")[1])
ok(len(alerts("crl") + alerts("ocsp")) == told, "and is not told again", (alerts("crl"), alerts("ocsp")))

status, seconds = daemon.stop()
ok(status == 0, "portbelld stops", status)
nginx.stop()
harness.finish()
