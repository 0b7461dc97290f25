# SPDX-License-Identifier: MIT
"""Peers that misbehave, for the scenarios: listeners served from processes of their own, certificates written byte by
byte, and the server's half of TLS 1.2 (up to its ServerHelloDone) and of TLS 1.3 (all of it) with nothing in the way of
saying wrong things.

    port = serve(talk)      a listener; talk(peer) runs in a thread for each connection
    begin()                 forks the processes that serve them all; before any other thread is started
    trial = Trial(...)      one daemon with all of them and twenty well-behaved targets, watched for a while
"""
import datetime
import hashlib
import hmac
import json
import multiprocessing
import os
import re
import signal
import socket
import sqlite3
import ssl
import struct
import threading
import time

import harness
from harness import SANITIZED, ok, wait_for

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

RST = struct.pack("ii", 1, 0)
PATIENCE = 10  # seconds a peer waits for us before it lets go
# What may not reach a terminal, a log or a mail: C0, DEL, C1, bidi and zero-width marks.
FORBIDDEN = frozenset([*range(32), *range(0x7F, 0xA0), *range(0x200B, 0x2010), *range(0x202A, 0x202F),
                       *range(0x2060, 0x206A), 0xFEFF])
EVIL = "\0\x1b[31mevil\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script>\"'&\u202e\u200b\x9b\x7f\t"

# Serving --------------------------------------------------------------------------------------------------------------

_listeners = []


def serve(talk, backlog=64, prepare=None):
    """A listener on 127.0.0.1 and its port; prepare(listener) may set options before the first connection."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if prepare:
        prepare(listener)
    listener.bind(("127.0.0.1", 0))
    listener.listen(backlog)
    _listeners.append((listener, talk))
    return listener.getsockname()[1]


def _one(talk, peer):
    try:
        with peer:
            peer.settimeout(PATIENCE)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk(peer)
    except (OSError, ValueError):
        pass


def _run(listener, talk):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=_one, args=(talk, peer), daemon=True).start()


def _serve_all(listeners, niceness):
    os.nice(niceness)
    for listener, talk in listeners:
        threading.Thread(target=_run, args=(listener, talk), daemon=True).start()
    while True:
        time.sleep(3600)


def greedy(talk):
    """Marks a peer that talks as fast as it can. Real ones are on other machines: here they may not win the processor
    from what is watched, nor from those whose answer is waited for."""
    talk.greedy = True
    return talk


def begin():
    context = multiprocessing.get_context("fork")
    hogs = [pair for pair in _listeners if hasattr(pair[1], "greedy")]
    others = [pair for pair in _listeners if not hasattr(pair[1], "greedy")]
    for listeners, niceness in ((hogs, 15), (others[::2], 0), (others[1::2], 0)):
        context.Process(target=_serve_all, args=(listeners, niceness), daemon=True).start()
    for listener, _ in _listeners:
        listener.close()
    _listeners.clear()


def full_backlog():
    """A port whose backlog is full and that nobody accepts from; the sockets must be kept."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    crowd = []
    for _ in range(4):
        crowd.append(socket.socket())
        crowd[-1].setblocking(False)
        crowd[-1].connect_ex(listener.getsockname())
    return listener.getsockname()[1], [listener, *crowd]


# What peers do --------------------------------------------------------------------------------------------------------


def say(*parts, then="wait", after=0):
    """Reads `after` bytes or more first, says the parts, then waits for our end ("wait"), closes or resets."""
    def talk(peer):
        if after:
            peer.recv(after)
        for part in parts:
            peer.sendall(part)
        end(peer, then)
    return talk


