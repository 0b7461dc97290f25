# SPDX-License-Identifier: MIT
"""What the scenarios share: a portbelld of their own, real servers around it, and a way to say what was seen.

A scenario runs the built programs ($PORTBELL_BUILD) in a network namespace of its own and prints a line
"ok NAME" or "not ok NAME" for each thing it looked at.
"""
import datetime
import email
import email.policy
import http.server
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("PORTBELL_BUILD", os.getcwd())
SANITIZED = os.environ.get("PORTBELL_SANITIZER")  # speed and memory are not what such a build is judged by
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LATE_S = 1.0 if SANITIZED else 0.1  # how long after its deadline a probe may end
failures = 0


def ok(condition, name, detail=""):
    """One line for one thing that was looked at; `detail` says what was seen instead."""
    global failures
    if condition:
        print(f"ok {name}", flush=True)
    else:
        failures += 1
        print(f"not ok {name}", flush=True)
        for line in str(detail).splitlines()[:60]:
            print(f"#   {line}", flush=True)
    return bool(condition)


def skip_if_sanitized(name, why):
    if SANITIZED:
        print(f"ok {name} # SKIP {why}", flush=True)
        sys.exit(0)


def finish():
    sys.exit(1 if failures else 0)


def own_network():
    """Starts the scenario again in a network namespace with nothing but loopback, and a black hole at 192.0.2.0/24."""
    if os.environ.get("PORTBELL_OWN_NETWORK"):
        return
    os.environ["PORTBELL_OWN_NETWORK"] = "1"
    setup = (
        "ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 192.0.2.1/24 dev v0 && "
        "ip link set v0 up && ip link set v1 up && "
        "for n in 7 8 9; do ip neigh add 192.0.2.$n lladdr 02:00:00:00:00:0$n dev v0; done && "
        'exec "$@"'
    )
    options = ["-n"] if os.geteuid() == 0 else ["-rn"]
    os.execvp("unshare", ["unshare", *options, "sh", "-c", setup, "sh", sys.executable, *sys.argv])


def wait_for(what, seconds=30, every=0.05):
    """Polls until what() is true and returns its value; None when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(every)
    return None


given_ports = set()


def free_port():
    """One that nobody has, nor was given before: whoever asks may take a while to listen on it."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in given_ports:
            given_ports.add(port)
            return port


# Certificates ---------------------------------------------------------------------------------------------------------


