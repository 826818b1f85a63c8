//! Files that change under a running listener.

use crate::pki::{Ca, Identity, replace};
use crate::support::*;
use jitgate::config::{IdentityFiles, TrustFiles};
use jitgate::identity::own::OwnError;
use jitgate::identity::reload::{Change, ReloadError, Reloader};
use jitgate::identity::{Acceptor, Refusal, TlsOptions};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A folder of files, followed by a reloader that is asked to look by hand.
struct Followed {
    folder: tempfile::TempDir,
    ca: Ca,
    heard: Arc<Mutex<Vec<Result<usize, String>>>>,
    reloader: Reloader,
}

impl Followed {
    fn new() -> Self {
        Self::at(at(now()))
    }

    fn at(time: jitgate::identity::trust::TimeSource) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::root("ca");
        let (certificate, key) = ca.issue(PROXY).write(folder.path());
        let path = |name: &str| folder.path().join(name);
        replace(&path("ca.pem"), ca.pem().as_bytes());
        replace(&path("crl.pem"), ca.crl(&[]).as_bytes());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let writer = heard.clone();
        let reloader = Reloader::load(
            IdentityFiles { certificate, key },
            TrustFiles {
                bundles: BTreeMap::from([("jitgate.local".to_owned(), path("ca.pem"))]),
                crls: vec![path("crl.pem")],
            },
            time,
            Box::new(move |change| {
                writer.lock().unwrap().push(match change {
                    Change::InUse(ends) => Ok(ends.len()),
                    Change::Kept(error) => Err(error.to_string()),
                });
            }),
        )
        .unwrap();
        assert_eq!(heard.lock().unwrap().drain(..).collect::<Vec<_>>(), [Ok(3)]);
        Self { folder, ca, heard, reloader }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Looks three times, and returns what was heard meanwhile.
    fn look(&mut self) -> Vec<Result<usize, String>> {
        for _ in 0..3 {
            self.reloader.poll();
        }
        self.heard.lock().unwrap().drain(..).collect()
    }