def flood(block, first=b"", limit=1 << 30, after=0):
    """Says `first`, then the block again and again, a gigabyte if it is let."""
    block *= max(1, 65536 // len(block))

    def talk(peer):
        if after:
            peer.recv(after)
        peer.sendall(first)
        sent = 0
        while sent < limit:
            peer.sendall(block)
            sent += len(block)
        drink(peer)
    return greedy(talk)


def drip(data, pause, first=b"", after=0):
    """A byte, a pause, a byte..."""
    def talk(peer):
        if after:
            peer.recv(after)
        peer.sendall(first)
        for byte in data:
            peer.sendall(bytes([byte]))
            time.sleep(pause)
        drink(peer)
    return talk


def drink(peer):
    while peer.recv(65536):
        pass


def end(peer, how):
    """ "wait" for their end, "close" (a FIN; what they still say is read, or it would be a reset), or "reset"."""
    if how == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        return
    if how == "close":
        peer.shutdown(socket.SHUT_WR)
    drink(peer)


def sleep_through(peer):
    """Never reads, so that the window closes."""
    time.sleep(PATIENCE)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


def small_window(listener):
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)


# DER ------------------------------------------------------------------------------------------------------------------


def der(tag, *parts):
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def der_int(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def der_oid(text):
    numbers = [int(n) for n in text.split(".")]
    out = b""
    for n in [numbers[0] * 40 + numbers[1], *numbers[2:]]:
        group = [n & 0x7F]
        while n > 0x7F:
            n >>= 7
            group.append(0x80 | n & 0x7F)
        out += bytes(reversed(group))
    return der(6, out)


def der_name(*pairs):
    """(oid, text or bytes[, tag]); text is a UTF8String."""
    out = b""
    for oid, value, *tag in pairs:
        raw = value.encode() if isinstance(value, str) else value
        out += der(0x31, der(0x30, der_oid(oid), der(tag[0] if tag else 0x0C, raw)))
    return der(0x30, out)


CN, O, OU, L, ST, C, EMAIL = "2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.7", "2.5.4.8", "2.5.4.6", "1.2.840.113549.1.9.1"
ALGORITHMS = {
    "ecdsa-sha256": der(0x30, der_oid("1.2.840.10045.4.3.2")),
    "ecdsa-sha1": der(0x30, der_oid("1.2.840.10045.4.1")),
    "rsa-sha256": der(0x30, der_oid("1.2.840.113549.1.1.11"), der(5)),
    "rsa-md5": der(0x30, der_oid("1.2.840.113549.1.1.4"), der(5)),
}
HASHES = {"sha256": hashes.SHA256, "sha1": hashes.SHA1, "md5": hashes.MD5}
DNS, IP, URI, MAIL, DIRECTORY = 0x82, 0x87, 0x86, 0x81, 0xA4
LOCALHOST = (DNS, b"localhost")


def day(days):
    """ASN.1 time, so many days from now: UTCTime up to 2049."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return der(0x17, at.strftime("%y%m%d%H%M%SZ").encode()) if 1950 <= at.year < 2050 else \
        der(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())


def moment(text):
    """ASN.1 time as written: 13 characters are a UTCTime."""
    return der(0x17 if len(text) == 13 else 0x18, text.encode())


def public_der(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def raw(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def sign(key, algorithm, data):
    kind, name = algorithm.split("-")
    if kind == "ecdsa":
        return key.sign(data, ec.ECDSA(HASHES[name]()))
    return key.sign(data, padding.PKCS1v15(), HASHES[name]())


def extension(oid, value, critical=False):
    return der(0x30, der_oid(oid), der(1, b"\xff") if critical else b"", der(4, value))


class Issuer:
    """Who signs: a name, a key, and a certificate of its own."""

    def __init__(self, name=der_name((CN, "Scenario CA")), key=None, algorithm="ecdsa-sha256", parent=None):
        self.name = name
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.algorithm = algorithm
        self.der = (parent or self).issue(subject=name, public=public_der(self.key), days=(-1, 3650), authority=True)

    def pem(self):
        return ssl.DER_cert_to_PEM_cert(self.der)

    def issue(self, public, subject=der_name((CN, "localhost")), days=(-1, 90), moments=None, names=(LOCALHOST,),
              serial=1, authority=False, algorithm=None, others=b""):
        """A certificate of version 3, in DER; nothing in it is looked at twice."""
        algorithm = algorithm or self.algorithm
        begins, ends = [moment(m) for m in moments] if moments else [day(d) for d in days]
        extensions = others
        if authority:
            extensions += extension("2.5.29.19", der(0x30, der(1, b"\xff")), True)
        elif names:
            critical = subject == der(0x30)
            extensions += extension("2.5.29.17", der(0x30, *(der(tag, value) for tag, value in names)), critical)
        tbs = der(0x30, der(0xA0, der_int(2)), der_int(serial), ALGORITHMS[algorithm], self.name,
                  der(0x30, begins, ends), subject, public, der(0xA3, der(0x30, extensions)))
        return der(0x30, tbs, ALGORITHMS[algorithm], der(3, b"\0", sign(self.key, algorithm, tbs)))


def rsa_public(bits, exponent):
    """A public key without a private one: the number has no factors that anybody knows."""
    modulus = int.from_bytes(hashlib.shake_256(b"portbell %d" % bits).digest(bits // 8), "big") | 1 << (bits - 1) | 1
    return der(0x30, der(0x30, der_oid("1.2.840.113549.1.1.1"), der(5)),
               der(3, b"\0", der(0x30, der_int(modulus), der_int(exponent))))


def write_pem(base, chain, key):
    """Files for Python's ssl: the certificates, and the key."""
    with open(base + ".pem", "w") as f:
        f.write("".join(ssl.DER_cert_to_PEM_cert(c) for c in chain))
    with open(base + ".key", "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
    return base + ".pem", base + ".key"


# TLS, by hand ---------------------------------------------------------------------------------------------------------

HANDSHAKE, ALERT, CHANGE, DATA = 0x16, 0x15, 0x14, 0x17


def record(kind, body, version=0x0303):
    return struct.pack("!BHH", kind, version, len(body)) + body


def records(kind, body, size=16384):
    return b"".join(record(kind, body[i:i + size]) for i in range(0, len(body), size))


def u8(body):
    return struct.pack("!B", len(body)) + body


def u16(body):
    return struct.pack("!H", len(body)) + body


def u24(body):
    return len(body).to_bytes(3, "big") + body


def message(kind, body):
    return bytes([kind]) + u24(body)


def ext(kind, body):
    return struct.pack("!H", kind) + u16(body)


def server_hello(cipher, version=0x0303, extensions=b"", random=b"\x07" * 32, session=b""):
    chosen = struct.pack("!HB", cipher, 0)
    return message(2, struct.pack("!H", version) + random + u8(session) + chosen + u16(extensions))


HELLO_RETRY = hashlib.sha256(b"HelloRetryRequest").digest()  # RFC 8446 section 4.1.3: a random of this value
RSA_AES, ECDHE_ECDSA, ECDHE_RSA, DHE_RSA, DHE_DSS = 0x002F, 0xC02B, 0xC02F, 0x009E, 0x00A2
RENEGOTIATION = ext(0xFF01, b"\0")
DONE = message(14, b"")
HELLO_REQUEST = record(HANDSHAKE, message(0, b""))


def certificate12(chain):
    return message(11, u24(b"".join(u24(c) for c in chain)))


class ClientHello:
    """What is needed of ours: its bytes (for the transcript), random, session id and X25519 share."""

    def __init__(self, peer):
        self.raw = b""
        while len(self.raw) < 4 or len(self.raw) < 4 + int.from_bytes(self.raw[1:4], "big"):
            head = read_exactly(peer, 5)
            body = read_exactly(peer, struct.unpack("!H", head[3:])[0])
            self.raw += body if head[0] == HANDSHAKE else b""  # a second one comes after a ChangeCipherSpec
        self.random = self.raw[6:38]
        at = 39 + self.raw[38]
        self.session = self.raw[39:at]
        at += 2 + struct.unpack("!H", self.raw[at:at + 2])[0]
        at += 1 + self.raw[at]
        end = at + 2 + struct.unpack("!H", self.raw[at:at + 2])[0]
        at += 2
        self.share = None
        while at < end:
            kind, size = struct.unpack("!HH", self.raw[at:at + 4])
            if kind == 51:
                shares = self.raw[at + 6:at + 4 + size]
                while shares:
                    group, length = struct.unpack("!HH", shares[:4])
                    if group == 0x1D:
                        self.share = shares[4:4 + length]
                    shares = shares[4 + length:]
            at += 4 + size


def read_exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def key_exchange(key, params, hello, algorithm=0x0403):
    """A signed ServerKeyExchange of TLS 1.2; without a key the signature is noise."""
    data = hello.random + b"\x07" * 32 + params
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(data, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, dsa.DSAPrivateKey):
        signature = key.sign(data, hashes.SHA256())
    else:
        signature = b"\x01" * key
    return message(12, params + struct.pack("!H", algorithm) + u16(signature))


def ecdhe_params():
    share = raw(x25519.X25519PrivateKey.generate())
    return b"\x03\x00\x1d" + u8(share)


def dhe_params(bits):
    prime = hashlib.shake_256(b"group %d" % bits).digest(bits // 8)
    prime = bytes([prime[0] | 0x80]) + prime[1:-1] + bytes([prime[-1] | 1])
    return u16(prime) + u16(b"\x02") + u16(prime[1:])


def tls12(chain, cipher=ECDHE_ECDSA, key=None, params=None, algorithm=0x0403, extensions=RENEGOTIATION, size=16384,
          then="wait"):
    """The server's first flight of TLS 1.2, then nothing more: the certificate is seen, the handshake does not end."""
    def talk(peer):
        hello = ClientHello(peer)
        flight = server_hello(cipher, extensions=extensions) + certificate12(chain)
        if key is not None:
            flight += key_exchange(key, params() if params else ecdhe_params(), hello, algorithm)
        peer.sendall(records(HANDSHAKE, flight + DONE, size))
        end(peer, then)
    return talk


class Tls13:
    """The server's side of TLS 1.3 (RFC 8446) with TLS_AES_128_GCM_SHA256 and X25519, for one connection."""

    def __init__(self, peer):
        self.peer = peer
        self.hello = ClientHello(peer)
        self.transcript = hashlib.sha256(self.hello.raw)
        self.sequence = 0

    @staticmethod
    def expand(secret, label, context, size):
        info = struct.pack("!H", size) + u8(b"tls13 " + label) + u8(context) + b"\x01"
        return hmac.digest(secret, info, "sha256")[:size]

    def derive(self, secret, label):
        return self.expand(secret, label, self.transcript.digest(), 32)

    def use(self, secret):
        self.secret = secret
        self.aead = AESGCM(self.expand(secret, b"key", b"", 16))
        self.iv = int.from_bytes(self.expand(secret, b"iv", b"", 12), "big")
        self.sequence = 0

    def next_key(self):
        self.use(self.expand(self.secret, b"traffic upd", b"", 32))

    def seal(self, kind, body):
        """One encrypted record, or as many as are needed."""
        out = b""
        for i in range(0, max(len(body), 1), 16384):
            inner = body[i:i + 16384] + bytes([kind])
            head = struct.pack("!BHH", DATA, 0x0303, len(inner) + 16)
            out += head + self.aead.encrypt((self.iv ^ self.sequence).to_bytes(12, "big"), inner, head)
            self.sequence += 1
        return out

    def flight(self, chain, key, ask=False, extensions=b"", twist=lambda messages: messages):
        """ServerHello to Finished; from then on seal() is with the keys for data."""
        share = x25519.X25519PrivateKey.generate()
        common = share.exchange(x25519.X25519PublicKey.from_public_bytes(self.hello.share))
        hello = server_hello(0x1301, session=self.hello.session, random=os.urandom(32),
                             extensions=ext(43, b"\x03\x04") + ext(51, b"\x00\x1d" + u16(raw(share))))
        self.transcript.update(hello)
        empty = hashlib.sha256().digest()
        early = hmac.digest(bytes(32), bytes(32), "sha256")
        secret = hmac.digest(self.expand(early, b"derived", empty, 32), common, "sha256")
        server = self.derive(secret, b"s hs traffic")
        self.use(server)
        flight = message(8, u16(extensions))
        if ask:
            flight += message(13, u8(b"") + u16(ext(13, u16(b"\x04\x03\x08\x04"))))
        flight += message(11, u8(b"") + u24(b"".join(u24(c) + u16(b"") for c in chain)))
        flight = twist(flight)
        self.transcript.update(flight)
        signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + self.transcript.digest()
        verify = message(15, b"\x04\x03" + u16(key.sign(signed, ec.ECDSA(hashes.SHA256()))))
        self.transcript.update(verify)
        finished_key = self.expand(server, b"finished", b"", 32)
        finished = message(20, hmac.digest(finished_key, self.transcript.digest(), "sha256"))
        self.transcript.update(finished)
        sealed = record(HANDSHAKE, hello) + record(CHANGE, b"\x01") + self.seal(HANDSHAKE, flight + verify + finished)
        master = hmac.digest(self.expand(secret, b"derived", empty, 32), bytes(32), "sha256")
        self.use(self.derive(master, b"s ap traffic"))
        return sealed


def tls13(chain, key, ask=False, extensions=b"", after=None, twist=lambda messages: messages):
    """A whole TLS 1.3 server; after(tls) says what it likes, in blocks, once its flight is out."""
    def talk(peer):
        tls = Tls13(peer)
        peer.sendall(tls.flight(chain, key, ask, extensions, twist))
        if after:
            for block in after(tls):
                peer.sendall(block)
        drink(peer)
    return greedy(talk) if after else talk


def tickets(tls):
    """NewSessionTicket, some 900 in a record, without an end."""
    one = message(4, struct.pack("!IIBH", 7200, 1, 0, 1) + b"t" + u16(b""))
    while True:
        yield tls.seal(HANDSHAKE, one * (16000 // len(one)))


def key_updates(tls):
    while True:
        block = b""
        for _ in range(200):
            block += tls.seal(HANDSHAKE, message(24, b"\x01"))  # and the same of you, please
            tls.next_key()
        yield block


def data_flood(tls):
    block = tls.seal(DATA, b"\x1b]0;owned\x07" * 1400)
    while True:
        yield block
        block = tls.seal(DATA, b"\x1b]0;owned\x07" * 1400)


def empty_data(tls):
    while True:
        yield b"".join(tls.seal(DATA, b"") for _ in range(100))


def python_tls(pem, key, change=lambda context: None, delay=0.0):
    """A server of Python's ssl, for what its OpenSSL can be told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(pem, key)
    change(context)

    def talk(peer):
        time.sleep(delay)
        with context.wrap_socket(peer, server_side=True) as tls:
            while tls.recv(65536):
                pass
    return talk


# Watching the watcher -------------------------------------------------------------------------------------------------


class Seen:
    """What a daemon showed while hostile peers were at it, at each look: its state dump and the status."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.targets = {}    # the last status of each
        self.reasons = {}    # of each target's probes, all that were seen
        self.totals = {}     # how long they took
        self.starts = {}     # when they began, as unix time
        self.ages = {}       # how long ago that was when it was seen
        self.raw = []        # what `status --json` printed
        self.mark = len(daemon.log())

    def look(self):
        self.daemon.process.send_signal(signal.SIGUSR1)
        code, out, _ = self.daemon.ask("--json", "status")
        if code not in (0, 1):
            return
        now = time.time()
        self.raw.append(out)
        for target in json.loads(out)["targets"]:
            name, last = target["name"], target["last_probe"]
            self.targets[name] = target
            if last:
                start = datetime.datetime.fromisoformat(last["at"]).timestamp()
                self.reasons.setdefault(name, set()).add(last["reason"])
                self.totals.setdefault(name, []).append(last["phases"].get("total", 0))
                self.starts.setdefault(name, []).append(start)
                self.ages.setdefault(name, []).append(now - start)

    def lateness_s(self, names, interval_s):
        """How far the starts of targets that are well lie off their rhythm; one left out counts as an interval."""
        return max((self._lateness_s(name, interval_s) for name in names), default=float("inf"))

    def _lateness_s(self, name, interval_s):
        if name not in self.starts:
            return float("inf")
        phases = [start - self.starts[name][0] for start in self.starts[name]]
        offsets = [phase - round(phase / interval_s) * interval_s for phase in phases]
        off = max(offsets) - min(offsets)
        missed = max(self.ages[name]) - 2 * interval_s
        return off if missed < 0 else interval_s + missed

    def longest_s(self, names):
        return max(max(self.totals.get(name, [float("inf")])) for name in names)

    def lag_ms(self):
        lags_us = [int(n) for n in re.findall(r"lag p99 (\d+) us", self.daemon.log()[self.mark:])]
        return max(lags_us, default=float("inf")) / 1000


def strange(text, newlines=""):
    """The characters of a text that no peer may get through to people."""
    return sorted({c for c in text if ord(c) in FORBIDDEN and c not in newlines})


def strings(value):
    """All strings in what JSON gave, keys as well."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def memory_kb(daemon, field="VmRSS"):
    with open(f"/proc/{daemon.process.pid}/status") as f:
        return int(next(line for line in f if line.startswith(field)).split()[1])


def stored_text(path):
    """Every text in the daemon's database."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
        tables = [row[0] for row in base.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in base.execute(f'select * from "{table}"'):
                yield from (value for value in row if isinstance(value, str))


class Trial:
    """A daemon with these targets and twenty that are well. A target is (name, address, further keys, expected reason);
    where two may come first the reason is "one or another"."""

    def __init__(self, work, targets, files, timeout_s=1.5, seconds=12):
        self.work = work
        self.targets = targets
        self.timeout_s = timeout_s
        ports = [harness.free_port() for _ in range(10)]
        self.nginx = harness.Nginx(os.path.join(work, "nginx"), [(port, *files) for port in ports])
        self.hook = harness.WebhookReceiver()
        tls = f", tls: {{ca_file: {work}/ca.pem, server_name: localhost}}"
        self.well = {f"well {i}, {kind}": (port, keys) for i, port in enumerate(ports)
                     for kind, keys in (("TLS", tls), ("TCP", ""))}
        self.daemon = self._daemon("", targets)
        # The same twenty without company: what the machine's other users do to them is nobody's fault here.
        self.control = self._daemon("control", [])
        self.daemon.start()
        self.control.start()
        ok(self.daemon.wait_ready() and self.control.wait_ready(), "it starts", self.daemon.log())
        time.sleep(6)  # every peer has had its turns, and memory its peak
        self.before_kb = memory_kb(self.daemon)
        descriptors = self._descriptors()
        self.seen, self.quiet = Seen(self.daemon), Seen(self.control)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            self.seen.look()
            self.quiet.look()
        self.grown_kb = memory_kb(self.daemon) - self.before_kb
        self.more_descriptors = self._descriptors() - descriptors

    def _daemon(self, name, targets):
        directory = os.path.join(self.work, name)
        os.makedirs(directory, exist_ok=True)
        return harness.Daemon(directory, f"""
defaults: {{interval: 2s, timeout: {self.timeout_s * 1000:.0f}ms, alert: {{after: 1, recover: 1, recheck: 1s}}}}
senders:
  hook: {{type: webhook, url: "http://127.0.0.1:{self.hook.port}/", rate: off}}
routes:
  - {{send_to: [hook], group_by: [target, check], group_wait: 100ms}}
targets:
""" + "".join(f'  - {{name: "{name}", address: "{address}"{keys}}}\n' for name, address, keys, _ in targets) + "".join(
            f'  - {{name: "{name}", address: "127.0.0.1:{port}", interval: 1s, timeout: 900ms{keys}}}\n'
            for name, (port, keys) in self.well.items()))

    def _descriptors(self):
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    def last(self, name):
        return (self.seen.targets.get(name) or {}).get("last_probe") or {}

    def verdict(self, name):
        return self.seen.targets.get(name, {"checks": {}})["checks"].get("certificate", {}).get("reason")

    def judge_reasons(self):
        """Of every probe that was seen; and when it ended."""
        for name, _, _, reason in self.targets:
            seen = self.seen.reasons.get(name, {"none"})
            ok(seen <= set(reason.split(" or ")), f"{name}: {reason}",
               [sorted(seen), self.last(name)])
        late = {name: max(times) for name, times in self.seen.totals.items() if max(times) > self.timeout_s + harness.LATE_S}
        ok(not late, f"no probe lasts longer than its timeout and {harness.LATE_S * 1000:.0f} ms", late)
        early = {name: min(self.seen.totals.get(name, [0])) for name, _, _, reason in self.targets
                 if reason.endswith("_timeout") and min(self.seen.totals.get(name, [0])) < self.timeout_s - 0.1}
        ok(not early, "a timeout is one, to 100 ms", early)

    def judge_others(self):
        seen = self.seen
        reasons = {name: seen.reasons.get(name) for name in self.well}
        ok(all(reason == {"ok"} for reason in reasons.values()), "the 20 others are well", reasons)
        if not SANITIZED:
            for what, ms in (("the start of a probe of theirs", lambda seen: seen.lateness_s(self.well, 1) * 1000),
                             ("the end", lambda seen: seen.longest_s(self.well) * 1000),
                             ("p99 of all starts in the worst second", lambda seen: seen.lag_ms())):
                ok(ms(seen) <= ms(self.quiet) + 50, f"{what} is not put off by more than 50 ms: {ms(seen):.1f} ms, "
                   f"{ms(self.quiet):.1f} ms without company")
            ok(self.grown_kb < 4096, f"memory grew by {self.grown_kb} kB, from {self.before_kb} kB")
        ok(self.more_descriptors < 60, f"descriptors grew by {self.more_descriptors}")

    def judge_texts(self, told):
        """Nothing comes out as it came in, in any place; of the target `told` a message is waited for. Stops all."""
        told_of = lambda: [body for body in self.hook.bodies() if told in
                           [alert["labels"].get("target") for alert in body["alerts"]]]
        ok(wait_for(told_of, 10), f"of \"{told}\" we are told", len(self.hook.bodies()))
        self.control.stop()
        status, seconds = self.daemon.stop()
        ok(status == 0 and seconds < 5, "stops within 5 s", f"{status} {seconds:.1f}")
        self.nginx.stop()
        with self.hook.lock:
            bodies = [request["body"].decode() for request in self.hook.requests]
        self.texts = list(stored_text(os.path.join(self.work, "state", "state.db")))
        inner = lambda text: "".join(strings(json.loads(text)))
        for where, found in (
                ("a webhook", [c for body in bodies for c in strange(body) + strange(inner(body), "\n")]),
                ("status --json", [c for out in self.seen.raw for c in strange(out, "\n") + strange(inner(out))]),
                ("the log", strange(self.daemon.log(), "\n")),
                ("the database", [c for text in self.texts for c in strange(text, "\n")])):
            ok(bodies and self.texts and not found, f"nothing strange in {where}", repr(found[:9]))