class Authority:
    """A CA in a directory, made with openssl(1); certificates may be long expired."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.ca = os.path.join(directory, "ca.pem")
        self.key = os.path.join(directory, "ca.key")
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                  "-subj", "/CN=Scenario CA", "-keyout", self.key, "-out", self.ca)
        open(os.path.join(directory, "index.txt"), "w").close()
        with open(os.path.join(directory, "index.txt.attr"), "w") as f:
            f.write("unique_subject = no\n")
        with open(os.path.join(directory, "ca.cnf"), "w") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index.txt\nnew_certs_dir={directory}\n"
                    f"default_md=sha256\npolicy=p\nrand_serial=yes\ncopy_extensions=copy\n[p]\ncommonName=supplied\n")

    def _run(self, *args):
        done = subprocess.run(["openssl", *args], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def issue(self, name, begins_days, ends_days, host="localhost", names=None, extensions=()):
        """A certificate and its key, valid from begins_days to ends_days from now, with more extensions if given."""
        base = os.path.join(self.directory, name)
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = lambda days: (now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")
        self._run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                  f"/CN={host}", "-addext", names or f"subjectAltName=DNS:{host},IP:127.0.0.1", "-keyout", base + ".key",
                  "-out", base + ".csr", *(word for each in extensions for word in ("-addext", each)))
        self._run("ca", "-batch", "-config", os.path.join(self.directory, "ca.cnf"), "-cert", self.ca, "-keyfile",
                  self.key, "-in", base + ".csr", "-out", base + ".pem", "-notext", "-startdate", stamp(begins_days),
                  "-enddate", stamp(ends_days))
        return base + ".pem", base + ".key"


# What is started so ends when the scenario does, however that ends.
WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]

# Real servers ---------------------------------------------------------------------------------------------------------


class Nginx:
    """One nginx with a TLS server for each (port, certificate, key)."""

    def __init__(self, directory, servers):
        os.makedirs(directory, exist_ok=True)
        self.ports = [port for port, _, _ in servers]
        blocks = "".join(
            f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {key}; "
            f"location / {{ return 204; }} }}\n" for port, pem, key in servers)
        user = "user root;\n" if os.geteuid() == 0 else ""
        conf = os.path.join(directory, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"{user}daemon off; worker_processes 1; pid {directory}/pid; error_log stderr;\n"
                    f"events {{ worker_connections 256; }}\nhttp {{ access_log off; client_body_temp_path {directory};"
                    f" proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory};"
                    f" scgi_temp_path {directory};\n{blocks}}}\n")
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        self.process = subprocess.Popen([*WITH_US, binary, "-p", directory, "-c", conf, "-e", "stderr"],
                                        stderr=open(os.path.join(directory, "err"), "w"))
        for port, _, _ in servers:
            if not wait_for(lambda port=port: reachable(port), 10):
                raise RuntimeError("nginx does not listen: " + open(os.path.join(directory, "err")).read())

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def reachable(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class TcpServer:
    """Accepts and closes; may wait with its first word. Stops and starts on the same port."""

    def __init__(self, port=None):
        self.port = port or free_port()
        self.socket = None
        self.start()

    def start(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", self.port))
        self.socket.listen(1024)
        threading.Thread(target=self._serve, args=(self.socket,), daemon=True).start()

    @staticmethod
    def _serve(listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=TcpServer._drain, args=(peer,), daemon=True).start()

    @staticmethod
    def _drain(peer):
        with peer:
            try:
                peer.settimeout(5)
                while peer.recv(4096):
                    pass
            except OSError:
                pass

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class SlowTls:
    """A TLS server that waits `delay` seconds before it answers the ClientHello; the delay may be changed."""

    def __init__(self, pem, key):
        self.delay = 0.0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem, key)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        time.sleep(self.delay)
        try:
            peer.settimeout(5)
            with self.context.wrap_socket(peer, server_side=True) as tls:
                tls.recv(1)
        except OSError:
            pass


class Dns:
    """Answers A and AAAA questions from a table, and says NXDOMAIN to all others. A name has one address or a list of
    them; an "address" may be SERVFAIL or SILENT."""

    def __init__(self, names, port=0):
        self.names = names
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            query, peer = self.socket.recvfrom(512)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            kind = struct.unpack("!H", query[at + 1:at + 3])[0]
            question = query[12:at + 5]
            name = ".".join(labels).lower()
            found = self.names.get(name, [])
            if found == "SILENT":
                continue
            code = 3 if name not in self.names else 2 if found == "SERVFAIL" else 0
            if isinstance(found, str):
                found = [] if code else [found]
            answers = []
            for address in found:
                data = ipaddress.ip_address(address).packed
                if kind == (1 if len(data) == 4 else 28):
                    answers.append(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 5, len(data)) + data)
            head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(answers), 0, 0)
            self.socket.sendto(head + question + b"".join(answers), peer)


# Receivers ------------------------------------------------------------------------------------------------------------


class WebhookReceiver:
    """A real HTTP server that keeps what it was sent. `answer(n)` gives the status of the n-th request."""

    def __init__(self, port=0, answer=lambda n: 204):
        receiver = self
        self.requests = []
        self.lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    status = answer(len(receiver.requests))
                    receiver.requests.append({"at": time.time(), "headers": dict(self.headers.items()), "body": body,
                                              "path": self.path, "status": status})
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_PUT = do_POST

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def bodies(self):
        with self.lock:
            return [json.loads(r["body"]) for r in self.requests if 200 <= r["status"] < 300]


class MailServer:
    """aiosmtpd with STARTTLS and AUTH; keeps what it accepted, parsed by Python's email package."""

    def __init__(self, pem, key, user, password):
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import AuthResult
        mails = self.mails = []

        class Keep:
            async def handle_DATA(self, server, session, envelope):
                message = email.message_from_bytes(envelope.content, policy=email.policy.default)
                mails.append({"at": time.time(), "message": message, "from": envelope.mail_from,
                              "to": list(envelope.rcpt_tos), "tls": session.ssl is not None, "raw": envelope.content,
                              "user": getattr(session, "auth_data", None)})
                return "250 2.0.0 kept"

        def authenticate(server, session, envelope, mechanism, data):
            good = data.login == user.encode() and data.password == password.encode()
            return AuthResult(success=good, handled=good, auth_data=data.login.decode() if good else None)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        self.port = free_port()
        self.controller = Controller(Keep(), hostname="127.0.0.1", port=self.port, tls_context=context,
                                     require_starttls=True, authenticator=authenticate, auth_required=True)
        self.controller.start()


