# SPDX-License-Identifier: MIT
"""Real servers for the scenarios: each in the foreground on loopback, as nobody, in a directory of its own.

A fixture counts as started once it did its job in front of us: a TLS server showed its certificate to openssl(1), a
proxy spoke its protocol. What does not get so far raises NotReady with the server's own log.
"""
import atexit
import base64
import concurrent.futures
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

import harness
from harness import free_port, reachable, wait_for

READY_SECONDS = 20


class NotReady(RuntimeError):
    pass


def program(name, *patterns):
    """The path of a server's program, which may live where PATH does not look."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    found = [path] if path else [hit for pattern in patterns for hit in sorted(glob.glob(pattern))]
    if not found:
        raise NotReady(f"{name} is not installed: script/bootstrap --tests")
    return found[-1]


# What openssl(1) sees ---------------------------------------------------------------------------------------------


def pem_fields(pem):
    """Of one certificate in PEM: its SHA-256 fingerprint, subject, issuer, serial and dates, as openssl x509 says."""
    done = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-subject", "-issuer", "-serial",
                           "-startdate", "-enddate", "-nameopt", "RFC2253"], input=pem, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def s_client(port, ca, starttls=None, seconds=10, name="localhost"):
    """A handshake by openssl s_client, which verifies: (fields of the server's certificate or None, all it said)."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-CAfile", ca,
             "-verify_hostname", name, "-verify_return_error", "-showcerts"]
    if starttls:
        words += ["-starttls", starttls]
    if starttls in ("xmpp", "xmpp-server"):
        words += ["-xmpphost", name]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        return None, f"s_client: no answer within {seconds} s\n" + (late.stdout or b"").decode(errors="replace")
    said = (done.stdout + done.stderr).decode(errors="replace")
    found = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    if done.returncode != 0 or not found or "Verify return code: 0 (ok)" not in said:
        return None, said
    return pem_fields(found.group()), said


# The servers ------------------------------------------------------------------------------------------------------


