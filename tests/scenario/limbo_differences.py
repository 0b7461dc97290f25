# SPDX-License-Identifier: MIT
"""Why verdicts on x509-limbo's cases differ. A difference that is not here fails limbo.py, and so does an entry here that
is none."""

LONG = (
    "portbell reads at most 100 certificates and this server shows 101: the handshake ends there as tls_protocol, "
    "which refuses as OpenSSL does, under another name"
)

# id: why portbell and openssl(1), asked the same, do not say the same.
OPENSSL = {
    "pathological::pathological-chain-distinct-subject-distinct-key": LONG,
    "pathological::pathological-chain-same-subject-distinct-key": LONG,
    "pathological::pathological-chain-distinct-subject-same-key": LONG,
    "pathological::pathological-chain-same-subject-same-key": LONG,
    "webpki::forbidden-p192-leaf":
        "neither portbell nor s_client offers the curve P-192, as OpenSSL does not by itself: both get the alert "
        "handshake_failure and see no certificate, while `openssl verify` is handed the file and accepts it",
    "webpki::san::wildcard-embedded-leftmost-san":
        "portbell sets X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, for which openssl(1) has no option: `ba*.example.com` "
        "is no name of `baz.example.com`. Where the flag is set (Python's ssl) OpenSSL refuses too",
}

