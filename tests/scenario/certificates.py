#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What real servers show wrongly is named: chains, dates, names, strength, pins, staples, what was agreed on, changes."""
import base64
import hashlib
import os
import shutil
import signal
import subprocess

import harness
from harness import ok, wait_for

harness.own_network()
work = harness.work_directory("certificates")
ca = harness.Authority(os.path.join(work, "ca"))
hook = harness.WebhookReceiver()
processes = []


def openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def below(name, begins_days, ends_days, subject):
    """An authority whose certificate the root made."""
    pem, key = ca.issue(name, begins_days, ends_days, subject, names="basicConstraints=critical,CA:TRUE")
    authority = harness.Authority(os.path.join(work, name))
    authority.ca, authority.key = pem, key
    return authority


def bundle(name, *files):
    path = os.path.join(work, name + ".pem")
    with open(path, "w") as out:
        for file in files:
            with open(file) as f:
                out.write(f.read())
    return path


def listen(*command):
    """A server of its own process on a free port, which replaces PORT in its arguments."""
    port = harness.free_port()
    log = open(os.path.join(work, f"server-{port}.log"), "w")
    process = subprocess.Popen([a.replace("PORT", str(port)) for a in command], stdin=subprocess.DEVNULL, stdout=log,
                               stderr=log, cwd=work)
    processes.append(process)
    if not wait_for(lambda: harness.reachable(port), 10):
        raise RuntimeError(" ".join(command))
    return port


def s_server(pem, key, *options):
    return listen("openssl", "s_server", "-accept", "127.0.0.1:PORT", "-cert", pem, "-cert_chain", pem, "-key", key, "-www",
                  "-cipher", "ALL:@SECLEVEL=0", *options)


def staple(name, revoked):
    """A certificate and the response to staple to it."""
    pem, key = ca.issue(name, -1, 300)
    cnf = os.path.join(ca.directory, "ca.cnf")
    base = os.path.join(work, name)
    if revoked:
        openssl("ca", "-config", cnf, "-cert", ca.ca, "-keyfile", ca.key, "-revoke", pem)
    openssl("ocsp", "-issuer", ca.ca, "-cert", pem, "-no_nonce", "-reqout", base + ".req")
    openssl("ocsp", "-index", os.path.join(ca.directory, "index.txt"), "-CA", ca.ca, "-rsigner", ca.ca, "-rkey", ca.key,
            "-reqin", base + ".req", "-respout", base + ".ocsp", "-ndays", "1")
    return pem, key, base + ".ocsp"


good, good_key = ca.issue("good", -1, 300)
other, other_key = ca.issue("other", -1, 300, "elsewhere.example")
between = below("between", -10, 900, "Between")
expired = below("expired", -500, -3, "Old Between")
leaf, leaf_key = between.issue("leaf", -1, 300)
old_leaf, old_leaf_key = expired.issue("old-leaf", -1, 300)
weak_pem, weak_key = os.path.join(work, "weak.pem"), os.path.join(work, "weak.key")
openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "300", "-subj", "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost", "-keyout", weak_key, "-out", weak_pem)
client, client_key = ca.issue("client", -300, 5, "probe.example")
spki = hashlib.sha256(openssl("pkey", "-in", good_key, "-pubout", "-outform", "DER")).digest()
pin = base64.b64encode(spki).decode()
good_staple, bad_staple = staple("stapled", False), staple("revoked", True)