class Server:
    """A server on ports which it keeps when it starts again: `start(tls=False)` is the same without any offer of TLS.

    `protocols` are the STARTTLS protocols it speaks, `direct` what it speaks under TLS from the first byte, `plain`
    its other ports. `ports` has one for each of them. A subclass writes its files in configure() and gives the command
    that stays in the foreground.
    """
    protocols = ()
    direct = ()
    plain = ()
    stop_signal = signal.SIGTERM
    environment = {}
    user = "nobody"
    hosts = None  # the text of an /etc/hosts of its own

    def __init__(self, work, certificate=(None, None), ca=None, tls=True, start=True, name="localhost"):
        os.chmod(work, 0o711)  # nobody must be able to pass
        self.directory = tempfile.mkdtemp(prefix=type(self).__name__.lower() + ".", dir=work)
        self.log_path = os.path.join(self.directory, "log")
        self.ca = ca
        self.name = name  # for which its certificate is
        self.ports = {name: free_port() for name in (*self.protocols, *self.direct, *self.plain)}
        self.process = None
        open(self.log_path, "w").close()
        if certificate[0]:
            self.pem = self.copy(certificate[0], "cert.pem")
            self.key = self.copy(certificate[1], "key.pem")
            with open(self.pem) as f:
                self.facts = pem_fields(f.read())
        atexit.register(self.stop)
        if start:
            self.start(tls)

    def configure(self, tls):
        raise NotImplementedError

    def port(self):
        return next(iter(self.ports.values()))

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text, mode=0o600):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(f.name, mode)
        return f.name

    def copy(self, source, name):
        with open(source) as f:
            return self.write(name, f.read())

    def make(self, name):
        os.makedirs(self.path(name), mode=0o700, exist_ok=True)
        return self.path(name)

    def as_user(self, words):
        """Several refuse to be root; in a user namespace of an ordinary user it is only the number that changes."""
        user = pwd.getpwnam(self.user)
        if os.geteuid() == 0 and ordinary_users():
            for folder, _, files in os.walk(self.directory):
                for name in (folder, *(os.path.join(folder, f) for f in files)):
                    os.chown(name, user.pw_uid, user.pw_gid, follow_symlinks=False)
            prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                      "--no-new-privs", "--pdeathsig=KILL", "--"]
        else:
            prefix = ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}", "--"]
        if self.hosts is not None:
            mount = f'mount --bind {self.write("hosts", self.hosts, 0o644)} /etc/hosts && exec "$@"'
            prefix = ["unshare", "--mount", "sh", "-c", mount, "sh", *prefix]
        return [*prefix, *words]

    def run_as_user(self, *words):
        done = subprocess.run(self.as_user(words), cwd=self.directory, capture_output=True, text=True)
        if done.returncode != 0:
            raise NotReady(f"{words[0]}: {done.stdout}{done.stderr}")

    def launch(self, tls=True):
        """To be called by the main thread: the server ends with the thread that launched it."""
        words = self.configure(tls)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.directory, "TMPDIR": self.directory,
                       "LANG": "C.UTF-8", **self.environment}
        with open(self.log_path, "a") as log:
            # A session of its own: what it leaves behind is ended with it.
            self.process = subprocess.Popen(self.as_user(words), cwd=self.directory, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment, start_new_session=True)

    def prove(self, tls):
        """That it is ready: its certificate by each way to TLS; without TLS, a port that does not show one."""
        for name in self.protocols if not tls else (*self.protocols, *self.direct):
            self.wait_until(lambda name=name: reachable(self.ports[name]), f"{name}: nobody listens")
            starttls = name if name in self.protocols else None
            seen, said = s_client(self.ports[name], self.ca, starttls, 10 if tls else 1, self.name)
            if tls and seen != self.facts:
                self.fail(f"{name}: not the certificate it was given: {seen}\n{said}")
            if not tls and "BEGIN CERTIFICATE" in said:
                self.fail(f"{name}: still offers TLS\n{said}")

    def start(self, tls=True):
        self.launch(tls)
        try:
            self.prove(tls)
        except Exception:
            self.stop()
            raise

    def wait_until(self, what, trouble):
        if not wait_for(lambda: what() or self.process.poll() is not None, READY_SECONDS) or \
                self.process.poll() is not None:
            self.fail(trouble)

    def fail(self, trouble):
        raise NotReady(f"{type(self).__name__}: {trouble}\n"
                       f"status {self.process.poll()}, its log:\n{self.log()[-4000:]}")

    def log(self):
        """All that it wrote: standard error, and files named log in its directory."""
        text = ""
        for path in sorted(glob.glob(self.path("*log"))):
            if os.path.isfile(path):
                with open(path, errors="replace") as f:
                    text += f.read()
        return text

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None

    def restart(self, tls=True):
        self.stop()
        self.start(tls)


def ordinary_users():
    """False in a user namespace in which root is the only user."""
    with open("/proc/self/uid_map") as f:
        return int(f.read().split()[2]) > 65534


class Exim(Server):
    protocols = ("smtp",)
    user = "Debian-exim"  # nobody else may start its daemon

    def configure(self, tls):
        self.make("spool")
        self.write("exim.conf", f"""
primary_hostname = localhost
spool_directory = {self.path("spool")}
log_file_path = {self.path("%slog")}
pid_file_path = {self.path("pid")}
host_lookup =
rfc1413_hosts =
keep_environment =
smtp_accept_max = 100
smtp_accept_max_per_connection = 100
tls_advertise_hosts = {"*" if tls else ""}
tls_certificate = {self.pem}
tls_privatekey = {self.key}
acl_smtp_rcpt = allow
begin acl
allow:
  accept
begin routers
nowhere:
  driver = redirect
  data = :blackhole:
""")
        return [program("exim4"), "-bdf", "-oX", f"[127.0.0.1]:{self.ports['smtp']}", "-C", self.path("exim.conf")]


