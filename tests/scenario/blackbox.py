#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The same targets for portbelld and for a real blackbox_exporter: success and the metrics that both have agree, but
for what is meant to differ, which is written down here."""
import concurrent.futures
import datetime
import json
import os
import re
import socket
import sqlite3
import subprocess
import threading
import urllib.parse
import urllib.request

import harness
import servers
from harness import ok, wait_for

harness.own_network()
work = harness.work_directory("blackbox")
TIMEOUT = "2s"
SAME = ("success", "ip_protocol", "dns", "failed_due_to_regex", "tls_version", "earliest_expiry", "last_chain_expiry")

# What is meant to differ --------------------------------------------------------------------------------------------

FACTS = "the certificate is read first and judged afterwards: its facts are there although a client would refuse it"
EXPIRY = "an end is an end: verify: off leaves out who signed it and for whom it is, not when it ends"
CHAIN = "the chain that a client would build is there also where nobody asks for it"
POLICY = "a version that is required is judged after the handshake, as the check tls: it is no outage"
OFFER = "TLS 1.0 and 1.1 are offered, so that what is old can be read; what is required is said in tls.require"
WEAK = "a weak signature is a warning, not an outage"
COMMON_NAME = "the common name counts where there are no alternative names, as for OpenSSL"
REFUSED_LATE = "in TLS 1.3 a server refuses a client without certificate after the handshake, which is waited for"
EVERY_ADDRESS = "the next address is tried where one does not answer"
BYTES = "blackbox sends a line end behind all it sends, and waits for one behind all it expects"
ELSE = "a peer that says something else, and stays, is told from one that says nothing"

# Servers ------------------------------------------------------------------------------------------------------------


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


class Scripted:
    """Says lines; for each of them that begins with "<" it reads one, which must match."""

    def __init__(self, *script, stay=False, family=socket.AF_INET):
        self.script, self.stay = script, stay
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self.listener = socket.create_server((host, 0), family=family, backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        with peer:
            try:
                peer.settimeout(10)
                lines = peer.makefile("rb")
                for line in self.script:
                    if not line.startswith("<"):
                        peer.sendall(line.encode())
                    elif not re.search(line[1:], lines.readline().decode()):
                        return
                if self.stay:
                    lines.read()
            except OSError:
                pass


def below(name, begins_days, ends_days):
    """An authority whose certificate the root made."""
    pem, key = root.issue(name, begins_days, ends_days, f"{name} CA", names="basicConstraints=critical,CA:TRUE")
    authority = harness.Authority(os.path.join(work, name))
    authority.ca, authority.key = pem, key
    return authority


def bundle(name, pair, *others):
    path = os.path.join(work, name + ".pem")
    with open(path, "w") as out:
        for file in (pair[0], *others):
            with open(file) as f:
                out.write(f.read())
    return path, pair[1]


def self_signed(name, *options):
    pem, key = os.path.join(work, name + ".pem"), os.path.join(work, name + ".key")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "300", "-subj", "/CN=localhost", "-keyout", key,
            "-out", pem, *options)
    return pem, key


root = harness.Authority(os.path.join(work, "ca"))
other_root = harness.Authority(os.path.join(work, "other"))
between, old = below("between", -10, 40), below("old", -500, -3)
good = root.issue("good", -10, 90)
leaf = between.issue("leaf", -10, 300)
weak = self_signed("weak", "-sha1", "-addext", "subjectAltName=DNS:localhost", "-CA", root.ca, "-CAkey", root.key)
unnamed = self_signed("unnamed", "-CA", root.ca, "-CAkey", root.key)
certificates = {
    "good": good,
    "expired": root.issue("expired", -90, -3),
    "elsewhere": root.issue("elsewhere", -10, 90, "elsewhere.example"),
    "self-signed": self_signed("self-signed", "-addext", "subjectAltName=DNS:localhost"),
    "chain": bundle("chain", leaf, between.ca),
    "extra": bundle("extra", good, old.ca),
    "missing": leaf,
    "unnamed": unnamed,
}
ports = {name: harness.free_port() for name in certificates}
nginx = harness.Nginx(os.path.join(work, "nginx"), [(ports[name], *pair) for name, pair in certificates.items()])


def s_server(pair, *options):
    port = harness.free_port()
    log = open(os.path.join(work, f"server-{port}.log"), "w")
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "--", "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", pair[0],
         "-key", pair[1], "-quiet", "-cipher", "ALL:@SECLEVEL=0", *options],
        stdin=subprocess.PIPE, stdout=log, stderr=log)
    processes.append(process)
    if not wait_for(lambda: harness.reachable(port), 10):
        raise RuntimeError(open(log.name).read())
    return port


processes = []
asking = ("-Verify", "1", "-verify_return_error", "-CAfile", root.ca)
ports |= {"weak": s_server(weak), "old": s_server(good, "-tls1_1"), "1.2": s_server(good, "-tls1_2"),
          "1.3": s_server(good, "-tls1_3"), "client": s_server(good, *asking, "-tls1_3"),
          "client 1.2": s_server(good, *asking, "-tls1_2")}
tcp, closed = harness.TcpServer(), harness.free_port()
ssh = Scripted("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", stay=True)
ssh_gone = Scripted("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
irc = Scripted("<^NICK prober", "<^USER prober", "PING :a1b2\r\n", "<^PONG a1b2", ":irc 001 prober :Welcome\r\n",
               stay=True)
silent = Scripted(stay=True)
six = Scripted("220 six\r\n", stay=True, family=socket.AF_INET6)
four = Scripted("220 four\r\n", stay=True)
harness.Dns({"both.example": ["127.0.0.1", "::1"], "four.example": ["127.0.0.1"], "six.example": ["::1"]}, 53)
try:
    kinds = [kind(work, root.issue(f"own{n}", -10, 50 + n), root.ca, start=False) for n, kind in enumerate(
        (servers.Exim, servers.Dovecot, servers.Vsftpd, servers.Prosody, servers.Postgres))]
    servers.start_all(kinds)
except servers.NotReady as trouble:
    ok(False, "the servers start", trouble)
    harness.finish()
ports |= {protocol: server.ports[protocol] for server in kinds for protocol in server.protocols}

# Targets and modules ------------------------------------------------------------------------------------------------

VERIFIED = {"ca_file": root.ca, "server_name": "localhost"}
SKIPPED = {"insecure_skip_verify": True, "server_name": "localhost"}
own, own_key = root.issue("probe", -10, 300, "probe.example")


def exchange(dialogue):
    """blackbox's query_response as steps: a line end behind all that is sent, numbered groups by name."""
    steps = []
    for entry in dialogue:
        if "expect" in entry:
            steps.append({"expect": entry["expect"].replace("([", "(?<g1>[")})
        if "send" in entry:
            steps.append({"send": entry["send"].replace("${1}", "${capture.g1}") + "\n"})
        if "starttls" in entry:
            steps.append({"starttls": "now"})
    return steps