# (heading, what its cases have in common, {id: why})
LIMBO = [
    ("No subject alternative name, or a common name beside it",
     "OpenSSL reads the common name only if there is no DNS name among the alternative ones, and never compares the "
     "two. The baseline requirements of the CA/Browser Forum (CABF) demand that the common name be a copy of one of "
     "them.",
     {
         "webpki::san::no-san": "the common name is the peer's name and stands in for the missing extension",
         "webpki::v1-cert": "a leaf of version 1 has no extensions at all; the common name is the peer's name",
         "webpki::cn::not-in-san": "the common name is none of the alternative names; those fit",
         "webpki::cn::case-mismatch": "the common name is written in other letters (case); the alternative name fits",
         "webpki::cn::punycode-not-in-san":
             "the common name is another internationalized name; the alternative name fits",
         "webpki::cn::utf8-vs-punycode-mismatch":
             "the common name is in UTF-8, the alternative name in punycode and fits",
         "webpki::cn::ipv4-hex-mismatch": "the common name is the address in hexadecimal; the alternative name fits",
         "webpki::cn::ipv4-leading-zeros-mismatch":
             "the common name is the address with zeros before; the alternative name fits",
         "webpki::cn::ipv6-uppercase-mismatch":
             "the common name is the address in upper case; the alternative name fits",
         "webpki::cn::ipv6-uncompressed-mismatch":
             "the common name is the address not shortened; the alternative name fits",
         "webpki::cn::ipv6-non-rfc5952-mismatch":
             "the common name is the address shortened oddly; the alternative name fits",
     }),
    ("Names that should not be in a certificate",
     "What a certification authority may put into a certificate is not checked by OpenSSL, as long as the name fits.",
     {
         "rfc5280::san::underscore-dns": "an underscore in a DNS name is taken as any other character",
         "rfc5280::san::noncritical-with-empty-subject":
             "whether the extension is critical does not matter to OpenSSL",
         "webpki::san::san-critical-with-nonempty-subject":
             "whether the extension is critical does not matter to OpenSSL",
         "webpki::san::public-suffix-multi-label-wildcard-san":
             "OpenSSL has no list of public suffixes: `*.co.uk` is a wildcard",
         "webpki::san::public-suffix-private-namespace-wildcard-san":
             "OpenSSL has no list of public suffixes: `*.s3.amazonaws.com` is a wildcard",
     }),
    ("Weak or odd keys",
     "Verified at security level 0: a monitor has to tell of a weak key, not to take it for a broken chain. How "
     "strong a key or a signature is is another question than who vouches for it.",
     {
         "webpki::forbidden-p192-root": "a root with a P-192 key",
         "webpki::forbidden-dsa-root": "a root with a DSA key",
         "webpki::forbidden-dsa-leaf": "a leaf with a DSA key",
         "webpki::forbidden-weak-rsa-key-in-root": "a root with an RSA key of 1024 bits",
         "webpki::forbidden-weak-rsa-in-leaf": "a leaf with an RSA key of 1024 bits",
         "webpki::forbidden-rsa-not-divisible-by-8-in-root": "a root with an RSA key of 2052 bits",
         "webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf": "a leaf with an RSA key of 2052 bits",
     }),
    ("Extensions that RFC 5280 wants in, out or critical",
     "OpenSSL checks most of this only if asked to be strict (X509_V_FLAG_X509_STRICT), and portbell does not ask: "
     "private authorities would fail whose servers work for everybody. What a file of trusted certificates holds is "
     "trusted as it is.",
     {
         "rfc5280::aki::leaf-missing-aki": "no authority key identifier in the leaf",
         "rfc5280::aki::intermediate-missing-aki": "no authority key identifier in an intermediate",
         "rfc5280::aki::cross-signed-root-missing-aki": "no authority key identifier in a cross-signed root",
         "rfc5280::ski::root-missing-ski": "no subject key identifier in the root",
         "rfc5280::ski::intermediate-missing-ski": "no subject key identifier in an intermediate",
         "rfc5280::root-missing-basic-constraints": "no basic constraints in the root",
         "rfc5280::root-non-critical-basic-constraints": "basic constraints of the root that are not critical",
         "rfc5280::ca-empty-subject": "an authority without a name",
         "rfc5280::leaf-ku-keycertsign": "a leaf that is no authority and whose key may sign certificates",
         "rfc5280::pc::ica-noncritical-pc": "policy constraints that are not critical; portbell asks for no policy",
         "rfc5280::serial::zero": "a serial number of zero",
         "rfc5280::serial::too-long": "a serial number of more than 20 bytes",
         "rfc5280::nc::permitted-dns-match-noncritical": "name constraints that are not critical",
         "rfc5280::nc::not-allowed-in-ee-noncritical": "name constraints in a leaf, where they constrain nothing",
         "rfc5280::nc::not-allowed-in-ee-critical": "name constraints in a leaf, where they constrain nothing",
     }),
    ("Name constraints",
     "How OpenSSL applies them where the case is on the edge.",
     {
         "cve::cve-2025-61727": "`*.example.com` counts as a name, and that one is not excluded",
         "rfc5280::nc::nc-forbids-dnsname-wildcard-san":
             "`*.example.com` counts as a name, and that one is not excluded",
         "rfc5280::nc::invalid-dnsname-leading-period": "a constraint with a leading dot means any name below",
         "rfc5280::nc::nc-permits-invalid-dns-san":
             "a name with a leading dot lies within the constraint; the other name fits",
     }),
    ("One path, not all of them",
     "Of the certificates that a server shows, OpenSSL picks one issuer and does not go back for another when the "
     "path fails further up.",
     {
         "rfc5280::nc::nc-forbids-alternate-chain-ica": "the intermediate it picks leads to no root; the other would",
         "rfc5280::nc::nc-forbids-same-chain-ica":
             "the intermediate it picks breaks a constraint; the other would not",
     }),
    ("An authority's certificate shown by a server",
     "Its key usage is for signing certificates only, and OpenSSL refuses that for a TLS server whatever else it is;"
     " where key usage allows it, it is accepted.",
     {
         "pathlen::validation-ignores-pathlen-in-leaf": "key usage without digital signature",
         "rfc5280::ca-as-leaf": "key usage without digital signature",
         "webpki::ee-basicconstraints-ca": "basic constraints call the leaf an authority; its key usage allows TLS",
     }),
    ("The last second",
     "To OpenSSL a certificate has expired when the second of notAfter has come; RFC 5280 includes it.",
     {
         "rfc5280::validity::notafter-exact": "judged in the very second of notAfter",
         "rfc5280::validity::notafter-fractional":
             "judged in the very second of notAfter: OpenSSL counts whole seconds",
     }),
    ("Depth",
     "How long a chain may be is no setting of portbell's: it is ten intermediates, always.",
     {
         "pathlen::max-chain-depth-0-exhausted": "one intermediate where the case allows none",
         "pathlen::max-chain-depth-1-exhausted": "two intermediates where the case allows one",
     }),
    ("Profiles of the web",
     "Demands of the CABF on public authorities that go beyond RFC 5280; a monitor meets private ones too.",
     {
         "webpki::aki::root-with-aki-missing-keyidentifier":
             "a root's authority key identifier without the identifier",
         "webpki::aki::root-with-aki-authoritycertissuer": "a root's authority key identifier that names an issuer",
         "webpki::aki::root-with-aki-authoritycertserialnumber":
             "a root's authority key identifier with a serial number",
         "webpki::aki::root-with-aki-all-fields": "a root's authority key identifier with all fields",
         "webpki::aki::root-with-aki-ski-mismatch": "a root whose two key identifiers differ",
         "webpki::eku::ee-anyeku": "a leaf for any usage",
         "webpki::eku::ee-critical-eku": "a leaf whose extended key usage is critical",
         "webpki::eku::ee-without-eku": "a leaf without extended key usage, which RFC 5280 allows for anything",
         "webpki::eku::root-has-eku": "a root with extended key usage",
         "webpki::nc::intermediate-permitted-excluded-subtrees-both-null": "name constraints that hold nothing",
         "webpki::nc::intermediate-permitted-excluded-subtrees-both-empty-sequences":
             "name constraints that hold nothing",
         "webpki::malformed-aia": "authority information access is not looked into",
     }),
]