class Dovecot(Server):
    protocols = ("imap", "pop3", "lmtp", "sieve")
    direct = ("imaps", "pop3s")

    def configure(self, tls):
        secure = f"ssl = yes\nssl_cert = <{self.pem}\nssl_key = <{self.key}" if tls else "ssl = no"

        def login(service, name, direct=None):
            other = ""
            if direct:
                other = f"inet_listener {direct} {{\n address = 127.0.0.1\n" \
                        f" port = {self.ports[direct] if tls else 0}\n ssl = yes\n}}\n"
            return f"service {service} {{\nchroot =\ninet_listener {name} {{\n address = 127.0.0.1\n" \
                   f" port = {self.ports[name]}\n}}\n{other}}}\n"

        self.make("mail")
        self.write("dovecot.conf", f"""
protocols = imap pop3 lmtp sieve
base_dir = {self.make("run")}
state_dir = {self.make("state")}
log_path = {self.path("dovecot.log")}
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
{secure}
mail_location = maildir:{self.path("mail")}
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={self.path("mail")}
}}
service anvil {{
  chroot =
}}
{login("imap-login", "imap", "imaps")}
{login("pop3-login", "pop3", "pop3s")}
{login("managesieve-login", "sieve")}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.ports["lmtp"]}
  }}
}}
""")
        return [program("dovecot"), "-F", "-c", self.path("dovecot.conf")]


class Vsftpd(Server):
    protocols = ("ftp",)

    def configure(self, tls):
        secure = f"ssl_enable=YES\nrsa_cert_file={self.pem}\nrsa_private_key_file={self.key}\n" if tls else ""
        self.write("vsftpd.conf", f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={self.ports['ftp']}\n"
                   "background=NO\nrun_as_launching_user=YES\nftp_username=nobody\nnopriv_user=nobody\n"
                   "anonymous_enable=YES\nseccomp_sandbox=NO\nxferlog_enable=NO\nmax_per_ip=0\n"
                   f"secure_chroot_dir={self.make('empty')}\nanon_root={self.make('files')}\n"
                   f"vsftpd_log_file={self.path('vsftpd.log')}\n{secure}")
        # What is wrong with its configuration it tells standard input, which is a client's socket elsewhere.
        return ["sh", "-c", 'exec "$@" 0>>log', "sh", program("vsftpd"), self.path("vsftpd.conf")]


class Slapd(Server):
    protocols = ("ldap",)
    direct = ("ldaps",)

    def configure(self, tls):
        secure = f"TLSCertificateFile {self.pem}\nTLSCertificateKeyFile {self.key}\n" if tls else ""
        self.write("slapd.conf", f"include /etc/ldap/schema/core.schema\npidfile {self.path('pid')}\n"
                   f"argsfile {self.path('args')}\n{secure}")
        urls = f"ldap://127.0.0.1:{self.ports['ldap']}" + (f" ldaps://127.0.0.1:{self.ports['ldaps']}" if tls else "")
        return [program("slapd"), "-h", urls, "-f", self.path("slapd.conf"), "-d", "stats"]


class Prosody(Server):
    protocols = ("xmpp", "xmpp-server")

    def configure(self, tls):
        modules = '"saslauth", "dialback"' + (', "tls"' if tls else "")
        secure = f'ssl = {{ certificate = "{self.pem}"; key = "{self.key}" }}\n' if tls else ""
        self.write("prosody.cfg.lua", f"""
pidfile = "{self.path("pid")}"
data_path = "{self.make("data")}"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {self.ports["xmpp"]} }}
s2s_ports = {{ {self.ports["xmpp-server"]} }}
c2s_direct_tls_ports = {{ }}
s2s_direct_tls_ports = {{ }}
modules_enabled = {{ {modules} }}
modules_disabled = {{ "offline", "c2s_limit"{"" if tls else ', "tls"'} }}
c2s_require_encryption = false
s2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
log = {{ info = "*console" }}
{secure}
VirtualHost "localhost"
{secure}
""")
        return [program("prosody"), "-F", "--config", self.path("prosody.cfg.lua")]


