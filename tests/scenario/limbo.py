#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""x509-limbo over real TLS: a target's verdict is that of `openssl verify` and of `openssl s_client`, case by case. Where
that is not what limbo expects is written in doc/x509-limbo.md. `limbo.py --write` makes that page; without it the page
has to be what would be written."""
import concurrent.futures
import contextlib
import datetime
import difflib
import json
import os
import re
import selectors
import socket
import ssl
import subprocess
import sys
import textwrap
import threading

import harness
from harness import SANITIZED, ok, wait_for
from limbo_differences import LIMBO, OPENSSL

harness.own_network()
work = harness.work_directory("limbo")
PAGE = os.path.join(harness.SOURCE, "doc/x509-limbo.md")
WRITE = sys.argv[1:] == ["--write"]
CIPHERS = "ALL:!aNULL:@SECLEVEL=0"
PARTIAL_WILDCARD = "webpki::san::wildcard-embedded-leftmost-san"
DEPTH = 10  # portbell's own; the rest of what is asked of openssl is in question()


def not_applicable(case):
    if case["validation_kind"] != "SERVER":
        return "it judges a client's certificate"
    if case["crls"]:
        return "it is about revocation lists that come with it, and no server sends those"
    if not case["key"]:
        return "nobody has the key, so no server can show the certificate"
    return None


def openssl(*words):
    return subprocess.run(["openssl", *words], capture_output=True, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, timeout=60)


class Case:
    def __init__(self, number, case):
        self.id = case["id"]
        self.good = case["expected_result"] == "SUCCESS"
        self.peer = case["expected_peer_name"]
        self.base = os.path.join(work, str(number))
        self.roots, self.shown, self.leaf = self.base + ".roots", self.base + ".shown", self.base + ".leaf"
        self.others, self.key = self.base + ".others", self.base + ".key"
        at = case["validation_time"]
        self.at = at and datetime.datetime.fromisoformat(at).replace(microsecond=0)
        for path, texts in ((self.roots, case["trusted_certs"]), (self.leaf, [case["peer_certificate"]]),
                            (self.others, case["untrusted_intermediates"]), (self.key, [case["peer_certificate_key"]]),
                            (self.shown, [case["peer_certificate"], *case["untrusted_intermediates"]])):
            with open(path, "w") as f:
                f.write("".join(texts))


class Shelf:
    """A TLS server for each case, on a port of its own; one thread waits for all. What Python does not load (a malformed
    extension) is shown by openssl(1)."""

    def __init__(self, cases):
        self.selector = selectors.DefaultSelector()
        self.processes = []
        dh = os.path.join(work, "dh")
        openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", dh)
        for case in cases:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.set_ciphers(CIPHERS)
            context.load_dh_params(dh)  # DSA certificates go with nothing else
            try:
                context.load_cert_chain(case.shown, case.key)
            except ssl.SSLError:
                self._show_by_openssl(case)
                continue
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            case.port = listener.getsockname()[1]
            self.selector.register(listener, selectors.EVENT_READ, context)
        threading.Thread(target=self._accept, daemon=True).start()

    def _show_by_openssl(self, case):
        case.port = harness.free_port()
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{case.port}", "-cert", case.leaf, "-key", case.key,
                   "-cipher", CIPHERS, "-www"]
        if os.path.getsize(case.others):
            command += ["-cert_chain", case.others]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL))
        if not wait_for(lambda: harness.reachable(case.port), 10):
            raise RuntimeError(f"{case.id}: nobody can serve it")

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def _accept(self):
        while True:
            for key, _ in self.selector.select():
                peer, _ = key.fileobj.accept()
                threading.Thread(target=self._talk, args=(peer, key.data), daemon=True).start()

    @staticmethod
    def _talk(peer, context):
        try:
            peer.settimeout(20)
            with context.wrap_socket(peer, server_side=True) as tls:
                tls.recv(1)
        except OSError:
            pass


# OpenSSL's verdict ----------------------------------------------------------------------------------------------------


def question(case, name):
    """What portbell asks: a client's view; only the named file is trusted, whatever is in it; keys may be weak."""
    words = ["-CAfile", case.roots, "-no-CApath", "-no-CAstore", "-partial_chain", "-purpose", "sslserver",
             "-auth_level", "0"]
    if case.at:
        words += ["-attime", str(int(case.at.timestamp()))]
    if name and case.peer:
        words += ["-verify_ip" if case.peer["kind"] == "IP" else "-verify_hostname", case.peer["value"]]
    return words