def tls_keys(theirs):
    keys = {"ca_file": theirs.get("ca_file", root.ca), "server_name": theirs["server_name"]}
    if theirs.get("insecure_skip_verify"):
        keys["verify"] = "off"
    if "cert_file" in theirs:
        keys |= {"client_certificate_file": theirs["cert_file"], "client_key_file": theirs["key_file"]}
    if "min_version" in theirs:
        keys["require"] = {"version": {"TLS12": "1.2", "TLS13": "1.3"}[theirs["min_version"]]}
    return keys


class Case:
    """A target for both. `success` and `differs` are those of blackbox; `ours` has keys of ours that are others."""

    def __init__(self, name, address, success, tls=None, dialogue=(), prefer="ip4", fallback=True, differs=None,
                 ours=None):
        self.name, self.success, self.differs = name, success, differs or {}
        self.address = address if isinstance(address, str) else f"127.0.0.1:{address}"
        starts = any("starttls" in entry for entry in dialogue)
        self.module = {"preferred_ip_protocol": prefer, "ip_protocol_fallback": fallback}
        self.target = {"name": name, "address": self.address, **(ours or {})}
        if tls:
            self.module |= {"tls_config": tls} if starts else {"tls": True, "tls_config": tls}
            self.target.setdefault("tls", tls_keys(tls))
        if dialogue:
            self.module["query_response"] = list(dialogue)
            self.target.setdefault("exchange", exchange(dialogue))
        if not fallback:
            self.target["family"] = {"ip4": "ipv4", "ip6": "ipv6"}[prefer]