class Postgres(Server):
    protocols = ("postgres",)
    stop_signal = signal.SIGINT  # does not wait for clients

    def configure(self, tls):
        data = self.path("data")
        if not os.path.isdir(data):
            self.run_as_user(program("initdb", "/usr/lib/postgresql/*/bin/initdb"), "-D", data, "-A", "trust",
                               "-N", "-U", "postgres", "--no-locale")
        words = [program("postgres", "/usr/lib/postgresql/*/bin/postgres"), "-D", data, "-p",
                 str(self.ports["postgres"]), "-k", self.directory]
        settings = ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=1MB", "autovacuum=off"]
        if tls:
            settings += ["ssl=on", f"ssl_cert_file={self.pem}", f"ssl_key_file={self.key}"]
        return words + [word for setting in settings for word in ("-c", setting)]


class Mariadb(Server):
    protocols = ("mysql",)

    def configure(self, tls):
        secure = [f"--ssl-cert={self.pem}", f"--ssl-key={self.key}"] if tls else ["--skip-ssl"]
        return [program("mariadbd"), "--no-defaults", f"--datadir={self.make('data')}", f"--socket={self.path('s')}",
                f"--port={self.ports['mysql']}", "--bind-address=127.0.0.1", "--skip-grant-tables",
                "--skip-networking=0", "--skip-innodb", "--default-storage-engine=Aria", "--default-tmp-storage-engine=Aria",
                "--max-connect-errors=1000000", "--aria-pagecache-buffer-size=1M", "--key-buffer-size=1M", *secure]


class Inspircd(Server):
    protocols = ("irc",)
    direct = ("ircs",)

    def configure(self, tls):
        secure = direct = ""
        if tls:
            secure = '<module name="ssl_gnutls"><module name="starttls">' \
                     f'<sslprofile name="own" provider="gnutls" certfile="{self.pem}" keyfile="{self.key}" ' \
                     'hash="sha256">\n'
            direct = f'<bind address="127.0.0.1" port="{self.ports["ircs"]}" type="clients" sslprofile="own">\n'
        self.write("inspircd.conf", f"""<module name="cap">{secure}
<server name="irc.localhost" description="scenario" network="scenario" id="001">
<admin name="nobody" nick="nobody" email="nobody@localhost">
<bind address="127.0.0.1" port="{self.ports["irc"]}" type="clients">
{direct}<connect allow="*" name="all" timeout="10" localmax="1000" globalmax="1000" resolvehostnames="no"
 useconnectban="no" useident="no" {'usestarttls="yes" ' if tls else ''}>
<performance softlimit="1000">
<dns server="127.0.0.1" timeout="1">
<pid file="{self.path("pid")}">
<path configdir="{self.directory}" datadir="{self.directory}" logdir="{self.directory}" runtimedir="{self.directory}">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{self.path("inspircd.log")}" flush="1">
""")
        return [program("inspircd"), "--nofork", "--config", self.path("inspircd.conf")]


