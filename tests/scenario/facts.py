#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The facts of a handshake, field by field as openssl s_client -showcerts and openssl x509 tell them, of servers of
many kinds: what was agreed on, and each certificate of the chain; by portbelld and by portbell probe."""
import json
import os
import re
import socket
import sqlite3
import subprocess

import harness
import servers
from harness import ok, wait_for

NOT_PRINTED = ("key_bits", "ca", "self_signed")  # by portbell probe
CHAIN_SHOWN, NAMES_SHOWN = 10, 64  # FACT_CHAIN_MAX, FACT_SAN_MAX of lib/eval/result.h
servers.unpacked_inn()  # before the network is gone
harness.own_network()
work = harness.work_directory("facts")


def openssl(*words, text=None):
    done = subprocess.run(["openssl", *words], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(words)}: {done.stderr}")
    return done.stdout


# Certificates of all kinds ------------------------------------------------------------------------------------------

CONF = os.path.join(work, "req.cnf")
with open(CONF, "w") as f:
    f.write("oid_section = own\n[own]\nown = 1.3.6.1.4.1.99999.1\n[req]\ndistinguished_name = none\n[none]\n"
            "[person]\nC = DE\nO = Example, Inc.\nCN = Somebody\n")
RSA = ("RSA", "-pkeyopt", "rsa_keygen_bits:2048")


def ec(curve):
    return "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-pkeyopt", "ec_param_enc:named_curve"


def certificate(name, key=ec("P-256"), subject="/CN=localhost", names="DNS:localhost,IP:127.0.0.1", issuer=None,
                days=90, options=(), extensions=()):
    """The files of a certificate and its key; signed by itself without an issuer, which is such a pair."""
    pem, key_file = (os.path.join(work, f"{name}.{end}") for end in ("pem", "key"))
    openssl("genpkey", "-algorithm", *key, "-out", key_file)
    words = ["req", "-config", CONF, "-x509", "-new", "-utf8", "-multivalue-rdn", "-key", key_file, "-subj", subject,
             "-days", str(days), "-out", pem, *options]
    for extension in ([f"subjectAltName={names}"] if names else []) + list(extensions):
        words += ["-addext", extension]
    if issuer:
        words += ["-CA", issuer[0], "-CAkey", issuer[1]]
    openssl(*words)
    return pem, key_file


def authority(name, subject, issuer=None, key=ec("P-256")):
    return certificate(name, key, subject, None, issuer, 1000,
                       extensions=["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"])


def bundle(name, *pairs):
    """The certificates in one file, with the key of the first."""
    path = os.path.join(work, name + "-chain.pem")
    with open(path, "w") as out:
        for pem, _ in pairs:
            with open(pem) as f:
                out.write(f.read())
    return path, pairs[0][1]


root = authority("root", "/C=DE/O=Example/CN=Scenario Root")
rsa_between = authority("rsa-between", "/C=DE/O=Example/CN=RSA Between", root, RSA)
ec_between = authority("ec-between", "/C=DE/O=Example/CN=EC Between", root, ec("P-384"))
ed_between = authority("ed-between", "/C=DE/O=Example/CN=Ed Between", root, ("ED25519",))
tower = [root]
for floor in range(12):
    tower.append(authority(f"floor{floor}", f"/O=Example/CN=Floor {floor}", tower[-1]))
dates = harness.Authority(os.path.join(work, "ca"))

# What each of the thirteen shows: servers.py asks that openssl verifies it with the root.
OWN = [
    dict(key=RSA, subject="/C=DE/ST=Bayern/L=München/O=Beispiel GmbH/OU=Post/CN=localhost"),
    dict(key=ec("P-384"), subject="/O=Example, Inc./CN=localhost", options=["-sha384"]),
    dict(key=RSA, options=["-sha512", "-set_serial", "1"], days=12000),
    dict(subject="/CN=localhost/emailAddress=root@localhost", names="DNS:localhost,email:root@localhost"),
    dict(names="DNS:localhost,DNS:*.localhost,DNS:irc.localhost,IP:127.0.0.1,IP:::1"),
    dict(key=("RSA", "-pkeyopt", "rsa_keygen_bits:3072"), options=["-set_serial", "0x80" + "ff" * 15]),
    dict(subject="/DC=org/DC=example/CN=localhost+serialNumber=4711", key=RSA),
    dict(options=["-set_serial", "0xabc"], days=1),
    dict(key=ec("P-521"), days=397),
]

# Servers of our own making ------------------------------------------------------------------------------------------


class Tool(servers.Server):
    """A program that takes in its arguments PORT, CERT (the server's own), CHAIN (all), ABOVE (the others) and KEY."""
    direct = ("tls",)

    def __init__(self, words, certificate):
        self.words = words
        super().__init__(work, certificate, start=False)

    def configure(self, tls):
        with open(self.pem) as f:
            chain = re.findall("-----BEGIN.*?-----END CERTIFICATE-----\n", f.read(), re.S)
        values = {"PORT": str(self.ports["tls"]), "CERT": self.write("own.pem", chain[0]), "CHAIN": self.pem,
                  "ABOVE": self.write("above.pem", "".join(chain[1:])), "KEY": self.key}
        words = [re.sub("|".join(values), lambda found: values[found.group()], word) for word in self.words]
        return words if chain[1:] else [word for word in words if word not in ("-cert_chain", values["ABOVE"])]

    def prove(self, tls):
        self.wait_until(lambda: harness.reachable(self.ports["tls"]), "nobody listens")


def s_server(certificate, *options):
    return Tool([servers.program("openssl"), "s_server", "-accept", "127.0.0.1:PORT", "-cert", "CERT", "-cert_chain",
                 "ABOVE", "-key", "KEY", "-www", "-cipher", "ALL:@SECLEVEL=0", *options], certificate)


def gnutls(certificate, *options):
    return Tool([servers.program("gnutls-serv"), "--echo", "--quiet", "-p", "PORT", "--x509certfile", "CHAIN",
                 "--x509keyfile", "KEY", *options], certificate)


class Nginx(servers.Server):
    """One nginx, with a server for each of {name: ((certificate, key), its settings)}."""

    def __init__(self, each):
        self.each = each
        self.direct = tuple(each)
        super().__init__(work, start=False)

    def configure(self, tls):
        blocks = "".join(
            f"server {{ listen 127.0.0.1:{self.ports[name]} ssl http2; {settings} location / {{ return 204; }}\n"
            f" ssl_certificate {self.copy(pair[0], f'{n}.pem')};"
            f" ssl_certificate_key {self.copy(pair[1], f'{n}.key')}; }}\n"
            for n, (name, (pair, settings)) in enumerate(self.each.items()))
        folders = " ".join(f"{kind}_temp_path {self.directory};"
                           for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.write("nginx.conf", f"daemon off; pid {self.path('pid')}; error_log stderr;\nevents {{}}\n"
                   f"http {{ access_log off; {folders}\n{blocks}}}\n")
        return [servers.program("nginx"), "-p", self.directory, "-c", self.path("nginx.conf"), "-e", "stderr"]

    def prove(self, tls):
        for port in self.ports.values():
            self.wait_until(lambda port=port: harness.reachable(port), "nobody listens")


class Haproxy(servers.Server):
    direct = ("tls",)

    def configure(self, tls):
        with open(self.pem) as pem, open(self.key) as key:
            self.write("both.pem", pem.read() + key.read())
        self.write("haproxy.cfg", f"""
defaults
  mode http
  timeout client 5s
  timeout connect 5s
  timeout server 5s
frontend tls
  bind 127.0.0.1:{self.ports["tls"]} ssl crt {self.path("both.pem")} alpn h2,http/1.1
  http-request return status 204
""")
        return [servers.program("haproxy"), "-db", "-f", self.path("haproxy.cfg")]

    prove = Tool.prove


many_names = ",".join(f"DNS:host{n}.example" for n in range(100))
plain = certificate("plain", issuer=root)
expired = dates.issue("expired", -400, -3)
later = dates.issue("later", 3, 400)
tools = {
    "gnutls": gnutls(certificate("gnutls", RSA, issuer=root), "--disable-client-cert"),
    "gnutls, TLS 1.2, ALPN": gnutls(bundle("gnutls12", plain, root), "--disable-client-cert", "--priority",
                                    "NORMAL:-VERS-TLS1.3", "--alpn", "foo"),
    "gnutls asks for a certificate": gnutls(plain),
    "haproxy": Haproxy(work, bundle("haproxy", certificate("haproxy", RSA, issuer=rsa_between), rsa_between),
                       start=False),
    "TLS 1.2": s_server(plain, "-tls1_2"),
    "TLS 1.3": s_server(plain, "-tls1_3", "-groups", "P-384"),
    "TLS 1.0": s_server(certificate("old", ("RSA", "-pkeyopt", "rsa_keygen_bits:1024"), options=["-sha1"]), "-tls1"),
    "without forward secrecy": s_server(certificate("kx", RSA), "-tls1_2", "-cipher", "AES128-SHA"),
    "DHE": s_server(certificate("dhe", RSA), "-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"),
    "ffdhe2048": s_server(plain, "-tls1_3", "-groups", "ffdhe2048"),
    "X448": s_server(plain, "-tls1_2", "-groups", "X448"),
    "asks for a certificate": s_server(plain, "-verify", "1", "-CAfile", root[0]),
    "asks in TLS 1.2": s_server(plain, "-verify", "1", "-CAfile", root[0], "-tls1_2", "-alpn", "bar,foo"),
    "a long chain": s_server(bundle("long", certificate("top", issuer=tower[-1]), *reversed(tower))),
    "ten certificates": s_server(bundle("ten", certificate("ninth", issuer=tower[9]), *reversed(tower[1:10]))),
    "the order is wrong": s_server(bundle("mixed", certificate("lost", RSA, issuer=rsa_between), root, rsa_between)),
    "wildcard": s_server(certificate(
        "wildcard", subject="/CN=*.example", names="DNS:*.example,DNS:example", issuer=root)),
    "addresses only": s_server(certificate(
        "addresses", subject="/", names="IP:192.0.2.1,IP:2001:db8::1:0:0:2", issuer=root)),
    "no alternative names": s_server(certificate("cn", names=None, issuer=root)),
    "a hundred names": s_server(certificate("names", names=many_names, issuer=root)),
    "names of all kinds": s_server(certificate(
        "kinds", issuer=root, names="DNS:xn--bcher-kva.example,email:a@b.example,URI:urn:ip:x,URI:spiffe://example/a,"
        "RID:1.2.840.113549,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:someone,dirName:person")),
    "a name to be escaped": s_server(certificate(
        "escaped", issuer=root,
        subject='/O=#1 \\"quoted\\" <a;b\\=c> \\\\ back, ltd. /OU= both ends /CN=Zoë ☃/UID=u\\/v')),
    "types of its own": s_server(certificate(
        "unknown", subject="/own=value/jurisdictionC=DE/businessCategory=Private/CN=localhost", issuer=root)),
    "RSA-PSS": s_server(certificate("pss", ("RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"))),
    "signed with PSS": s_server(certificate("pss-signed", RSA, options=["-sigopt", "rsa_padding_mode:pss"])),
    "Ed448": s_server(certificate("ed448", ("ED448",))),
    "SHA-1": s_server(certificate("sha1", RSA, issuer=rsa_between, options=["-sha1"])),
    "expired": s_server(expired),
    "not yet valid": s_server(later),
    "a large serial": s_server(certificate("serial", options=["-set_serial", "0x7" + "f" * 39], issuer=root)),
    "a serial below zero": s_server(certificate("negative", options=["-set_serial", "-4711"], issuer=root)),
}
nginx = Nginx({
    "nginx, RSA": (bundle("nginx-rsa", certificate("nginx-rsa", RSA, issuer=rsa_between), rsa_between), ""),
    "nginx, EC": (bundle("nginx-ec", certificate(
        "nginx-ec", ec("P-384"), issuer=ec_between, options=["-sha384"]), ec_between),
                  "ssl_protocols TLSv1.2; ssl_ecdh_curve secp384r1;"),
    "nginx, Ed25519": (bundle("nginx-ed", certificate("nginx-ed", ("ED25519",), issuer=ed_between), ed_between, root),
                       ""),
})
OFFERED = ["h2", "http/1.1", "foo"]  # where TLS comes first: exim takes only its own names

# What openssl says --------------------------------------------------------------------------------------------------

STANDARD_NAMES = {line.split()[2]: line.split()[0]
                  for line in openssl("ciphers", "-stdname", "ALL:eNULL:@SECLEVEL=0").splitlines()}
CURVES = {"prime256v1": "secp256r1", "X25519": "x25519", "X448": "x448"}
NAME_TAGS = {"DNS": "DNS", "IP Address": "IP", "email": "email", "URI": "URI", "Registered ID": "RID",
             "DirName": "DirName", "othername": "other"}
VERSIONS = {"TLSv1.3": "TLS 1.3", "TLSv1.2": "TLS 1.2", "TLSv1.1": "TLS 1.1", "TLSv1": "TLS 1.0"}


def one(pattern, text):
    found = re.search(pattern, text, re.M)
    return found.group(1) if found else None


def key_of(text):
    kind, bits = one(r"Public Key Algorithm: (\S+)", text), one(r"Public-Key: \((\d+) bit\)", text)
    curve = one(r"NIST CURVE: (\S+)", text) or one(r"ASN1 OID: (\S+)", text)
    words = {"rsaEncryption": f"RSA {bits}", "rsassaPss": f"RSA-PSS {bits}", "id-ecPublicKey": f"EC {curve}",
             "ED25519": "Ed25519", "ED448": "Ed448"}
    return words[kind], int(bits or {"ED25519": 256, "ED448": 456}[kind])


def alternative_names(pem):
    """As ours are written. For a directory's name, and where only the kind is shown, openssl has a form of its own."""
    line = one(r"Subject Alternative Name:.*\n\s*(.*)", openssl("x509", "-noout", "-ext", "subjectAltName", text=pem))
    found = []
    for part in re.split(", (?=(?:%s):)" % "|".join(NAME_TAGS), line.strip()) if line else []:
        tag, value = part.split(":", 1)
        if tag == "IP Address":
            family = socket.AF_INET6 if ":" in value else socket.AF_INET
            value = socket.inet_ntop(family, socket.inet_pton(family, value))
        if tag == "DirName":  # "/C=DE/O=Example, Inc."
            value = ",".join(reversed(value[1:].replace(",", "\\,").split("/")))
        found.append("other" if tag == "othername" else f"{NAME_TAGS[tag]}:{value}")
    return found


def small_hex(name):
    """What has no name of its own is shown as #HEX; the digits' case is free (RFC 4514, section 2.4)."""
    return re.sub("=#[0-9A-F]+", lambda found: found.group().lower(), name)


def certificate_facts(pem):
    fields = dict(line.split("=", 1) for line in openssl(
        "x509", "-noout", "-subject", "-issuer", "-serial", "-dates", "-fingerprint", "-sha256", "-dateopt", "iso_8601",
        "-nameopt", "RFC2253", "-nameopt", "utf8", "-nameopt", "-esc_msb", text=pem).splitlines())
    text = openssl("x509", "-noout", "-text", text=pem)
    key, bits = key_of(text)
    names = alternative_names(pem)
    return {
        "subject": small_hex(fields["subject"]), "issuer": small_hex(fields["issuer"]),
        "serial": fields["serial"].lower(),
        "sans": names[:NAMES_SHOWN], "san_total": len(names),
        "not_before": fields["notBefore"].replace(" ", "T"), "not_after": fields["notAfter"].replace(" ", "T"),
        "key": key, "key_bits": bits, "signature": one(r"Signature Algorithm: (\S+)", text),
        "ca": "CA:TRUE" in text, "self_signed": fields["subject"] == fields["issuer"],
        "fingerprint": fields["sha256 Fingerprint"].replace(":", "").lower(),
    }


def group_of(said, version):
    words = (one(r"^Server Temp Key: (.*)$", said) or "").split(", ")
    if words[0] == "DH":
        return "ffdhe" + words[1].split()[0] if version == "TLS 1.3" else None  # below 1.3 DHE is of no named group
    name = words[1] if words[0] == "ECDH" else words[0]
    return CURVES.get(name, name) or None


def openssl_facts(port, starttls):
    """The same offer as a probe's."""
    words = ["s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-showcerts", "-cipher",
             "ALL:!aNULL:!eNULL:@SECLEVEL=0", "-min_protocol", "TLSv1"]
    words += ["-starttls", starttls] if starttls else ["-alpn", ",".join(OFFERED)]
    if starttls in ("xmpp", "xmpp-server"):
        words += ["-xmpphost", "localhost"]
    done = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    said = done.stdout.decode(errors="replace")
    cipher = one(r"^New, .*, Cipher is (\S+)$", said)
    # Below TLS 1.3 the line of the cipher has the version in which that was made.
    version = VERSIONS.get(one(r"^\s+Protocol\s*: (\S+)$", said) or one(r"^New, (\S+), ", said))
    chain = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", said, re.S)
    return {
        "version": version, "cipher": STANDARD_NAMES.get(cipher, cipher), "group": group_of(said, version),
        "alpn": one(r"^ALPN protocol: (.*)$", said),
        "client_certificate_asked": "Requested Signature Algorithms:" in said,
        "chain_total": len(chain), "chain": [certificate_facts(pem) for pem in chain[:CHAIN_SHOWN]],
    }


# And what portbelld says ----------------------------------------------------------------------------------------------


def portbell_facts():
    """{target: the facts of the last certificate that was new}"""
    path = os.path.join(work, "state", "state.db")
    if not os.path.exists(path):
        return {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return {target: json.loads(facts) for target, facts in database.execute(
            "SELECT target, facts FROM certificate WHERE facts IS NOT NULL")}


def probe_facts(port, starttls):
    """Of `portbell probe --json`, which has no daemon, in the words of the other."""
    words = [os.path.join(harness.BUILD, "portbell"), "probe", "--json", "-c", daemon.config, "--profile",
             starttls or "direct", f"127.0.0.1:{port}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    try:
        probe = json.loads(done.stdout)
    except ValueError:
        return {"failed": f"{done.returncode}: {done.stdout}{done.stderr}"}
    return {**probe["tls"], "chain": probe["certificates"], "chain_total": probe["certificates_total"]}


def differences(own, theirs, where=""):
    """Of what openssl says, all that is said otherwise."""
    found = []
    for key, value in theirs.items():
        if key == "chain":
            for n, (mine, other) in enumerate(zip(own.get("chain", []), value)):
                found += differences(mine, other, f"{where}certificate {n}: ")
            if len(own.get("chain", [])) != len(value):
                found.append(f"{where}chain: {len(own.get('chain', []))} certificates, openssl {len(value)}")
        elif own.get(key, "absent") != value:
            found.append(f"{where}{key}: {own.get(key, 'absent')!r}, openssl {value!r}")
    return found


try:
    servers.start_all([nginx, *tools.values()])
    running = servers.one_of_each(work, lambda n: certificate(f"own{n}", issuer=root, **OWN[n]), root[0])
except servers.NotReady as trouble:
    ok(False, "the servers start", trouble)
    harness.finish()
watched = {name: (server.ports[name], name) for name, server in running.items()}
for server in dict.fromkeys(running.values()):
    watched |= {name: (server.ports[name], None) for name in server.direct}
watched |= {name: (server.ports["tls"], None) for name, server in tools.items()}
watched |= {name: (port, None) for name, port in nginx.ports.items()}

daemon = harness.Daemon(work, f"""
defaults: {{interval: 5s, timeout: 4s, tls: {{ca_file: {root[0]}, server_name: localhost}}}}
profiles:
  direct: {{tls: {{alpn: {json.dumps(OFFERED)}}}}}
""" + "".join(f"  {name}: {{tls: {{starttls: {name}}}}}\n" for name in running) + "targets:\n" + "".join(
    f'  - {{name: "{name}", address: "127.0.0.1:{port}", profile: {starttls or "direct"}}}\n'
    for name, (port, starttls) in watched.items())).start()
if not ok(daemon.wait_ready(), "it starts", daemon.log()):
    daemon.stop()
    harness.finish()
wait_for(lambda: portbell_facts().keys() >= watched.keys(), 20, 0.2)
seen = portbell_facts()
ok(len(watched) >= 20, f"{len(watched)} servers")
for name, (port, starttls) in watched.items():
    theirs = openssl_facts(port, starttls)
    found = differences(seen[name], theirs) if name in seen else ["no facts", daemon.target(name), theirs]
    printed = [{key: value for key, value in each.items() if key not in NOT_PRINTED} for each in theirs["chain"]]
    found += differences(probe_facts(port, starttls), {**theirs, "chain": printed}, "portbell probe: ")
    ok(not found and theirs["chain"], f"{name}: as openssl says", "\n".join(map(str, found)))
status, seconds = daemon.stop()
ok(status == 0 and seconds < 5, "stops within 5 s with status 0", f"{status} after {seconds:.1f} s")
harness.finish()