ports = {name: harness.free_port() for name in ("good", "missing", "extra", "old", "name", "pin", "change")}
change_pem = os.path.join(work, "change.pem")
shutil.copy(good, change_pem)
change_key = os.path.join(work, "change.key")
shutil.copy(good_key, change_key)
nginx = harness.Nginx(os.path.join(work, "nginx"), [
    (ports["good"], good, good_key),
    (ports["missing"], leaf, leaf_key),
    (ports["extra"], bundle("extra", leaf, between.ca, expired.ca), leaf_key),
    (ports["old"], bundle("old", old_leaf, expired.ca), old_leaf_key),
    (ports["name"], other, other_key),
    (ports["pin"], good, good_key),
    (ports["change"], change_pem, change_key),
])
ports["weak"] = s_server(weak_pem, weak_key)
ports["staple"] = s_server(*good_staple[:2], "-status_file", good_staple[2])
ports["revoked"] = s_server(*bad_staple[:2], "-status_file", bad_staple[2])
ports["no-staple"] = ports["good"]
ports["client"] = s_server(good, good_key, "-Verify", "1", "-verify_return_error", "-CAfile", ca.ca)
ports["no-client"] = ports["client"]
ports["issuer"] = ports["group"] = ports["cipher"] = ports["good"]
ports["version"] = listen("gnutls-serv", "--echo", "--port", "PORT", "--x509certfile", good, "--x509keyfile", good_key,
                          "--priority", "NORMAL:-VERS-TLS1.3")
ports["alpn"] = listen("gnutls-serv", "--echo", "--port", "PORT", "--x509certfile", good, "--x509keyfile", good_key,
                       "--alpn", "foo")

extra = {
    "pin": 'certificate: {pins: "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}',
    "good": f'certificate: {{pins: "sha256//{pin}"}}',
    "weak": f"tls: {{ca_file: {weak_pem}}}",
    "staple": "certificate: {revocation: staple}",
    "revoked": "certificate: {revocation: staple}",
    "no-staple": "certificate: {revocation: staple}",
    "version": "tls: {require: {version: 1.3, level: critical}}",
    "alpn": "tls: {alpn: [h2, foo], require: {alpn: h2}}",
    "issuer": 'certificate: {issuer: "Encrypt$"}',
    "group": 'tls: {require: {group: "MLKEM"}}',
    "cipher": 'tls: {require: {version: 1.2, ciphers: "_(GCM|POLY1305)_", group: x25519}}',
    "client": f"tls: {{client_certificate_file: {client}, client_key_file: {client_key}}}",
}


def config(more=""):
    targets = "".join(f'  - {{name: {name}, address: "127.0.0.1:{port}", {extra.get(name, "paused: off")}}}\n'
                      for name, port in ports.items())
    return f"""
defaults:
  interval: 1s
  timeout: 800ms
  alert: {{after: 2, recover: 2, recheck: 1s}}
  tls: {{ca_file: {ca.ca}, server_name: localhost}}
targets:
{targets}{more}
senders:
  hook: {{type: webhook, url: "http://127.0.0.1:{hook.port}/", rate: off}}
routes:
  - {{send_to: [hook], group_by: [target], group_wait: 100ms, remind: off}}
"""


def alerts(target):
    return [a for body in hook.bodies() for a in body["alerts"] if a["labels"]["target"] == target]


def firing(target):
    return next((a for a in alerts(target) if a["status"] == "firing"), None)


daemon = harness.Daemon(work, config())
daemon.start()
ok(daemon.wait_ready(), "it starts", daemon.log())