NO_VERDICT = -1, "no verdict"  # the handshake ended before, or openssl could not do it at all


def first_error(text, pattern):
    found = re.search(pattern, text)
    return (int(found[1]), found[2].strip()) if found else None


def ask_verify(case, name):
    """None, or the number and the words of the first error."""
    others = ["-untrusted", case.others] if os.path.getsize(case.others) else []
    done = openssl("verify", *question(case, name), "-verify_depth", str(DEPTH), *others, case.leaf)
    if done.returncode == 0:
        return None
    return first_error(done.stderr + done.stdout, r"error (\d+) at \d+ depth lookup: (.*)") or NO_VERDICT


def ask_s_client(case):
    server_name = ["-servername", case.peer["value"]] if case.peer and case.peer["kind"] == "DNS" else ["-noservername"]
    done = openssl("s_client", "-connect", f"127.0.0.1:{case.port}", *question(case, True), "-verify", str(DEPTH),
                   "-verify_return_error", "-cipher", CIPHERS, "-min_protocol", "TLSv1", *server_name)
    if done.returncode == 0 and "Verify return code: 0 (ok)" in done.stdout:
        return None
    return first_error(done.stderr + done.stdout, r"verify error:num=(\d+):(.*)") or NO_VERDICT


def ask_python(case):
    """The same library and question, but as Python asks: with the flag that openssl(1) has no option for."""
    context = ssl.create_default_context(cafile=case.roots)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        with socket.create_connection(("127.0.0.1", case.port), 20) as peer:
            context.wrap_socket(peer, server_hostname=case.peer["value"]).close()
    except ssl.SSLCertVerificationError as e:
        return e.verify_code, e.verify_message
    return None


REASONS = {9: "cert_not_yet_valid", 10: "cert_expired", 18: "cert_self_signed", 23: "cert_revoked"}


class Answer:
    """What openssl says, with and without a name, and how portbell calls that. `served` is the verdict over TLS."""

    def __init__(self, case):
        self.chain, self.verify, self.s_client = ask_verify(case, False), ask_verify(case, True), ask_s_client(case)
        self.served = ask_python(case) if case.id == PARTIAL_WILDCARD else self.s_client
        if NO_VERDICT in (self.chain, self.verify):
            self.reason = None
        elif self.chain is not None:
            self.reason = REASONS.get(self.chain[0], "cert_untrusted")
        else:
            self.reason = "cert_hostname" if self.verify else "ok"


# portbell's verdict ---------------------------------------------------------------------------------------------------


def another_time(at):
    """What to have in the environment. faketime(1) itself is no wrapper: it stays between, and a signal ends only it."""
    done = subprocess.run(["faketime", "-m", "--exclude-monotonic", "-f", at.strftime("%Y-%m-%d %H:%M:%S"), "env"],
                          capture_output=True, text=True, check=True, env=dict(os.environ, TZ="UTC"))
    return dict(line.split("=", 1) for line in done.stdout.splitlines()
                if line.startswith(("LD_PRELOAD=", "FAKETIME=", "FAKETIME_DONT_FAKE_MONOTONIC=")))