# The daemon -----------------------------------------------------------------------------------------------------------


class Daemon:
    """A portbelld with a configuration, a state directory and a control socket of its own."""

    def __init__(self, directory, config, environment=None, wrapper=None):
        self.directory = directory
        os.makedirs(os.path.join(directory, "run"), exist_ok=True)
        self.config = os.path.join(directory, "portbell.yaml")
        self.log_path = os.path.join(directory, "log")
        self.environment = dict(os.environ, STATE_DIRECTORY=os.path.join(directory, "state"),
                                RUNTIME_DIRECTORY=os.path.join(directory, "run"), **(environment or {}))
        self.wrapper = wrapper or []
        self.socket = os.path.join(directory, "run", "control.sock")
        self.process = None
        self.write(config)

    def write(self, config):
        temporary = self.config + ".new"
        with open(temporary, "w") as f:
            f.write(config)
        os.chmod(temporary, 0o600)
        os.rename(temporary, self.config)

    def start(self):
        log = open(self.log_path, "a")
        self.process = subprocess.Popen([*WITH_US, *self.wrapper, os.path.join(BUILD, "portbelld"), "-c", self.config],
                                        stderr=log, stdout=log, env=self.environment)
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, seconds=15):
        return wait_for(lambda: self.ask("status")[0] in (0, 1), seconds)

    def ask(self, *words, timeout=30):
        """Runs portbell with these words: exit status, standard output, standard error."""
        done = subprocess.run([os.path.join(BUILD, "portbell"), "--socket", self.socket, *words],
                              capture_output=True, text=True, timeout=timeout, env=self.environment)
        return done.returncode, done.stdout, done.stderr

    def status(self):
        code, out, err = self.ask("--json", "status")
        return json.loads(out) if code in (0, 1) else None

    def target(self, name):
        status = self.status()
        return next((t for t in status["targets"] if t["name"] == name), None) if status else None

    def wait_for_targets(self, expected, seconds=20):
        """`expected` is {name: what must become true of the target}. Waits for all of them at the same time, and gives
        {name: whether it did} and {name: the target as last seen}."""
        seen = {}

        def look():
            status = self.status()
            seen.update({target["name"]: target for target in (status["targets"] if status else [])})
            return all(name in seen and what(seen[name]) for name, what in expected.items())

        wait_for(look, seconds, 0.2)
        return {name: bool(name in seen and what(seen[name])) for name, what in expected.items()}, seen

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=10):
        """Exit status, and how long it took."""
        begin = time.monotonic()
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            status = None
        return status, time.monotonic() - begin


def node_modules(package):
    """A node_modules with an npm package in it; fetched once for each build directory."""
    directory = os.path.join(BUILD, "scenario-node")
    name = package.split("@")[0]
    if not os.path.isdir(os.path.join(directory, "node_modules", name)):
        os.makedirs(directory, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", directory, package],
                       check=True, stdin=subprocess.DEVNULL)
    return os.path.join(directory, "node_modules")


def work_directory(name, parent=None):
    """A directory that goes when the scenario ends, unless PORTBELL_KEEP is set."""
    import atexit
    directory = tempfile.mkdtemp(prefix=f"portbell-{name}.", dir=parent)
    if not os.environ.get("PORTBELL_KEEP"):
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
