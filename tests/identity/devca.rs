//! The development CA: what it issues works, what is there is not lost, and keys are private from the first moment.

use crate::pki::{Ca, replace};
use crate::support::{at, now};
use jitgate::config::IdentityFiles;
use jitgate::identity::devca::{CA_LIFE, DevCa, DevCaError, LEAF_LIFE, Leaf, files_in};
use jitgate::identity::keyfile::FileError;
use jitgate::identity::own::OwnPair;
use jitgate::identity::tls::client_config;
use jitgate::identity::{Acceptor, OwnIdentity, Refusal, ServerRule, TlsOptions, Trust, TrustSet};
use jitgate::model::Time;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn pair(files: &IdentityFiles, now: Time) -> OwnPair {
    OwnPair::load(files, now).unwrap()
}

#[tokio::test]
async fn what_it_issues_meets() {
    let folder = tempfile::tempdir().unwrap();
    let ca = DevCa::init(&folder.path().join("data"), CA_LIFE, now()).unwrap();
    let issue = |leaf: Leaf, name: &str| {
        let files = ca.issue(&leaf, &folder.path().join(name), LEAF_LIFE, now()).unwrap();
        let pair = pair(&files, now());
        assert_eq!(pair.principal(), Some(leaf.id()));
        assert_eq!(pair.not_after(), now().plus(LEAF_LIFE));
        OwnIdentity::new(pair)
    };
    let proxy = Leaf::proxy("edge", &["localhost", "127.0.0.1", "orders.localhost"]).unwrap();
    let control = Leaf::control("local").unwrap();
    let control_id = control.id().clone();
    let servers = [issue(proxy, "proxy"), issue(control, "control")];
    let callers =
        [issue(Leaf::agent("demo").unwrap(), "agent"), issue(Leaf::operator("local").unwrap(), "operator")];
    let bundle = std::fs::read(ca.bundle()).unwrap();
    let trust =
        || Trust::new(TrustSet::parse([("jitgate.local", bundle.as_slice())], []).unwrap(), at(now()));
    for server in &servers {
        let listener = Acceptor::new(server.clone(), trust(), TlsOptions::default()).unwrap();
        for caller in callers.iter().chain(&servers) {
            let config = client_config(caller.clone(), trust(), ServerRule::Name, &[b"h2"]).unwrap();
            let (accepted, connected) = crate::support::meet(&listener, config).await;
            connected.unwrap();
            assert_eq!(Some(accepted.unwrap().peer.principal()), caller.current().principal());
        }
    }
    let listener = Acceptor::new(servers[1].clone(), trust(), TlsOptions::default()).unwrap();
    let config =
        client_config(servers[0].clone(), trust(), ServerRule::Identity(control_id), &[b"h2"]).unwrap();
    crate::support::meet(&listener, config).await.1.unwrap();
    // An agent's certificate is no server's.
    let listener = Acceptor::new(callers[0].clone(), trust(), TlsOptions::default()).unwrap();
    let config = client_config(callers[1].clone(), trust(), ServerRule::Name, &[b"h2"]).unwrap();
    let refused = crate::support::meet(&listener, config).await.1.unwrap_err();
    assert_eq!(Refusal::from_io(&refused), Refusal::WrongName);
}

#[test]
fn keys_and_folders_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("deep/data");
    let ca = DevCa::init(&data, CA_LIFE, now()).unwrap();
    let files = ca.issue(&Leaf::agent("demo").unwrap(), &data.join("agent"), LEAF_LIFE, now()).unwrap();
    assert_eq!(mode(&data.join("ca.key.pem")), 0o600);
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!((mode(&data), mode(&data.join("agent"))), (0o700, 0o700));
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 3, "no temporary file is left");
    std::fs::set_permissions(data.join("ca.key.pem"), PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(
        DevCa::open(&data, now()),
        Err(DevCaError::File(FileError::LooseMode { mode: 0o640, .. }))
    ));
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let ca = DevCa::init(folder.path(), CA_LIFE, now()).unwrap();
    let before = std::fs::read(ca.bundle()).unwrap();
    assert!(matches!(
        DevCa::init(folder.path(), CA_LIFE, now()),
        Err(DevCaError::File(FileError::Exists { .. }))
    ));
    DevCa::open_or_init(folder.path(), now()).unwrap();
    assert_eq!(std::fs::read(ca.bundle()).unwrap(), before);
    let (leaf, agent) = (Leaf::agent("demo").unwrap(), folder.path().join("agent"));
    let files = ca.issue(&leaf, &agent, LEAF_LIFE, now()).unwrap();
    let before = (std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
    assert!(matches!(
        ca.issue(&leaf, &agent, LEAF_LIFE, now()),
        Err(DevCaError::File(FileError::Exists { .. }))
    ));
    assert_eq!((std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap()), before);
}