class Portbell:
    """One portbelld for all cases of one time; another time than now comes from libfaketime and stands still."""

    def __init__(self, name, cases, at):
        self.cases = cases
        environment = {"TZ": "UTC"}
        if at:
            environment |= another_time(at)
        directory = os.path.join(work, name)
        os.mkdir(directory)
        targets = [{"name": case.id, "address": f"127.0.0.1:{case.port}",
                    "tls": {"ca_file": case.roots, "server_name": case.peer["value"]} if case.peer else
                           {"ca_file": case.roots, "verify": "chain"}} for case in cases]
        self.daemon = harness.Daemon(directory, json.dumps({
            "defaults": {"interval": "3s", "timeout": "2900ms", "certificate": {"warning": "1m", "critical": "1m",
                                                                                "scope": "leaf"}},
            "targets": targets, "routes": [{"send_to": []}]}), environment)
        self.daemon.start()

    def verdicts(self):
        """Of each case, its reason and detail; None for one that has none."""
        wait_for(lambda: not self.daemon.running() or all(map(verdict, self._targets())), 60, 0.3)
        found = {target["name"]: verdict(target) for target in self._targets()}
        if None in found.values():
            ok(False, "each target gets a verdict", self.daemon.log())
        return found

    def _targets(self):
        return (self.daemon.status() or {"targets": [{"name": case.id} for case in self.cases]})["targets"]


def verdict(target):
    """The verification alone: how long a certificate is still valid and how strong it is are other questions."""
    probe = target.get("last_probe")
    if not probe or probe["reason"] in ("tls_timeout", "connect_timeout", "local_error"):
        return None
    if probe["reason"] != "ok":
        return probe["reason"], probe["detail"]
    if target["certificate_days"] is None:
        return None
    reason = target["checks"]["certificate"]["reason"]
    return "ok" if reason == "cert_expiring" or reason.startswith("cert_weak") else reason, None


# All of them ----------------------------------------------------------------------------------------------------------


def judge():
    """The cases that can be judged here, what openssl says of each and what portbell says."""
    cases = [case for case in applicable if not (SANITIZED and case.at)]
    verdicts = {}
    with contextlib.ExitStack() as at_end:
        shelf = Shelf(cases)
        at_end.callback(shelf.stop)
        daemons = []
        for at in sorted({case.at for case in cases}, key=str):
            daemons.append(Portbell(str(len(daemons)), [case for case in cases if case.at == at], at))
            at_end.callback(daemons[-1].daemon.stop)
        with concurrent.futures.ThreadPoolExecutor(2 * os.cpu_count()) as pool:
            answers = dict(zip([case.id for case in cases], pool.map(Answer, cases)))
        for daemon in daemons:
            verdicts |= daemon.verdicts()
    return cases, answers, {case.id: verdicts[case.id] or ("no verdict", None) for case in cases}


def compare():
    """With openssl: accepted or refused as it does, case by case, and for its reason unless the table says why not."""
    told = lambda case: f"{case.id}: portbell {verdicts[case.id]}, openssl {vars(answers[case.id])}"
    agrees = lambda case: (verdicts[case.id][0] == "ok") == (answers[case.id].served is None)
    other = [told(case) for case in cases if not agrees(case)]
    ok(not other, f"{len(cases) - len(other)} of {len(cases)} cases are accepted or refused as by OpenSSL",
       "\n".join(other))
    differ = {case.id: told(case) for case in cases
              if verdicts[case.id][0] != answers[case.id].reason
              or (answers[case.id].verify is None) != (answers[case.id].s_client is None)}
    unnamed = [text for name, text in differ.items() if name not in OPENSSL]
    ok(not unnamed, f"{len(cases) - len(differ)} of {len(cases)} for the same reason, "
       f"{len(differ) - len(unnamed)} explained", "\n".join(unnamed))
    stale = [name for name in OPENSSL if name not in differ]
    ok(not stale, "each of these explanations is needed", "\n".join(stale))


def said(case):
    reason = verdicts[case.id][0]
    words = answers[case.id].verify
    return "accepted" if reason == "ok" else f"`{reason}` ({words[1]})" if words else f"`{reason}`"


