//! Outside judges: OpenSSL and curl accept what we issue and speak; and OpenSSL makes what our own library would not: weak keys
//! and weak signatures.

use crate::pki::{Ca, replace};
use crate::support::*;
use jitgate::identity::devca::{CA_LIFE, DevCa, LEAF_LIFE, Leaf};
use jitgate::identity::own::OwnPair;
use jitgate::identity::trust::{AnchorError, TrustError};
use jitgate::identity::{Acceptor, OwnIdentity, Peer, Refusal, TlsOptions, Trust, TrustSet, Usage};
use jitgate::runtime::clock::wall;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const PROFILE: &str = "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n\
    subjectAltName=URI:spiffe://jitgate.local/agent/demo\n";
const CA_PROFILE: &str = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n";

/// Runs a tool in `folder`; its words are split at spaces.
fn run(folder: &Path, command: &str) -> Output {
    let mut words = command.split(' ');
    Command::new(words.next().unwrap())
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("`{command}`: {error}; these tests need openssl and curl"))
}

fn openssl(folder: &Path, command: &str) -> String {
    let output = run(folder, &format!("openssl {command}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`openssl {command}`: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes `NAME.key` by `genpkey` with `algorithm`, and `NAME.pem`, signed by `ISSUER` with `signing`.
fn certify(folder: &Path, name: &str, algorithm: &str, issuer: &str, signing: &str, profile: &str) {
    std::fs::write(folder.join("profile"), profile).unwrap();
    openssl(folder, &format!("genpkey -algorithm {algorithm} -out {name}.key"));
    openssl(folder, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    let by = if issuer == name {
        format!("-signkey {name}.key")
    } else {
        format!("-CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial")
    };
    openssl(
        folder,
        &format!("x509 -req -in {name}.csr {by} {signing} -days 30 -extfile profile -out {name}.pem"),
    );
}

fn chain(folder: &Path, names: &[&str]) -> Vec<CertificateDer<'static>> {
    names
        .iter()
        .map(|name| CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap())
        .collect()
}

fn bundle(folder: &Path, root: &str) -> Result<TrustSet, TrustError> {
    let pem = std::fs::read(folder.join(format!("{root}.pem"))).unwrap();
    TrustSet::parse([("jitgate.local", pem.as_slice())], [])
}

const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";
const RSA: &str = "RSA -pkeyopt rsa_keygen_bits:2048";

#[test]
fn weak_keys_and_signatures_anywhere_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certify(folder, "ec", P256, "ec", "-sha256", CA_PROFILE);
    certify(folder, "rsa", RSA, "rsa", "-sha256", CA_PROFILE);
    let weak_rsa = "RSA -pkeyopt rsa_keygen_bits:1024";
    for (algorithm, root, signing, expected) in [
        (P256, "ec", "-sha256", Ok(())),
        (P256, "ec", "-sha512", Ok(())),
        ("EC -pkeyopt ec_paramgen_curve:P-384", "ec", "-sha384", Ok(())),
        ("EC -pkeyopt ec_paramgen_curve:P-521", "ec", "-sha256", Ok(())),
        ("ED25519", "ec", "-sha256", Ok(())),
        (RSA, "rsa", "-sha256", Ok(())),
        (RSA, "rsa", "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest", Ok(())),
        (weak_rsa, "ec", "-sha256", Err(Refusal::WeakKey)),
        ("RSA -pkeyopt rsa_keygen_bits:2047", "ec", "-sha256", Err(Refusal::WeakKey)),
        ("EC -pkeyopt ec_paramgen_curve:secp256k1", "ec", "-sha256", Err(Refusal::WeakKey)),
        ("EC -pkeyopt ec_paramgen_curve:P-224", "ec", "-sha256", Err(Refusal::WeakKey)),
        (
            "EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            "ec",
            "-sha256",
            Err(Refusal::WeakKey),
        ),
        ("ED448", "ec", "-sha256", Err(Refusal::WeakKey)),
        (P256, "ec", "-sha1", Err(Refusal::WeakSignature)),
        (P256, "ec", "-sha224", Err(Refusal::WeakSignature)),
        (P256, "rsa", "-sha1", Err(Refusal::WeakSignature)),
        (P256, "rsa", "-md5", Err(Refusal::WeakSignature)),
        (P256, "rsa", "-sha1 -sigopt rsa_padding_mode:pss", Err(Refusal::WeakSignature)),
    ] {
        certify(folder, "leaf", algorithm, root, signing, PROFILE);
        let trust = Trust::new(bundle(folder, root).unwrap(), Arc::new(wall));
        let outcome = trust.verify(&chain(folder, &["leaf"]), Usage::Client, wall()).map(|_| ());
        assert_eq!(outcome, expected, "{algorithm} {signing}");
    }
    for (algorithm, signing, expected) in [
        (P256, "-sha256", Ok(())),
        (weak_rsa, "-sha256", Err(Refusal::WeakKey)),
        (P256, "-sha1", Err(Refusal::WeakSignature)),
    ] {
        certify(folder, "sub", algorithm, "ec", signing, CA_PROFILE);
        certify(folder, "leaf", P256, "sub", "-sha256", PROFILE);
        let trust = Trust::new(bundle(folder, "ec").unwrap(), Arc::new(wall));
        let outcome = trust.verify(&chain(folder, &["leaf", "sub"]), Usage::Client, wall()).map(|_| ());
        assert_eq!(outcome, expected, "an intermediate with {algorithm} {signing}");
    }
    // What is presented is judged, also where the path does without it: `sub` has a weak signature, and did not sign this leaf.
    certify(folder, "leaf", P256, "ec", "-sha256", PROFILE);
    let trust = Trust::new(bundle(folder, "ec").unwrap(), Arc::new(wall));
    let outcome = trust.verify(&chain(folder, &["leaf", "sub"]), Usage::Client, wall()).map(|_| ());
    assert_eq!(outcome, Err(Refusal::WeakSignature));
    certify(folder, "weak", weak_rsa, "weak", "-sha256", CA_PROFILE);
    assert!(matches!(
        bundle(folder, "weak"),
        Err(TrustError::Anchor { position: 1, why: AnchorError::WeakKey, .. })
    ));
}

/// Serves one connection; returns the peer, or why it was refused, with what `command` printed and how it ended.
async fn serve_one(folder: &Path, listener: Acceptor, command: &str) -> (Result<Peer, Refusal>, Output) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let command = command.replace("PORT", &socket.local_addr().unwrap().port().to_string());
    let folder = folder.to_owned();
    let caller = tokio::task::spawn_blocking(move || run(&folder, &command));
    let (tcp, _) = socket.accept().await.unwrap();
    let outcome = match listener.accept(tcp).await {
        Ok(mut accepted) => {
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            accepted.stream.write_all(reply).await.unwrap();
            accepted.stream.shutdown().await.unwrap();
            Ok(accepted.peer)
        }
        Err(refused) => Err(refused.reason),
    };
    (outcome, caller.await.unwrap())
}

#[tokio::test]
async fn weak_leaves_are_refused_in_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certify(folder, "ec", P256, "ec", "-sha256", CA_PROFILE);
    for (algorithm, signing, expected) in [
        (P256, "-sha256", None),
        ("RSA -pkeyopt rsa_keygen_bits:1024", "-sha256", Some(Refusal::WeakKey)),
        (P256, "-sha1", Some(Refusal::WeakSignature)),
    ] {
        certify(folder, "leaf", algorithm, "ec", signing, PROFILE);
        let trust = Trust::new(bundle(folder, "ec").unwrap(), Arc::new(wall));
        let listener = listener(trust, TlsOptions { alpn: &[], ..TlsOptions::default() });
        let command =
            "openssl s_client -connect 127.0.0.1:PORT -cert leaf.pem -key leaf.key -cipher ALL:@SECLEVEL=0";
        let (outcome, _) = serve_one(folder, listener, command).await;
        assert_eq!(outcome.err(), expected, "{algorithm} {signing}");
    }
}