expected = {
    "missing": ("PortbellCertificate", "critical", "cert_untrusted",
                "an intermediate is missing: the issuer of the certificate, CN=Between, is neither shown"),
    "old": ("PortbellCertificate", "critical", "cert_expired",
            "certificate has expired: CN=Old Between (certificate 1 above the server's)"),
    "name": ("PortbellCertificate", "critical", "cert_hostname", "it is for elsewhere.example, IP:127.0.0.1, not for localhost"),
    "weak": ("PortbellCertificate", "warning", "cert_weak_key", "RSA 1024: CN=localhost"),
    "pin": ("PortbellCertificate", "critical", "cert_pin", f"the key is sha256//{pin}"),
    "revoked": ("PortbellCertificate", "critical", "cert_revoked", "revoked on 2"),
    "no-staple": ("PortbellCertificate", "warning", "cert_revocation_unknown", "the server staples no OCSP response"),
    "version": ("PortbellTls", "critical", "tls_version", "TLS 1.2, at least TLS 1.3 is required"),
    "alpn": ("PortbellTls", "warning", "tls_alpn", "foo, h2 is required"),
    "issuer": ("PortbellCertificate", "critical", "cert_issuer",
               'issued by CN=Scenario CA, not by one like "Encrypt$"'),
    "group": ("PortbellTls", "warning", "tls_group", 'one like "MLKEM" is required'),
    "no-client": ("PortbellAvailability", "critical", "tls_alert", "(alert 116)"),
    "portbell": ("PortbellSelf", "warning", "own_certificate", f"{client} ends on "),
}
for target, (name, severity, reason, text) in expected.items():
    alert = wait_for(lambda target=target: firing(target), 20)
    seen = alert and (alert["labels"]["alertname"], alert["labels"]["severity"], alert["annotations"]["reason"])
    ok(seen == (name, severity, reason), f"{target}: {name} {severity} {reason}", seen or daemon.log())
    ok(alert and text in alert["annotations"]["description"], f"{target}: {text}",
       alert and alert["annotations"]["description"])
for target in ("good", "cipher", "extra", "staple", "client", "change"):
    ok(daemon.target(target)["level"] == "ok" and alerts(target) == [], f"{target}: all is well", daemon.target(target))
ok(set(daemon.target("good")["checks"]) == {"availability", "certificate"} and "tls" in daemon.target("alpn")["checks"],
   "the check tls is there where something is required")

# Another issuer is told once, also over a restart, and without an incident.
shutil.copy(bundle("changed", leaf, between.ca), change_pem)
shutil.copy(leaf_key, change_key)
nginx.process.send_signal(signal.SIGHUP)
notice = wait_for(lambda: next((b for b in hook.bodies() if b["portbell"]["event"] == "notice"), None), 20)
ok(notice and "certificate changed: another issuer" in notice["alerts"][0]["annotations"]["summary"],
   "another issuer is told", hook.bodies()[-1])
ok(notice and notice["portbell"]["incidents"] == [] and notice["status"] == "resolved", "and opens nothing", notice)
ok(notice and "issued by CN=Between instead of CN=Scenario CA" in notice["alerts"][0]["annotations"]["description"],
   "and says by whom it is issued", notice)
daemon.stop()
daemon.start()
daemon.wait_ready()
wait_for(lambda: (daemon.target("change")["last_probe"] or {}).get("at"), 10)
ok(wait_for(lambda: daemon.status()["counts"]["pending"] == 0, 10), "it is restarted", daemon.ask("status")[1])
ok(sum(b["portbell"]["event"] == "notice" for b in hook.bodies()) == 1, "the change is told once", hook.bodies())

# An expression that is none, too.
daemon.write(config(f'  - {{name: bad, address: "127.0.0.1:1", certificate: {{issuer: "(x"}}}}\n'))
code, out, err = daemon.ask("reload")
line = 8 + len(ports)
ok(code != 0 and f"portbell.yaml:{line}:" in out + err and "certificate.issuer" in out + err,
   "a broken expression is refused", (line, out, err))

# A key that is not that of the certificate is a mistake of the configuration, with its place.
daemon.write(config(f'  - {{name: bad, address: "127.0.0.1:1", tls: {{client_certificate_file: {client}, '
                    f'client_key_file: {good_key}}}}}\n'))
code, out, err = daemon.ask("reload")
ok(code != 0 and f"portbell.yaml:{line}:" in out + err and "client_certificate_file" in out + err and
   "the key is not that of the certificate" in out + err, "a wrong key is refused", (line, out, err))
ok("PRIVATE" not in daemon.log(), "no key is in the log")

daemon.stop()
nginx.stop()
for process in processes:
    process.terminate()
    process.wait(10)
harness.finish()