def paragraph(text):
    return textwrap.fill(" ".join(text.split()), 125, break_long_words=False, break_on_hyphens=False) + "\n"


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def page():
    """The page, and what it cannot explain."""
    differ = {case.id: case for case in cases if case.good != (verdicts[case.id][0] == "ok")}
    accepted = sum(not case.good for case in differ.values())
    parts = ["# x509-limbo: where the verdict is another than expected\n",
             "<!-- Written by tests/scenario/limbo.py --write: do not edit. -->\n",
             paragraph("""
             [x509-limbo](https://github.com/C2SP/x509-limbo) has certificate chains that go wrong in every way, each with
             the verdict that RFC 5280 or the rules of the public web ask for. portbell leaves the judging to OpenSSL:
             `tests/scenario/limbo.py` serves the cases over TLS to a portbelld and compares its verdict with those of
             `openssl verify` and `openssl s_client`. This page says where they judge otherwise than limbo expects, with
             **VERSION**.""".replace("VERSION", VERSION)),
             paragraph(f"""
             Of {len(every)} cases {len(cases)} can be served. {len(cases) - len(differ)} end as limbo expects; {accepted}
             are accepted though limbo expects a refusal, {len(differ) - accepted} the other way round. portbell verifies
             as a TLS client does: purpose TLS server, the peer's name, at most {DEPTH} intermediates, no strict mode,
             security level 0, and whatever is in a `ca_file` is trusted, be it a root or not. Cases of another time than
             now are judged at theirs, in whole seconds.""")]
    for heading, common, why in LIMBO:
        rows = [[f"`{name}`", "accepted" if differ[name].good else "refused", said(differ[name]), text]
                for name, text in why.items() if name in differ]
        parts += [f"## {heading}\n", paragraph(common), table(["Case", "limbo expects", "portbell", "Why"], rows)]
    parts.append("## Where portbell and openssl(1) do not say the same\n\n" + table(
        ["Case", "portbell", "openssl verify", "Why"],
        [[f"`{case.id}`", f"`{verdicts[case.id][0]}`", (answers[case.id].verify or (0, "accepted"))[1], OPENSSL[case.id]]
         for case in cases if case.id in OPENSSL]))
    left = {}
    for case in every:
        if not_applicable(case):
            left.setdefault(not_applicable(case), []).append(case["id"])
    parts.append("## Cases that are left out\n\n" + "\n".join(
        f"Because {why}:\n\n" + "".join(f"- `{name}`\n" for name in names) for why, names in left.items()))
    explained = {name for _, _, why in LIMBO for name in why}
    return "\n".join(parts), explained.symmetric_difference(differ)


def check_page():
    if SANITIZED:
        print("ok cases of another time, doc/x509-limbo.md # SKIP libfaketime and a sanitizer do not go together",
              flush=True)
        return
    text, odd = page()
    if WRITE:
        os.makedirs(os.path.dirname(PAGE), exist_ok=True)
        with open(PAGE, "w") as f:
            f.write(text)
    with open(PAGE) as f:
        kept = f.read()
    if f"**{VERSION}**" not in kept:
        print(f"ok doc/x509-limbo.md # SKIP it is about another version than {VERSION}", flush=True)
        return
    ok(not odd, "each difference from limbo is explained, and no other", "\n".join(sorted(odd)))
    ok(kept == text, "doc/x509-limbo.md is up to date",
       "\n".join(difflib.unified_diff(kept.splitlines(), text.splitlines(), "kept", "written", n=0, lineterm="")))


VERSION = " ".join(openssl("version").stdout.split()[:2])
with open(os.path.join(harness.SOURCE, "tests/data/x509-limbo.json")) as f:
    every = json.load(f)["testcases"]
applicable = [Case(number, case) for number, case in enumerate(every) if not not_applicable(case)]
cases, answers, verdicts = judge()
compare()
check_page()
harness.finish()