SEEN = {"tls_version": FACTS, "earliest_expiry": FACTS}
SEEN_UP_TO_THE_ROOT = {**SEEN, "last_chain_expiry": FACTS}
INSIDE = [{"send": "EHLO prober\r"}, {"expect": "^250-SIZE"}]
SMTP = [{"expect": "^220 ([^ ]+) ESMTP (.+)$"}, {"send": "EHLO prober\r"}, {"expect": "^250-STARTTLS"},
        {"send": "STARTTLS\r"}, {"expect": "^220"}, {"starttls": True}, *INSIDE, {"send": "QUIT\r"}]
IMAP = [{"expect": "OK.*STARTTLS"}, {"send": ". STARTTLS"}, {"expect": "OK"}, {"starttls": True},
        {"send": ". capability"}, {"expect": "CAPABILITY IMAP4rev1"}]
POP3 = [{"expect": "^\\+OK"}, {"send": "STLS\r"}, {"expect": "^\\+OK"}, {"starttls": True}, {"send": "CAPA\r"},
        {"expect": "^\\+OK"}, {"send": "QUIT\r"}]
FTP = [{"expect": "^220"}, {"send": "AUTH TLS\r"}, {"expect": "^234"}, {"starttls": True}]
IRC = [{"send": "NICK prober"}, {"send": "USER prober prober prober :prober"},
       {"expect": "PING :([^ ]+)", "send": "PONG ${1}"}, {"expect": "^:[^ ]+ 001"}]
XMPP = [{"send": "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' "
         "version='1.0'>"}, {"expect": "<starttls"}, {"send": "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"},
        {"expect": "<proceed"}, {"starttls": True}]
POSTGRES = [{"send": "\0\0\0\x08\x04\xd2\x16\x2f"}, {"expect": "S"}, {"starttls": True}]
BANNER = [{"expect": "^220"}]