def unpacked_inn():
    """inn2, unpacked in the build directory: its installation wants a host with a full name. Needs the network."""
    directory = os.path.join(harness.BUILD, "scenario-inn2")
    if not os.path.isdir(directory):
        with tempfile.TemporaryDirectory(prefix="inn2.", dir=harness.BUILD) as new:
            download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "inn2", "inn2-inews"]
            if subprocess.run(download, cwd=new, capture_output=True).returncode != 0:
                subprocess.run(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"], capture_output=True)
                done = subprocess.run(download, cwd=new, capture_output=True, text=True)
                if done.returncode != 0:
                    raise NotReady(f"inn2 cannot be downloaded: {done.stdout}{done.stderr}")
            for package in glob.glob(os.path.join(new, "*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, os.path.join(new, "root")], check=True)
            os.rename(os.path.join(new, "root"), directory)
    return directory


class Nnrpd(Server):
    """Its log goes to syslog only."""
    protocols = ("nntp",)

    def __init__(self, *args, **options):
        self.inn = unpacked_inn()
        super().__init__(*args, **options)

    def configure(self, tls):
        # Copies, for nobody may be unable to reach the build directory; innbind without its set-uid bit and group.
        news = self.make("news")
        for source in ("bin/nnrpd", "bin/innbind", "libinn.so.9", "libinnstorage.so.3", "libinnhist.so.3"):
            target = os.path.join(self.make(os.path.join("news", os.path.dirname(source))), os.path.basename(source))
            shutil.copyfile(os.path.join(self.inn, "usr/lib/news", source), target)
            os.chmod(target, 0o755)
        paths = "".join(f"{name}: {self.make(name)}\n" for name in (
            "pathdb", "pathetc", "pathlog", "pathrun", "pathspool", "patharticles", "pathoverview", "pathincoming",
            "pathoutgoing", "patharchive", "pathtmp", "pathfilter", "pathhttp"))
        # Without a certificate it still lists STARTTLS, and answers it with 580. It always looks for one: name none.
        self.write("inn.conf", f"pathhost: news.localhost\ndomain: localhost\nmta: \"/bin/false %s\"\n"
                   f"pathnews: {news}\nhismethod: hisv6\novmethod: tradindexed\nenableoverview: true\n"
                   f"runasuser: nobody\nrunasgroup: nogroup\nnnrpdloadlimit: 0\nreaderswhenstopped: true\n{paths}"
                   f"tlscertfile: {self.pem if tls else self.path('none')}\n"
                   f"tlskeyfile: {self.key if tls else self.path('none')}\n")
        self.write("pathetc/readers.conf", 'auth "all" {\n hosts: "*"\n default: "<any>"\n}\n'
                   'access "all" {\n users: "*"\n newsgroups: "*"\n}\n')
        self.write("pathetc/inn-secrets.conf", "")
        self.write("pathoverview/group.index", "")
        self.write("pathetc/storage.conf", "method trash {\n newsgroups: *\n class: 0\n}\n")
        self.write("pathdb/active", "local.test 0000000000 0000000001 y\n")
        self.write("pathdb/newsgroups", "local.test\ttests\n")
        self.environment = {"INNCONF": self.path("inn.conf"), "LD_LIBRARY_PATH": news}
        return [os.path.join(news, "bin/nnrpd"), "-D", "-f", "-n", "-b", "127.0.0.1", "-p", str(self.ports["nntp"])]


PROTOCOLS = {name: server for server in (Exim, Dovecot, Vsftpd, Nnrpd, Inspircd, Prosody, Slapd, Postgres, Mariadb)
             for name in server.protocols}


def start_all(servers, tls=True):
    """Starts them at the same time."""
    for server in servers:
        server.launch(tls)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for proof in [pool.submit(server.prove, tls) for server in servers]:
            proof.result()


def one_of_each(work, issue, ca):
    """{protocol: server}, for all of PROTOCOLS; started. issue(n) gives the certificate and key of the n-th server."""
    kinds = dict.fromkeys(PROTOCOLS.values())
    made = {kind: kind(work, issue(n), ca, start=False) for n, kind in enumerate(kinds)}
    start_all(made.values())
    return {name: made[kind] for name, kind in PROTOCOLS.items()}


# Other TLS stacks, names, and ways to a target --------------------------------------------------------------------


class GnutlsServ(Server):
    """TLS by GnuTLS instead of OpenSSL; it says back what it is told."""
    direct = ("tls",)

    def configure(self, tls):
        return [program("gnutls-serv"), "--echo", "--quiet", "--disable-client-cert", "-p", str(self.ports["tls"]),
                "--x509certfile", self.pem, "--x509keyfile", self.key]


def dns_question(port, name, kind, seconds=1):
    """The addresses that a server on loopback has for a name; `kind` is 1 (A) or 28 (AAAA). None: no answer."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(seconds)
        s.connect(("127.0.0.1", port))
        try:
            s.send(struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1))
            answer = s.recv(4096)
        except OSError:
            return None
    records, at, found = struct.unpack("!H", answer[6:8])[0], 12 + len(labels) + 5, []
    for _ in range(records):  # its name is a pointer to the question's
        kind_there, _, _, size = struct.unpack("!HHIH", answer[at + 2:at + 12])
        data = answer[at + 12:at + 12 + size]
        if kind_there == kind:
            found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data))
        at += 12 + size
    return found


class Unbound(Server):
    """A DNS server that knows {name: [address, ...]} and says NXDOMAIN to all else."""
    plain = ("dns",)

    def __init__(self, work, names, **options):
        self.names = names
        super().__init__(work, **options)

    def configure(self, tls):
        data = "".join(f'  local-data: "{name}. 5 IN {"AAAA" if ":" in address else "A"} {address}"\n'
                       for name, addresses in self.names.items() for address in addresses)
        self.write("unbound.conf", f"server:\n  interface: 127.0.0.1\n  port: {self.ports['dns']}\n  username: \"\"\n"
                   f"  chroot: \"\"\n  directory: \"{self.directory}\"\n  pidfile: \"{self.path('pid')}\"\n"
                   f"  use-syslog: no\n  module-config: iterator\n  num-threads: 1\n  do-ip6: no\n"
                   f"  local-zone: \".\" static\n{data}remote-control:\n  control-enable: no\n")
        return [program("unbound"), "-d", "-p", "-c", self.path("unbound.conf")]

    def prove(self, tls):
        for name, addresses in self.names.items():
            for kind in (1, 28):
                wanted = sorted(a for a in addresses if (":" in a) == (kind == 28))
                self.wait_until(lambda: sorted(dns_question(self.ports["dns"], name, kind) or []) == wanted,
                                f"{name}: does not answer {wanted}")


class Proxy(Server):
    """A proxy on 127.0.0.1, for everybody or, with `login` ("user:password"), for one. Names are looked up in its own
    /etc/hosts."""
    plain = ("proxy",)

    def __init__(self, work, login=None, hosts="127.0.0.1 localhost\n", **options):
        self.login = login
        self.hosts = hosts
        super().__init__(work, **options)

    def prove(self, tls):
        self.wait_until(lambda: reachable(self.port()), "nobody listens")
        with socket.create_server(("127.0.0.1", 0)) as target:
            port = target.getsockname()[1]
            try:
                with self.through("127.0.0.1", port, self.login):
                    target.settimeout(5)
                    target.accept()[0].close()
            except OSError as trouble:
                self.fail(f"makes no connection: {trouble}")
            if self.login:
                try:
                    self.through("127.0.0.1", port, "user:wrong").close()
                except OSError:
                    return
                self.fail("takes any password")


class Microsocks(Proxy):
    def configure(self, tls):
        words = [program("microsocks"), "-i", "127.0.0.1", "-p", str(self.ports["proxy"])]
        if self.login:
            user, password = self.login.split(":")
            words += ["-u", user, "-P", password]
        return words

    def through(self, host, port, login=None):
        s = socket.create_connection(("127.0.0.1", self.ports["proxy"]), 5)
        s.sendall(b"\x05\x01" + (b"\x02" if login else b"\x00"))
        if s.recv(2) != b"\x05" + (b"\x02" if login else b"\x00"):
            raise OSError("no common method")
        if login:
            user, password = login.encode().split(b":")
            s.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
            if s.recv(2) != b"\x01\x00":
                raise OSError("login refused")
        name = host.encode()
        s.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack("!H", port))
        answer = s.recv(10)
        if answer[:2] != b"\x05\x00":
            raise OSError(f"answers {answer}")
        return s


class Tinyproxy(Proxy):
    def configure(self, tls):
        login = f"BasicAuth {self.login.replace(':', ' ')}\n" if self.login else ""
        self.write("tinyproxy.conf", f"Port {self.ports['proxy']}\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\n"
                   f"LogLevel Connect\nPidFile \"{self.path('pid')}\"\n{login}")
        return [program("tinyproxy"), "-d", "-c", self.path("tinyproxy.conf")]

    def through(self, host, port, login=None):
        s = socket.create_connection(("127.0.0.1", self.ports["proxy"]), 5)
        line = f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n" if login else ""
        s.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{line}\r\n".encode())
        answer = s.recv(4096)
        if not re.match(rb"HTTP/1\.[01] 200 ", answer):
            raise OSError(f"answers {answer}")
        return s


class Haproxy(Server):
    """Demands the PROXY protocol, whichever version, before TLS ("tls") and before plain HTTP ("http"). Its log has
    "FRONTEND src=ADDRESS:PORT dst=ADDRESS:PORT" for each connection, as it was told; "http" answers with the same."""
    plain = ("tls", "http")

    def configure(self, tls):
        with open(self.pem) as pem, open(self.key) as key:
            self.write("both.pem", pem.read() + key.read())
        self.write("haproxy.cfg", f"""
global
  log stdout format raw local0 info
defaults
  mode http
  log global
  log-format "%f src=%ci:%cp dst=%fi:%fp"
  error-log-format "%f src=%ci:%cp dst=%fi:%fp error=%[fc_err_str]"
  timeout client 5s
  timeout connect 5s
  timeout server 5s
frontend tls
  bind 127.0.0.1:{self.ports["tls"]} accept-proxy ssl crt {self.path("both.pem")}
  http-request return status 204
frontend http
  bind 127.0.0.1:{self.ports["http"]} accept-proxy
  http-request return status 200 content-type text/plain lf-string "src=%ci:%cp dst=%fi:%fp"
""")
        return [program("haproxy"), "-db", "-f", self.path("haproxy.cfg")]

    def talk(self, header):
        with socket.create_connection(("127.0.0.1", self.ports["http"]), 5) as s:
            s.sendall(header + b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            try:
                while piece := s.recv(4096):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer

    def prove(self, tls):
        v1 = b"PROXY TCP4 192.0.2.9 192.0.2.1 1234 443\r\n"
        v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\x09\xc0\0\2\1\x04\xd2\x01\xbb"
        self.wait_until(lambda: reachable(self.ports["tls"]) and reachable(self.ports["http"]), "nobody listens")
        for header in (v1, v2):
            if b"src=192.0.2.9:1234 dst=192.0.2.1:443" not in (answer := self.talk(header)):
                self.fail(f"does not hear {header}: {answer}")
        if b"src=" in (answer := self.talk(b"")):
            self.fail(f"does not demand the PROXY protocol: {answer}")
        context = ssl.create_default_context(cafile=self.ca)
        with socket.create_connection(("127.0.0.1", self.ports["tls"]), 5) as s:
            s.sendall(v1)
            with context.wrap_socket(s, server_hostname="localhost") as tls_socket:
                if pem_fields(ssl.DER_cert_to_PEM_cert(tls_socket.getpeercert(True))) != self.facts:
                    self.fail("not the certificate it was given")


class Relay:
    """Passes on what comes for another port of loopback, byte by byte. The reader on the other side gets time to take
    each: `pause` is the shape of the traffic, nothing waits for it."""

    def __init__(self, port, pause=0.0001):
        self.to_port = port
        self.pause = pause
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._join, args=(peer,), daemon=True).start()

    def _join(self, peer):
        try:
            server = socket.create_connection(("127.0.0.1", self.to_port), 5)
        except OSError:
            peer.close()
            return
        ways = [threading.Thread(target=self._pass, args=pair, daemon=True)
                for pair in ((peer, server), (server, peer))]
        for way in ways:
            way.start()
        for way in ways:
            way.join()
        peer.close()
        server.close()

    def _pass(self, source, target):
        try:
            source.settimeout(30)
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(65536):
                for byte in data:
                    target.sendall(bytes([byte]))
                    time.sleep(self.pause)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