#[test]
fn a_start_that_was_killed_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let ca = DevCa::init(folder.path(), CA_LIFE, now()).unwrap();
    let key = std::fs::read(folder.path().join("ca.key.pem")).unwrap();
    std::fs::remove_file(ca.bundle()).unwrap();
    let ca = DevCa::open_or_init(folder.path(), now()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("ca.key.pem")).unwrap(), key);
    let leaf = Leaf::agent("demo").unwrap();
    let files = ca.ensure(&leaf, folder.path(), LEAF_LIFE, now()).unwrap();
    std::fs::remove_file(&files.certificate).unwrap();
    let files = ca.ensure(&leaf, folder.path(), LEAF_LIFE, now()).unwrap();
    pair(&files, now());
}

#[test]
fn a_certificate_is_renewed_in_time_for_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let ca = DevCa::init(folder.path(), CA_LIFE, now()).unwrap();
    let leaf = Leaf::proxy("edge", &["localhost"]).unwrap();
    let edge = folder.path().join("edge");
    let files = ca.ensure(&leaf, &edge, days(90), now()).unwrap();
    let read = || (std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
    let first = read();
    ca.ensure(&leaf, &edge, days(90), now().plus(days(59))).unwrap();
    assert_eq!(read(), first, "young enough");
    for later in [days(61), days(500)] {
        let later = now().plus(later);
        ca.ensure(&leaf, &edge, days(90), later).unwrap();
        assert_eq!(read().1, first.1, "the key stays");
        assert_eq!(pair(&files, later).not_after(), later.plus(days(90)));
    }
    let now = now().plus(days(500));
    let before = read();
    ca.ensure(&Leaf::proxy("edge", &["localhost", "orders.localhost"]).unwrap(), &edge, days(90), now)
        .unwrap();
    assert_ne!(read().0, before.0, "another name");
    let before = read();
    ca.ensure(&Leaf::proxy("edge", &["orders.localhost", "LOCALHOST"]).unwrap(), &edge, days(90), now)
        .unwrap();
    assert_eq!(read(), before, "the same names");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ca = DevCa::init(folder.path(), CA_LIFE, now()).unwrap();
    let leaf = Leaf::agent("demo").unwrap();
    let agent = folder.path().join("agent");
    let refused = |expected: Refusal| match ca.ensure(&leaf, &agent, LEAF_LIFE, now()) {
        Err(DevCaError::NotOurs { refusal, .. }) => assert_eq!(refusal, expected),
        other => panic!("{other:?}"),
    };
    Ca::root("theirs").issue(leaf.id().as_str()).write(&agent);
    refused(Refusal::WrongCa);
    replace(&agent.join("cert.pem"), b"hello");
    refused(Refusal::MalformedCertificate);
    std::fs::remove_dir_all(&agent).unwrap();
    ca.issue(&Leaf::agent("other").unwrap(), &agent, LEAF_LIFE, now()).unwrap();
    refused(Refusal::WrongIdentity);
    std::fs::remove_dir_all(&agent).unwrap();
    ca.issue(&leaf, &agent, LEAF_LIFE, now()).unwrap();
    let other = folder.path().join("other");
    ca.issue(&leaf, &other, LEAF_LIFE, now()).unwrap();
    std::fs::copy(other.join("key.pem"), agent.join("key.pem")).unwrap();
    refused(Refusal::BadProof);
}

#[test]
fn a_broken_or_old_ca_says_so() {
    let folder = tempfile::tempdir().unwrap();
    DevCa::init(folder.path(), days(10), now()).unwrap();
    let later = now().plus(days(11));
    assert!(matches!(DevCa::open(folder.path(), later), Err(DevCaError::OutOfTime { .. })));
    let ca = DevCa::open(folder.path(), now()).unwrap();
    let files = ca.issue(&Leaf::agent("demo").unwrap(), folder.path(), LEAF_LIFE, now()).unwrap();
    assert_eq!(pair(&files, now()).not_after(), now().plus(days(10)), "not after the CA's own end");
    replace(&folder.path().join("ca.key.pem"), Ca::root("x").key_pem().as_bytes());
    assert!(matches!(DevCa::open(folder.path(), now()), Err(DevCaError::Broken { .. })));
    replace(&folder.path().join("ca.key.pem"), b"hello");
    assert!(matches!(DevCa::open(folder.path(), now()), Err(DevCaError::Broken { .. })));
    replace(&folder.path().join("ca.pem"), b"hello");
    assert!(DevCa::open(folder.path(), now()).is_err());
    assert_eq!(files_in(folder.path()), files);
}