#[tokio::test]
async fn openssl_and_curl_accept_the_development_ca() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ca = DevCa::init(folder, CA_LIFE, wall()).unwrap();
    let issue = |leaf: Leaf, name: &str| ca.issue(&leaf, &folder.join(name), LEAF_LIFE, wall()).unwrap();
    issue(Leaf::agent("demo").unwrap(), "agent");
    issue(Leaf::operator("local").unwrap(), "operator");
    issue(Leaf::control("local").unwrap(), "control");
    let proxy = issue(Leaf::proxy("edge", &["localhost", "127.0.0.1", "orders.localhost"]).unwrap(), "proxy");
    for (name, purpose) in [
        ("agent", "sslclient"),
        ("operator", "sslclient"),
        ("control", "sslserver"),
        ("proxy", "sslserver"),
        ("proxy", "sslclient"),
    ] {
        let verify = format!("verify -x509_strict -purpose {purpose} -CAfile ca.pem {name}/cert.pem");
        openssl(folder, &verify);
    }
    let text = openssl(folder, "x509 -in agent/cert.pem -noout -text");
    for part in [
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n",
        "URI:spiffe://jitgate.local/agent/demo\n",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "ASN1 OID: prime256v1",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let text = openssl(folder, "x509 -in ca.pem -noout -text");
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "X509v3 Subject Key Identifier"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }

    let pem = std::fs::read(ca.bundle()).unwrap();
    for host in ["localhost", "127.0.0.1", "orders.localhost"] {
        let trust = TrustSet::parse([("jitgate.local", pem.as_slice())], []).unwrap();
        let own = OwnIdentity::new(OwnPair::load(&proxy, wall()).unwrap());
        let listener = Acceptor::new(own, Trust::new(trust, Arc::new(wall)), TlsOptions::default()).unwrap();
        let command = format!(
            "curl -sS --http1.1 --noproxy * --resolve {host}:PORT:127.0.0.1 --cacert ca.pem \
             --cert agent/cert.pem --key agent/key.pem https://{host}:PORT/"
        );
        let (outcome, output) = serve_one(folder, listener, &command).await;
        assert_eq!(outcome.unwrap().principal().as_str(), AGENT);
        assert_eq!(output.stdout, b"hello", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What OpenSSL makes of our chains is what we make of them: a control for the generator that the other tests rely on.
#[test]
fn the_test_generator_makes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let root = Ca::root("root");
    replace(&folder.join("root.pem"), root.pem().as_bytes());
    let agent = root.intermediate("sub").issue(AGENT);
    replace(&folder.join("chain.pem"), agent.chain_pem().as_bytes());
    openssl(folder, "verify -CAfile root.pem -untrusted chain.pem chain.pem");
    replace(&folder.join("crl.pem"), root.crl(&[&agent.serial]).as_bytes());
    let serial = agent.serial.to_bytes().iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let serial = serial.trim_start_matches('0');
    assert!(openssl(folder, "crl -in crl.pem -noout -text").contains(serial));
}