CASES = [
    Case("tcp", tcp.port, True),
    Case("refused", closed, False),
    Case("no answer", "192.0.2.7:80", False),
    Case("tcp to tls", ports["good"], True),
    Case("an address of IPv6", f"[::1]:{six.port}", True, prefer="ip6"),
    Case("tls", ports["good"], True, VERIFIED),
    Case("tls by name", f"four.example:{ports['good']}", True, VERIFIED),
    Case("an intermediate that ends first", ports["chain"], True, VERIFIED),
    Case("an old certificate that nobody needs", ports["extra"], True, VERIFIED),
    Case("expired", ports["expired"], False, VERIFIED, differs=SEEN_UP_TO_THE_ROOT),
    Case("untrusted", ports["good"], False, {**VERIFIED, "ca_file": other_root.ca}, differs=SEEN),
    Case("another name", ports["elsewhere"], False, VERIFIED, differs=SEEN_UP_TO_THE_ROOT),
    Case("self-signed", ports["self-signed"], False, VERIFIED, differs=SEEN),
    Case("intermediate is missing", ports["missing"], False, VERIFIED, differs=SEEN),
    Case("self-signed, not verified", ports["self-signed"], True, SKIPPED),
    Case("expired, not verified", ports["expired"], True, SKIPPED, differs={
        "success": EXPIRY, "last_chain_expiry": CHAIN}),
    Case("another name, not verified", ports["elsewhere"], True, SKIPPED, differs={"last_chain_expiry": CHAIN}),
    Case("a weak signature", ports["weak"], False, VERIFIED, differs={
        "success": WEAK, "last_chain_expiry": WEAK, **SEEN}),
    Case("a common name only", ports["unnamed"], False, VERIFIED, differs={
        "success": COMMON_NAME, "last_chain_expiry": COMMON_NAME, **SEEN}),
    Case("TLS 1.2", ports["1.2"], True, VERIFIED),
    Case("TLS 1.3 is required, and there", ports["1.3"], True, {**VERIFIED, "min_version": "TLS13"}),
    Case("TLS 1.3 is required", ports["1.2"], False, {**VERIFIED, "min_version": "TLS13"}, differs={
        "success": POLICY, "tls_version": POLICY, "earliest_expiry": POLICY, "last_chain_expiry": POLICY}),
    Case("TLS 1.1", ports["old"], False, VERIFIED, differs={
        "success": OFFER, "tls_version": OFFER, "earliest_expiry": OFFER, "last_chain_expiry": OFFER}),
    Case("no tls", ssh.port, False, VERIFIED),
    Case("tls to silence", silent.port, False, VERIFIED),
    Case("a certificate of ours", ports["client"], True, {**VERIFIED, "cert_file": own, "key_file": own_key}),
    Case("none of ours in TLS 1.2", ports["client 1.2"], False, VERIFIED, differs=SEEN_UP_TO_THE_ROOT),
    Case("none of ours in TLS 1.3", ports["client"], True, VERIFIED, differs={"success": REFUSED_LATE}),
    Case("smtp", ports["smtp"], True, VERIFIED, SMTP),
    Case("smtp, by its own name", ports["smtp"], True, VERIFIED, SMTP, ours={
        "tls": {**tls_keys(VERIFIED), "starttls": "smtp"}, "exchange": exchange(INSIDE)}),
    Case("smtp, for another name", ports["smtp"], False, {**VERIFIED, "server_name": "elsewhere.example"}, SMTP,
         differs=SEEN_UP_TO_THE_ROOT),
    Case("smtp, greeting", ports["smtp"], True, dialogue=BANNER),
    Case("imap", ports["imap"], True, VERIFIED, IMAP),
    Case("pop3", ports["pop3"], True, VERIFIED, POP3),
    Case("ftp", ports["ftp"], True, VERIFIED, FTP),
    Case("irc", irc.port, True, dialogue=IRC),
    Case("xmpp", ports["xmpp"], False, VERIFIED, XMPP, ours={
        "tls": {**tls_keys(VERIFIED), "starttls": "xmpp"}, "exchange": []}, differs=dict.fromkeys((
        "success", "tls_version", "earliest_expiry", "last_chain_expiry"), BYTES)),
    Case("postgres", ports["postgres"], False, VERIFIED, POSTGRES, ours={
        "exchange": [{"send_hex": "00 00 00 08 04 d2 16 2f"}, {"expect_hex": "53"}, {"starttls": "now"}]},
         differs=dict.fromkeys(("success", "tls_version", "earliest_expiry", "last_chain_expiry"), BYTES)),
    Case("ssh", ssh.port, True, dialogue=[{"expect": "^SSH-2.0-"}]),
    Case("ssh, and a send behind it", ssh.port, True, dialogue=[
        {"expect": "^SSH-2.0-", "send": "SSH-2.0-blackbox-ssh-check"}]),
    Case("something else, then the end", ssh_gone.port, False, dialogue=BANNER),
    Case("something else, then nothing", ssh.port, False, dialogue=BANNER, differs={"failed_due_to_regex": ELSE}),
    Case("nothing is said", silent.port, False, dialogue=BANNER),
    Case("IPv6 is preferred", f"both.example:{six.port}", True, prefer="ip6", dialogue=[{"expect": "^220 six"}]),
    Case("IPv4 only", f"both.example:{four.port}", True, prefer="ip4", fallback=False, dialogue=[
        {"expect": "^220 four"}]),
    Case("IPv6 only", f"both.example:{six.port}", True, prefer="ip6", fallback=False, dialogue=[
        {"expect": "^220 six"}]),
    Case("no IPv6, IPv4 is there", f"four.example:{four.port}", True, prefer="ip6", dialogue=[
        {"expect": "^220 four"}]),
    Case("no IPv6, and nothing else", f"four.example:{four.port}", False, prefer="ip6", fallback=False),
    Case("no IPv4, and nothing else", f"six.example:{six.port}", False, prefer="ip4", fallback=False),
    Case("the other address answers", f"both.example:{four.port}", False, prefer="ip6", differs={
        "success": EVERY_ADDRESS, "ip_protocol": EVERY_ADDRESS}),
    Case("no such name", "nowhere.example:80", False),
]

# blackbox_exporter --------------------------------------------------------------------------------------------------


def start_blackbox():
    """Its resolver is the one of the system: it gets an /etc/resolv.conf of its own."""
    port = harness.free_port()
    config = os.path.join(work, "blackbox.yml")
    with open(config, "w") as f:
        json.dump({"modules": {f"m{n}": {"prober": "tcp", "timeout": TIMEOUT, "tcp": case.module}
                               for n, case in enumerate(CASES)}}, f)
    resolv = os.path.join(work, "resolv.conf")
    with open(resolv, "w") as f:
        f.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    log = open(os.path.join(work, "blackbox.log"), "w")
    # setpriv: it ends with the scenario, whatever happens to that.
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "--", "unshare", "--mount", "sh", "-c",
         'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"', "sh", resolv,
         servers.program("prometheus-blackbox-exporter"), f"--config.file={config}",
         f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    processes.append(process)
    if not wait_for(lambda: harness.reachable(port) or process.poll() is not None, 20) or process.poll() is not None:
        raise servers.NotReady("blackbox_exporter: " + open(log.name).read())
    return port


