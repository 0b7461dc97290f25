#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""TLS servers that mean harm: each ends at its timeout or before, by its exact reason, and takes nothing from twenty
well-behaved targets of the same daemon; nothing of theirs comes out as it came."""
import os
import ssl
import subprocess
import time
import warnings

import harness
import hostile_peers as peers
from harness import ok
from hostile_peers import (ALERT, CHANGE, DATA, DNS, EVIL, HANDSHAKE, HELLO_REQUEST, HELLO_RETRY, LOCALHOST, der,
                           der_name, ec, ext, flood, public_der, record, records, say, serve, server_hello, tls12,
                           tls13)

harness.own_network()
work = harness.work_directory("hostile-tls")
TIMEOUT = 1.5
KEYS = ", tls: {ca_file: ca.pem, server_name: localhost}"

# Certificates ---------------------------------------------------------------------------------------------------------

ca = peers.Issuer()
rsa_ca_key = peers.rsa.generate_private_key(65537, 2048)
rsa_ca = peers.Issuer(der_name((peers.CN, "Scenario RSA CA")), rsa_ca_key, "rsa-sha256")
key = ec.generate_private_key(ec.SECP256R1())
public = public_der(key)
rsa_key = peers.rsa.generate_private_key(65537, 2048)
odd_key = ec.generate_private_key(ec.SECP256K1())
dsa_key = peers.dsa.generate_private_key(2048)
good = ca.issue(public)
rsa_good = ca.issue(public_der(rsa_key))
with open(os.path.join(work, "ca.pem"), "w") as f:
    f.write(ca.pem() + rsa_ca.pem())
files = peers.write_pem(os.path.join(work, "good"), [good], key)
rsa_files = peers.write_pem(os.path.join(work, "rsa"), [rsa_good], rsa_key)
dsa_files = peers.write_pem(os.path.join(work, "dsa"), [ca.issue(public_der(dsa_key))], dsa_key)

evil_name = der_name(*((oid, EVIL) for oid in (peers.C, peers.ST, peers.L, peers.O, peers.OU, peers.EMAIL, peers.CN)))
wide_name = der_name((peers.O, EVIL.encode("utf-16-be"), 0x1E), (peers.CN, b"\xff\xfe\x1b[2J\x9b", 0x14))
broken_name = der_name((peers.CN, b"\xff\xfe\x1b[2J\xc0\x80"))
evil_bytes = EVIL.encode()
evil_names = (LOCALHOST, (DNS, evil_bytes), (peers.MAIL, evil_bytes), (peers.URI, evil_bytes), (peers.IP, b"\x1b[2"),
              (peers.DIRECTORY, evil_name))
evil_ca = peers.Issuer(evil_name)


def many_names(count):
    return (LOCALHOST, *((DNS, b"host-%06d.names.example" % i) for i in range(count)))


def ladder(steps):
    """A chain of so many certificates below the CA, leaf first."""
    issuer, chain = ca, []
    for i in range(steps - 1):
        issuer = peers.Issuer(der_name((peers.CN, f"Step {i}")), parent=issuer)
        chain.insert(0, issuer.der)
    return [issuer.issue(public), *chain]


def only(version):
    def change(context):
        with warnings.catch_warnings(action="ignore"):  # of old versions
            context.minimum_version = context.maximum_version = version
    return change


def demand(version, mode=ssl.CERT_REQUIRED):
    def change(context):
        only(version)(context)
        context.verify_mode = mode
        context.load_verify_locations(os.path.join(work, "ca.pem"))
    return change


def ciphers(text, dh_bits=0):
    def change(context):
        only(ssl.TLSVersion.TLSv1_2)(context)
        context.set_ciphers(text + ":@SECLEVEL=0")
        if dh_bits:
            context.load_dh_params(dh_file(dh_bits))
    return change


def dh_file(bits):
    path = os.path.join(work, f"dh{bits}.pem")
    subprocess.run(["openssl", "dhparam", "-dsaparam", "-out", path, str(bits)], check=True, capture_output=True)
    return path


def shown(certificate, **how):
    """Shows this certificate in a TLS 1.3 that works; the key is our own."""
    return tls13([certificate], key, **how)


def late(peer):
    time.sleep(TIMEOUT + 0.1)
    tls13([good], key)(peer)


def retry_twice(peer):
    hello = peers.ClientHello(peer)
    retry = record(HANDSHAKE, server_hello(0x1301, random=HELLO_RETRY, session=hello.session,
                                           extensions=ext(43, b"\x03\x04") + ext(51, b"\x00\x17")))
    peer.sendall(retry)
    peers.ClientHello(peer)
    peer.sendall(retry)
    peers.drink(peer)


def alert(level, number):
    return say(record(ALERT, bytes([level, number])), after=1)


V = ssl.TLSVersion
HELLO12 = server_hello(peers.ECDHE_ECDSA, extensions=peers.RENEGOTIATION)
SUBJECT = [  # every one of them shown in a handshake that works: name, certificate, reason of the certificate
    ("control characters in the names", ca.issue(public, subject=evil_name, names=evil_names), "ok"),
    ("control characters and expired", ca.issue(public, subject=evil_name, names=evil_names, days=(-90, -1)),
     "cert_expired"),
    ("control characters in the issuer", evil_ca.issue(public), "cert_untrusted"),
    ("wide and Latin text in the names", ca.issue(public, subject=wide_name, days=(-90, -1)), "cert_expired"),
    ("name of 64 kB", ca.issue(public, subject=der_name((peers.CN, "\x1b" * 65536)), days=(-9, -1)), "cert_expired"),
    ("valid to 9999", ca.issue(public, moments=("20200101000000Z", "99991231235959Z")), "ok"),
    ("valid in 1950", ca.issue(public, moments=("500101000000Z", "501231235959Z")), "cert_expired"),
    ("valid from 2049", ca.issue(public, moments=("490101000000Z", "20600101000000Z")), "cert_not_yet_valid"),
    ("expired 30 years ago", ca.issue(public, days=(-12000, -10957)), "cert_expired"),
    ("dates that are none", ca.issue(public, moments=("991399999999Z", "\x1b[2J\r\n999999Z")), "cert_expired"),
    ("negative serial number", ca.issue(public, serial=-(1 << 150)), "ok"),
    ("serial number of 1000 bytes", ca.issue(public, serial=1 << 7990), "ok"),
    ("empty subject", ca.issue(public, subject=der(0x30)), "ok"),
    ("empty subject, no names", ca.issue(public, subject=der(0x30), names=()), "cert_hostname"),
    ("NUL within the name", ca.issue(public, names=((DNS, b"localhost\0.example.com"),)), "cert_hostname"),
    ("SHA-1 signature", ca.issue(public, algorithm="ecdsa-sha1"), "cert_weak_signature"),
    ("MD5 signature", rsa_ca.issue(public, algorithm="rsa-md5"), "cert_weak_signature"),
    ("10,000 names", ca.issue(public, names=many_names(10000)), "ok"),
    ("unknown critical extension", ca.issue(public, others=peers.extension("1.3.6.1.4.1.1.1", b"\x1b[2J", True)),
     "cert_untrusted"),
    ("itself", peers.Issuer(der_name((peers.CN, "localhost")), key).der, "cert_self_signed"),
]
PEERS = [  # name, what it does, reason of availability, reason of the certificate (None: none was seen)
    *((name, shown(certificate), "ok", reason) for name, certificate, reason in SUBJECT),
    ("silent", say(), "tls_timeout", None),
    ("closes after ClientHello", say(then="close", after=4096), "tls_closed", None),
    ("resets after ClientHello", say(then="reset", after=1), "connect_reset", None),
    ("drips", peers.drip(record(HANDSHAKE, HELLO12), 0.3), "tls_timeout", None),
    ("half a record, closes", say(record(HANDSHAKE, HELLO12)[:20], then="close", after=4096), "tls_closed", None),
    ("half a record, waits", say(record(HANDSHAKE, HELLO12)[:20]), "tls_timeout", None),
    ("empty records", flood(record(HANDSHAKE, b"")), "tls_protocol", None),
    ("records of type 255", flood(record(0xFF, b"\x1b[2J")), "tls_protocol", None),
    ("records of version 9.9", flood(record(HANDSHAKE, HELLO12, 0x0909)), "tls_protocol", None),
    ("HTTP", say(b"HTTP/1.1 400 Bad Request\r\n\r\n<script>\x1b[2J"), "tls_protocol", None),
    ("SSH", say(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "tls_protocol", None),
    ("terminal codes", flood(b"\x1b]0;owned\x07"), "tls_protocol", None),
    ("a message of 16 MB", say(records(HANDSHAKE, b"\x02\xff\xff\xff" + bytes(65536))), "tls_protocol", None),
    ("HelloRetryRequest twice", retry_twice, "tls_protocol", None),
    ("ChangeCipherSpec flood", flood(record(CHANGE, b"\x01")), "tls_protocol", None),
    ("data before the handshake", flood(record(DATA, b"\x1b[2J")), "tls_protocol", None),
    ("warnings without an end", flood(record(ALERT, b"\x01\x70")), "tls_protocol", None),
    ("a warning, then silence", alert(1, 112), "tls_timeout", None),
    ("close_notify", alert(1, 0), "tls_closed", None),
    ("fatal handshake_failure", alert(2, 40), "tls_alert", None),
    ("fatal internal_error", alert(2, 80), "tls_alert", None),
    ("fatal unrecognized_name", alert(2, 112), "tls_alert", None),
    ("fatal alert 200", alert(2, 200), "tls_alert", None),
    ("alert of level 7", alert(7, 40), "tls_protocol", None),
    ("ServerHello of an unknown cipher", say(record(HANDSHAKE, server_hello(0x1234))), "tls_protocol", None),
    ("ServerHello of SSL 3.0", say(record(HANDSHAKE, server_hello(0x002F, 0x0300), 0x0300)), "tls_protocol", None),
    ("ServerHello of TLS 9", say(record(HANDSHAKE, server_hello(0x1301, 0x0309))), "tls_protocol", None),
    ("SSL 2", say(b"\x80\x1b\x04\x00\x01\x00\x02\x00\x00\x00\x00\x00\x10" + bytes(16)), "tls_protocol", None),
    ("ALPN nobody asked for", tls12([good], key=key, extensions=ext(16, u"\0\x08\x07".encode() + b"h\x1b[2J\r\n")),
     "tls_protocol", None),
    ("ALPN nobody asked for, later", shown(good, extensions=ext(16, b"\0\x08\x07h\x1b[2J\r\n")), "tls_protocol", None),
    ("100 kB of extensions", shown(good, extensions=ext(0x5A5A, bytes(60000))), "tls_protocol", None),
    ("20,000 names", shown(ca.issue(public, names=many_names(20000))), "tls_protocol", None),
    ("chain of 100", tls13(ladder(100), key), "ok", "cert_untrusted"),
    ("101 certificates", tls13([good] * 101, key), "tls_protocol", None),
    ("101 certificates, TLS 1.2", tls12([good] * 101), "tls_protocol", None),
    ("no certificate", tls13([], key), "tls_protocol", None),
    ("garbage for a certificate", tls13([os.urandom(700)], key), "tls_protocol", None),
    ("a name that is not UTF-8", shown(ca.issue(public, subject=broken_name)), "tls_protocol", None),
    ("certificate cut short", tls13([good[:-90]], key), "tls_protocol", None),
    ("flight of TLS 1.2, then silence", tls12([good], key=key), "tls_timeout", "ok"),
    ("flight of TLS 1.2, then closes", tls12([good], key=key, then="close"), "tls_closed", "ok"),
    ("names in crumbs", tls12([ca.issue(public, names=many_names(2000))], key=key, size=3), "tls_timeout", "ok"),
    ("RSA key of 16384 bits", tls12([ca.issue(peers.rsa_public(16384, (1 << 64) - 1))], peers.ECDHE_RSA, 2048,
                                    algorithm=0x0401), "tls_protocol", "ok"),
    ("RSA key of 512 bits", tls12([ca.issue(peers.rsa_public(512, 3))], peers.RSA_AES), "tls_timeout", "ok"),
    ("EC key on an odd curve", tls12([ca.issue(public_der(odd_key))], key=odd_key), "tls_protocol", "ok"),
    ("wrong signature", tls12([good], key=70), "tls_protocol", "ok"),
    ("DSA key", peers.python_tls(*dsa_files, ciphers("aDSS", 1024)), "ok", "ok"),
    ("DH group of 1024 bits", peers.python_tls(*rsa_files, ciphers("kDHE", 1024)), "ok", "ok"),
    ("DH group of 512 bits", tls12([rsa_good], peers.DHE_RSA, rsa_key, lambda: peers.dhe_params(512), 0x0401),
     "tls_timeout", "ok"),
    ("DH group of 10,000 bits", tls12([rsa_good], peers.DHE_RSA, rsa_key, lambda: peers.dhe_params(10000), 0x0401),
     "tls_protocol", "ok"),
    ("TLS 1.0 only", peers.python_tls(*files, only(V.TLSv1)), "ok", "ok"),
    ("TLS 1.1 only", peers.python_tls(*files, only(V.TLSv1_1)), "ok", "ok"),
    ("no encryption", peers.python_tls(*rsa_files, ciphers("eNULL")), "tls_alert", None),
    ("no certificate by choice", peers.python_tls(*files, ciphers("aNULL")), "tls_alert", None),
    ("demands a certificate, TLS 1.2", peers.python_tls(*files, demand(V.TLSv1_2)), "tls_alert", "ok"),
    ("demands a certificate, TLS 1.3", peers.python_tls(*files, demand(V.TLSv1_3)), "tls_alert", "ok"),
    ("asks for a certificate", peers.python_tls(*files, demand(V.TLSv1_3, ssl.CERT_OPTIONAL)), "ok", "ok"),
    # OpenSSL eats these in one go, as long as there is more: a prober's loop would stand still.
    ("HelloRequests without an end", flood(HELLO_REQUEST, after=1), "tls_protocol", None),
    ("asks, tickets without an end", shown(good, ask=True, after=peers.tickets), "ok", "ok"),
    ("asks, key updates without an end", shown(good, ask=True, after=peers.key_updates), "ok", "ok"),
    ("tickets without an end", shown(good, after=peers.tickets), "ok", "ok"),
    ("data without an end", shown(good, after=peers.data_flood), "ok", "ok"),
    ("asks, data without an end", shown(good, ask=True, after=peers.data_flood), "ok", "ok"),
    ("key updates without an end", shown(good, after=peers.key_updates), "ok", "ok"),
    ("answers after the timeout", late, "tls_timeout", None),
    ("asks, empty data without an end", shown(good, ask=True, after=peers.empty_data), "tls_protocol", "ok"),
]
targets = [(name, f"127.0.0.1:{serve(talk)}", KEYS, reason) for name, talk, reason, _ in PEERS]
never_reads = serve(peers.sleep_through, prepare=peers.small_window)
targets.append(("never reads", f"127.0.0.1:{never_reads}", KEYS, "tls_timeout"))
peers.begin()
trial = peers.Trial(work, targets, files, TIMEOUT)
trial.judge_reasons()
for name, _, _, verdict in PEERS:
    if verdict:
        ok(trial.verdict(name) == verdict, f"{name}: the certificate is {verdict}", trial.verdict(name))
for name, words in (("20,000 names", "certificate list too big"), ("101 certificates", "certificate list too big"),
                    ("101 certificates, TLS 1.2", "certificate list too big"), ("HTTP", "not TLS?"),
                    ("HelloRequests without an end", "handshake too long"),
                    ("DH group of 10,000 bits", "Diffie-Hellman group too big"),
                    ("ServerHello of SSL 3.0", "older than TLS 1.0?"), ("fatal alert 200", "alert 200"),
                    ("fatal unrecognized_name", "unrecognized name")):
    detail = trial.last(name).get("detail") or ""
    ok(words in detail, f"{name}: the words are \"{words}\"", detail)
trial.judge_others()
trial.judge_texts("control characters and expired")
evil = [text for text in trial.texts if r"\x00\x1b[31mevil\x0d\x0aBcc" in text.replace("\\\\", "\\")]
ok(evil, "what the evil name was is told all the same", len(trial.texts))
harness.finish()