    /// The certificate that a caller is shown.
    async fn shown(&self) -> Vec<u8> {
        let own = self.reloader.own();
        let listener = Acceptor::new(own, self.reloader.trust(), TlsOptions::default()).unwrap();
        let (_, connected) = meet(&listener, caller(&self.ca.issue(AGENT))).await;
        connected.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

#[tokio::test]
async fn a_new_pair_is_shown_to_new_callers() {
    let mut followed = Followed::new();
    assert!(followed.look().is_empty(), "nothing changed");
    let changes = followed.reloader.trust().changes();
    let next = followed.ca.issue(PROXY);
    next.write(followed.folder.path());
    assert_eq!(followed.look(), [Ok(3)]);
    assert_eq!(followed.shown().await, next.chain[0].to_vec());
    assert!(!changes.has_changed().unwrap(), "whom we believe did not change");
}

#[tokio::test]
async fn new_lists_and_bundles_are_announced() {
    let mut followed = Followed::new();
    let agent = followed.ca.issue(AGENT);
    let trust = followed.reloader.trust();
    let listener = Acceptor::new(followed.reloader.own(), trust.clone(), TlsOptions::default()).unwrap();
    let accepted = meet(&listener, caller(&agent)).await.0.unwrap();

    replace(&followed.path("crl.pem"), followed.ca.crl(&[&agent.serial]).as_bytes());
    assert_eq!(followed.look(), [Ok(3)]);
    assert!(accepted.changes.has_changed().unwrap());
    assert_eq!(trust.recheck(&accepted.peer, now()), Err(Refusal::Revoked));
    assert_eq!(refusal(&listener, caller(&agent)).await, Refusal::Revoked);

    replace(&followed.path("ca.pem"), Ca::root("next").pem().as_bytes());
    assert_eq!(followed.look(), [Ok(3)]);
    assert_eq!(refusal(&listener, caller(&followed.ca.issue(AGENT))).await, Refusal::WrongCa);
}

#[tokio::test]
async fn a_bad_reload_keeps_the_old_and_alarms_once() {
    let mut followed = Followed::new();
    let before = followed.shown().await;
    let changes = followed.reloader.trust().changes();
    let good = |name: &str| std::fs::read(followed.path(name)).unwrap();
    let goods: Vec<_> =
        ["cert.pem", "key.pem", "ca.pem", "crl.pem"].map(|name| (name, good(name))).into_iter().collect();
    let other = followed.ca.issue(PROXY);
    let expired: Identity = followed.ca.issue_with(PROXY, |p| p.not_after = rcgen::date_time_ymd(2026, 1, 1));
    for (name, content, complaint) in [
        ("cert.pem", other.chain_pem(), "the key does not belong"),
        ("key.pem", other.key_pem(), "the key does not belong"),
        ("cert.pem", expired.chain_pem(), "expired"),
        ("cert.pem", String::new(), "holds no certificate"),
        ("key.pem", "junk".to_owned(), "holds no private key"),
        ("ca.pem", String::new(), "holds no certificate"),
        ("ca.pem", other.chain_pem(), "is not a CA certificate"),
        ("crl.pem", String::new(), "holds no CRL"),
        ("crl.pem", "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned(), "cannot be used"),
    ] {
        replace(&followed.path(name), content.as_bytes());
        let heard = followed.look();
        assert!(matches!(&heard[..], [Err(text)] if text.contains(complaint)), "{complaint}: {heard:?}");
        assert!(followed.look().is_empty(), "one alarm for each change");
        assert_eq!(followed.shown().await, before);
        for (name, content) in &goods {
            replace(&followed.path(name), content);
        }
        assert!(followed.look().is_empty(), "back to what is in use");
    }
    std::fs::remove_file(followed.path("ca.pem")).unwrap();
    assert!(matches!(&followed.look()[..], [Err(_)]), "a missing file");
    assert_eq!(followed.shown().await, before);
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn a_key_that_cannot_be_used_holds_up_no_revocation() {
    let mut followed = Followed::new();
    let agent = followed.ca.issue(AGENT);
    let trust = followed.reloader.trust();
    let listener = Acceptor::new(followed.reloader.own(), trust.clone(), TlsOptions::default()).unwrap();
    let accepted = meet(&listener, caller(&agent)).await.0.unwrap();

    std::fs::set_permissions(followed.path("key.pem"), PermissionsExt::from_mode(0o644)).unwrap();
    replace(&followed.path("crl.pem"), followed.ca.crl(&[&agent.serial]).as_bytes());
    let heard = followed.look();
    assert!(matches!(&heard[..], [Ok(3), Err(text)] if text.contains("chmod 600")), "{heard:?}");
    assert!(accepted.changes.has_changed().unwrap());
    assert_eq!(trust.recheck(&accepted.peer, now()), Err(Refusal::Revoked));
    assert_eq!(refusal(&listener, caller(&agent)).await, Refusal::Revoked);
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_holds_up_no_new_pair() {
    let mut followed = Followed::new();
    let changes = followed.reloader.trust().changes();
    let next = followed.ca.issue(PROXY);
    next.write(followed.folder.path());
    replace(&followed.path("ca.pem"), b"");
    let heard = followed.look();
    assert!(matches!(&heard[..], [Ok(3), Err(text)] if text.contains("holds no certificate")), "{heard:?}");
    assert_eq!(followed.shown().await, next.chain[0].to_vec());
    assert!(!changes.has_changed().unwrap(), "whom we believe did not change");
}

#[test]
fn a_rotation_in_two_steps_raises_no_alarm() {
    let mut followed = Followed::new();
    let next = followed.ca.issue(PROXY);
    replace(&followed.path("cert.pem"), next.chain_pem().as_bytes());
    followed.reloader.poll();
    replace(&followed.path("key.pem"), next.key_pem().as_bytes());
    assert_eq!(followed.look(), [Ok(3)]);
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let mut followed = Followed::new();
    let key = followed.path("key.pem");
    for mode in [0o640, 0o604, 0o620, 0o660, 0o644, 0o601] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let heard = followed.look();
        assert!(matches!(&heard[..], [Err(text)] if text.contains("chmod 600")), "{mode:o}: {heard:?}");
    }
    let identity = IdentityFiles { certificate: followed.path("cert.pem"), key: key.clone() };
    let trust = TrustFiles {
        bundles: BTreeMap::from([("jitgate.local".to_owned(), followed.path("ca.pem"))]),
        crls: Vec::new(),
    };
    let load = || Reloader::load(identity.clone(), trust.clone(), at(now()), Box::new(|_| {}));
    assert!(matches!(load(), Err(ReloadError::File(_))));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o400)).unwrap();
    load().unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(load().is_err());
    Ca::root("x").issue(PROXY).write(followed.folder.path());
    assert!(load().is_ok(), "a pair that fits");
    replace(&key, followed.ca.issue(PROXY).key_pem().as_bytes());
    assert!(matches!(load(), Err(ReloadError::Own(OwnError::Mismatch(_)))));
}

/// With a clock that has moved on since the files were written, unchanged files are not read, and changed ones are noticed.
#[test]
fn changes_are_noticed_by_the_times_of_files() {
    let later = jitgate::runtime::clock::wall().plus(Duration::from_secs(3600));
    let mut followed = Followed::at(at(later));
    assert!(followed.look().is_empty());
    followed.ca.issue(PROXY).write(followed.folder.path());
    assert_eq!(followed.look(), [Ok(3)]);
}