def blackbox_facts(port, n, case, debug=False):
    query = {"target": case.address, "module": f"m{n}", **({"debug": "true"} if debug else {})}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/probe?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        text = answer.read().decode()
    if debug:
        return text
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    version = re.search('^probe_tls_version_info{version="(.*?)"}', text, re.M)
    chain = float(metrics.get("probe_ssl_last_chain_expiry_timestamp_seconds", 0))
    return {
        "success": metrics["probe_success"] == "1",
        "ip_protocol": int(metrics["probe_ip_protocol"]),
        "dns": is_name(case) and float(metrics["probe_dns_lookup_time_seconds"]) > 0,
        "failed_due_to_regex": metrics["probe_failed_due_to_regex"] == "1",
        "tls_version": version and version.group(1),
        "earliest_expiry": int(float(metrics.get("probe_ssl_earliest_cert_expiry", 0))),
        "last_chain_expiry": max(int(chain), 0),  # without a verified chain it is the year 1
    }


def is_name(case):
    """An address takes no lookup; blackbox gives the time that none took."""
    return case.address[0].isalpha()


# portbelld ----------------------------------------------------------------------------------------------------------


def first_end(chain):
    return min((int(datetime.datetime.fromisoformat(each["not_after"].replace("Z", "+00:00")).timestamp())
                for each in chain), default=0)


def handshakes():
    with sqlite3.connect(f"file:{os.path.join(work, 'state', 'state.db')}?mode=ro", uri=True) as database:
        return {target: (verdict, json.loads(facts)) for target, verdict, facts in database.execute(
            "SELECT target, verdict, facts FROM certificate")}


def portbell_facts(target, handshake):
    probe = target["last_probe"]
    verdict, facts = handshake or ("ok", {"chain": [], "verified": [], "version": None})
    address = probe["address"] or ""
    return {
        "success": probe["reason"] == "ok" and verdict == "ok",
        "ip_protocol": 0 if not address else 6 if address.startswith("[") else 4,
        "dns": "dns" in probe["phases"],
        "failed_due_to_regex": probe["reason"] == "exchange_mismatch",
        "tls_version": facts["version"],
        "earliest_expiry": first_end(facts["chain"]),
        "last_chain_expiry": first_end(facts["verified"]),
    }


# The comparison -----------------------------------------------------------------------------------------------------

try:
    blackbox_port = start_blackbox()
except servers.NotReady as trouble:
    ok(False, "blackbox_exporter starts", trouble)
    harness.finish()
daemon = harness.Daemon(work, json.dumps({
    "resolver": {"servers": ["127.0.0.1"], "cache": "off"},
    "defaults": {"interval": "5s", "timeout": TIMEOUT, "alert": {"after": 1, "recover": 1, "recheck": "5s"}},
    "targets": [case.target for case in CASES],
}).replace('"off"', "off")).start()
if not ok(daemon.wait_ready(), "it starts", daemon.log()):
    daemon.stop()
    harness.finish()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    theirs = list(pool.map(lambda each: blackbox_facts(blackbox_port, *each), enumerate(CASES)))
_, targets = daemon.wait_for_targets({case.name: lambda target: target["last_probe"] for case in CASES})
seen = handshakes()
ok(len(CASES) >= 30, f"{len(CASES)} targets and modules")
for n, (case, other) in enumerate(zip(CASES, theirs)):
    mine = portbell_facts(targets[case.name], seen.get(case.name))
    differs = {key: f"{mine[key]}, blackbox {other[key]}" for key in SAME if mine[key] != other[key]}
    good = other["success"] == case.success and set(differs) == set(case.differs)
    ok(good, f"{case.name}: " + ("; ".join(sorted(set(case.differs.values()))) or "they agree"),
       f"differ: {differs}\nmeant to: {case.differs}\nportbelld: {mine} {targets[case.name]['last_probe']}\n"
       f"blackbox_exporter: {other}\n{'' if good else blackbox_facts(blackbox_port, n, case, True)[:3000]}")
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s with status 0", f"{status} after {seconds:.1f} s")
for process in processes:
    process.kill()
nginx.stop()
harness.finish()
