#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""TCP servers that mean harm, in thirteen protocols and none: each gets its exact reason, from a plain target and from
one that expects TLS, and takes nothing from twenty well-behaved targets of the same daemon."""
import os
import socket
import struct

import harness
import hostile_peers as peers
from hostile_peers import der, drip, flood, ext, record, say, serve, server_hello

harness.own_network()
work = harness.work_directory("hostile-tcp")
TIMEOUT = 1.5


def dialogue(greeting, *answers, then="wait"):
    """Says its greeting, then an answer to each line (to anything, if the answer is a tuple of one)."""
    def talk(peer):
        peer.sendall(greeting)
        for answer in answers:
            data = b""
            while not data or (not isinstance(answer, tuple) and b"\n" not in data and len(data) < 65536):
                more = peer.recv(4096)
                if not more:
                    return
                data += more
            answer = answer[0] if isinstance(answer, tuple) else answer
            if callable(answer):
                answer(peer)
            else:
                peer.sendall(answer)
        peers.end(peer, then)
    return talk


def urgent(peer):
    for _ in range(100):
        peer.send(b"\x1b", socket.MSG_OOB)
        peer.sendall(b"[2J")
    peers.drink(peer)


def half_close(peer):
    peer.shutdown(socket.SHUT_WR)
    peers.drink(peer)


def mysql(body, number=0):
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def mysql_greeting(capabilities):
    return mysql(b"\x0a8.0.36\x1b[2J\0" + struct.pack("<I", 7) + b"saltsalt\0" +
                 struct.pack("<HBHHB", capabilities & 0xFFFF, 33, 2, capabilities >> 16, 21) + bytes(10) +
                 b"moresaltmore\0")


def ldap_answer(code, text=b"\x1b[2J\r\nno"):
    return der(0x30, der(2, b"\x01"), der(0x78, der(0x0A, bytes([code])), der(4), der(4, text)))


def starttls(protocol):
    return f"tls: {{starttls: {protocol}, ca_file: ca.pem, server_name: localhost}}"


def exchange(*steps):
    return "exchange: [" + ", ".join(steps) + "]"


HELLO = b"220 mail.example.com ESMTP\r\n"
OFFER = b"250-mail.example.com\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
STREAM = (b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
          b"id='1' from='localhost' version='1.0'>")
FEATURES = STREAM + b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
BOMB = (b"<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY a 'aaaaaaaaaa'>" +
        b"".join(b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)) + b"]><lolz>&j;</lolz>")
TALK = "expect: \"^220 \""
BAD, LATE, GONE = "starttls_protocol", "starttls_timeout", "starttls_closed"
NOT_OFFERED, REFUSED = "starttls_not_offered", "starttls_refused"
# Name, what it does; with the keys to come: the key and the reason; today: the reason of a target with `tls: on`. A
# plain target is ok with all of these, since they accept.
PEERS = [
    ("a gigabyte", flood(b"\x1b]0;owned\x07"), starttls("smtp"), BAD, "tls_protocol"),
    ("a gigabyte of text", flood(b"220-hello\r\n"), exchange('expect: "^221 "'), "exchange_too_long", "tls_protocol"),
    ("NULs", flood(b"\0"), starttls("imap"), BAD, "tls_protocol"),
    ("no newline", flood(b"2"), starttls("smtp"), BAD, "tls_protocol"),
    ("no newline, other words", flood(b"x"), exchange('expect: "y\\n"'), "exchange_too_long", "tls_protocol"),
    ("two bytes a second", drip(HELLO, 0.5), starttls("smtp"), LATE, "tls_timeout"),
    ("two bytes a second, expected", drip(HELLO, 0.6), exchange(TALK), "exchange_timeout", "tls_timeout"),
    ("silence", say(), starttls("pop3"), LATE, "tls_timeout"),
    ("silence, expected", say(), exchange(TALK), "exchange_timeout", "tls_timeout"),
    ("greeting, then silence", say(HELLO), starttls("smtp"), LATE, "tls_protocol"),
    ("half a greeting, then silence", say(b"22"), starttls("smtp"), LATE, "tls_timeout"),
    ("half a greeting, then closes", say(b"220 ma", then="close"), starttls("smtp"), GONE, "tls_protocol"),
    ("closes at once", half_close, starttls("smtp"), GONE, "tls_closed"),
    ("closes at once, expected", half_close, exchange(TALK), "exchange_closed", "tls_closed"),
    ("a line of 64 KiB and one", say(b"220 " + b"x" * 65531 + b"\r\n"), starttls("smtp"), BAD, "tls_protocol"),
    ("a million lines", dialogue(HELLO, flood(b"250-again\r\n", limit=11000000)), starttls("smtp"), BAD,
     "tls_protocol"),
    ("554 for a greeting", say(b"554 \x1b[2Jgo away\r\n"), starttls("smtp"), REFUSED, "tls_protocol"),
    ("EHLO is unknown", dialogue(HELLO, b"500 what?\r\n"), starttls("smtp"), NOT_OFFERED, "tls_protocol"),
    ("STARTTLS is not offered", dialogue(HELLO, b"250 mail.example.com\r\n"), starttls("smtp"), NOT_OFFERED,
     "tls_protocol"),
    ("STARTTLS is offered, then 454", dialogue(HELLO, OFFER, b"454 TLS not available\r\n"), starttls("smtp"), REFUSED,
     "tls_protocol"),
    ("STARTTLS is offered, then closes", dialogue(HELLO, OFFER, b"", then="close"), starttls("smtp"), GONE,
     "tls_protocol"),
    ("bytes after the go-ahead", dialogue(HELLO, OFFER, b"220 go ahead\r\n250 injected\r\n"), starttls("smtp"), BAD,
     "tls_protocol"),
    ("answers before it is asked", say(HELLO + OFFER + b"220 go ahead\r\n"), starttls("smtp"), BAD, "tls_protocol"),
    ("go-ahead, then no TLS", dialogue(HELLO, OFFER, b"220 go ahead\r\n", (HELLO,)), starttls("smtp"), "tls_protocol",
     "tls_protocol"),
    ("TLS before it is asked", say(record(0x16, server_hello(0x1301, extensions=ext(43, b"\3\4")))), starttls("smtp"),
     BAD, "tls_protocol"),
    ("LMTP that is SMTP", dialogue(HELLO, b"500 what?\r\n"), starttls("lmtp"), NOT_OFFERED, "tls_protocol"),
    ("IMAP says BYE", say(b"* BYE \x1b[2Jdown\r\n"), starttls("imap"), REFUSED, "tls_protocol"),
    ("IMAP with a literal of a gigabyte", flood(b"x", b"* OK {999999999}\r\n"), starttls("imap"), BAD, "tls_protocol"),
    ("IMAP that never answers to it", dialogue(b"* OK\r\n", flood(b"* 1 EXISTS\r\n")), starttls("imap"), BAD,
     "tls_protocol"),
    ("Sieve with a literal of a gigabyte", flood(b"x", b"\"IMPLEMENTATION\" {999999999}\r\n"), starttls("sieve"), BAD,
     "tls_protocol"),
    ("POP3 says -ERR", say(b"-ERR \x1b[2Jno\r\n"), starttls("pop3"), REFUSED, "tls_protocol"),
    ("POP3 with abilities without an end", dialogue(b"+OK\r\n", flood(b"UIDL\r\n", b"+OK\r\n")), starttls("pop3"), BAD,
     "tls_protocol"),
    ("FTP says 421", say(b"421 too many users\r\n"), starttls("ftp"), REFUSED, "tls_protocol"),
    ("FTP does not know AUTH", dialogue(b"220 ftp\r\n", b"500 what?\r\n"), starttls("ftp"), NOT_OFFERED,
     "tls_protocol"),
    ("NNTP says 400", say(b"400 \x1b[2Jgone\r\n"), starttls("nntp"), REFUSED, "tls_protocol"),
    ("IRC says ERROR", say(b"ERROR :Closing link: \x1b[2J\r\n"), starttls("irc"), REFUSED, "tls_protocol"),
    ("IRC pings without an end", flood(b"PING :\x1b[2J\r\n"), starttls("irc"), BAD, "tls_protocol"),
    ("LDAP of two gigabytes", flood(b"\0", b"\x30\x84\x7f\xff\xff\xff", after=1), starttls("ldap"), BAD,
     "tls_protocol"),
    ("LDAP of no length", flood(b"\x04\x01x", b"\x30\x80", after=1), starttls("ldap"), BAD, "tls_protocol"),
    ("LDAP with another tag", flood(b"\x02\x01\x01", after=1), starttls("ldap"), BAD, "tls_protocol"),
    ("LDAP is unavailable", say(ldap_answer(52), after=1), starttls("ldap"), REFUSED, "tls_protocol"),
    ("LDAP does not know it", say(ldap_answer(2), after=1), starttls("ldap"), NOT_OFFERED, "tls_protocol"),
    ("MySQL packet of 16 MB", flood(b"x", b"\xff\xff\xff\0\x0a"), starttls("mysql"), BAD, "tls_protocol"),
    ("MySQL without TLS", say(mysql_greeting(0xC1FFF7FF)), starttls("mysql"), NOT_OFFERED, "tls_protocol"),
    ("MySQL has blocked us", say(mysql(b"\xff\x69\x04Host is \x1b[2Jblocked")), starttls("mysql"), REFUSED,
     "tls_protocol"),
    ("PostgreSQL errors without an end", flood(b"E\0\0\0\x20SFATAL\0", after=1), starttls("postgres"), BAD,
     "tls_protocol"),
    ("PostgreSQL says N", say(b"N", after=1), starttls("postgres"), NOT_OFFERED, "tls_timeout"),
    ("PostgreSQL says yes and more", say(b"SR\0\0\0\x08", after=1), starttls("postgres"), BAD, "tls_protocol"),
    ("XMPP with an entity bomb", say(BOMB, after=1), starttls("xmpp"), BAD, "tls_protocol"),
    ("XMPP without a bottom", flood(b"<a>", STREAM, after=1), starttls("xmpp"), BAD, "tls_protocol"),
    ("XMPP attribute without an end", flood(b"x", b"<stream:stream id='", after=1), starttls("xmpp-server"), BAD,
     "tls_protocol"),
    ("XMPP fails", dialogue(b"", (FEATURES,), (b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",)),
     starttls("xmpp"), REFUSED, "tls_protocol"),
    ("a hard case for a regex", say(b"a" * 30000 + b"!\n"), exchange('expect: "^(a+)+$"'), "exchange_mismatch",
     "tls_protocol"),
    ("what it must not say", say(b"220 hello\r\n550 no\r\n"), exchange('expect_not: "^5"', 'expect: "^2.*\\n5"'),
     "exchange_mismatch", "tls_protocol"),
    ("urgent data", urgent, exchange(TALK), "exchange_mismatch", "tls_protocol"),
]

ca = peers.Issuer()
key = peers.ec.generate_private_key(peers.ec.SECP256R1())
with open(os.path.join(work, "ca.pem"), "w") as f:
    f.write(ca.pem())
files = peers.write_pem(os.path.join(work, "good"), [ca.issue(peers.public_der(key))], key)
targets = []  # name, address, keys, reason


def add(name, address, keys, reason):
    targets.append((name, address, keys, reason))


for name, talk, later, later_reason, tls_reason in PEERS:
    address = f"127.0.0.1:{serve(talk)}"
    add(name, address, "", "ok")
    add(name + ", by TLS", address, ", tls: on", tls_reason)
    add(name + ", as it should be", address, ", " + later, later_reason)
full, crowd = peers.full_backlog()
silent = socket.create_server(("127.0.0.1", 0), backlog=4096)  # the kernel accepts for it, but nobody is there
for name, address, plain, tls in (
        ("resets at once", f"127.0.0.1:{serve(peers.reset)}", "ok or connect_reset", "connect_reset"),
        ("closed window", f"127.0.0.1:{serve(peers.sleep_through, prepare=peers.small_window)}", "ok", "tls_timeout"),
        ("nobody accepts", f"127.0.0.1:{silent.getsockname()[1]}", "ok", "tls_timeout"),
        ("backlog is full", f"127.0.0.1:{full}", "connect_timeout", "connect_timeout"),
        ("nobody listens", f"127.0.0.1:{harness.free_port()}", "connect_refused", "connect_refused"),
        ("black hole", "192.0.2.8:25", "connect_timeout", "connect_timeout")):
    add(name, address, "", plain)
    add(name + ", by TLS", address, ", tls: on", tls)
peers.begin()
trial = peers.Trial(work, targets, files, TIMEOUT)
trial.judge_reasons()
trial.judge_others()
trial.judge_texts("a gigabyte, by TLS")
harness.finish()
