//! Revocation lists, and what becomes of peers that were accepted before trust changed.

use crate::pki::Ca;
use crate::support::*;
use jitgate::identity::trust::TrustError;
use jitgate::identity::{Refusal, TlsOptions, Trust, TrustSet};
use jitgate::model::Time;
use rcgen::{KeyUsagePurpose, date_time_ymd};

/// How a listener with these lists receives `agent`.
async fn outcome(root: &Ca, crls: &[&str], agent: &crate::pki::Identity) -> Result<(), Refusal> {
    let listener = listener(Trust::new(trusted(&[root], crls), at(now())), TlsOptions::default());
    meet(&listener, caller(agent)).await.0.map(|_| ()).map_err(|refused| refused.reason)
}

#[tokio::test]
async fn only_what_a_current_list_clears_is_accepted() {
    let ca = Ca::root("ca");
    let (good, bad) = (ca.issue(AGENT), ca.issue(AGENT));
    let list = ca.crl(&[&bad.serial]);
    assert_eq!(outcome(&ca, &[&list], &good).await, Ok(()));
    assert_eq!(outcome(&ca, &[&list], &bad).await, Err(Refusal::Revoked));
    let expired = ca.crl_with(&[], |p| p.next_update = date_time_ymd(2026, 11, 22));
    assert_eq!(outcome(&ca, &[&expired], &good).await, Err(Refusal::CrlExpired));
    let foreign = Ca::root("other").crl(&[]);
    assert_eq!(outcome(&ca, &[&foreign], &good).await, Err(Refusal::CrlUnknown), "none of this issuer");
    let forged = Ca::root("ca").crl(&[]);
    assert_eq!(outcome(&ca, &[&forged], &good).await, Err(Refusal::CrlUnknown), "not signed by this issuer");
}

#[tokio::test]
async fn each_issuer_of_the_chain_needs_its_list() {
    let root = Ca::root("root");
    let sub = root.intermediate("sub");
    let agent = sub.issue(AGENT);
    let (of_root, of_sub) = (root.crl(&[]), sub.crl(&[]));
    assert_eq!(outcome(&root, &[&of_root, &of_sub], &agent).await, Ok(()));
    assert_eq!(outcome(&root, &[&of_root], &agent).await, Err(Refusal::CrlUnknown));
    assert_eq!(outcome(&root, &[&of_sub], &agent).await, Err(Refusal::CrlUnknown));
    let mute = root.intermediate_with("mute", |p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    assert_eq!(
        outcome(&root, &[&of_root, &mute_list(&mute)], &mute.issue(AGENT)).await,
        Err(Refusal::CrlUnknown)
    );
}

/// A list of a CA that may not sign lists: rcgen refuses to make one, so its key signs in the name of a CA that may.
fn mute_list(mute: &Ca) -> String {
    mute.twin_that_signs_lists().crl(&[])
}

#[tokio::test]
async fn a_revoked_intermediate_takes_its_workloads_along() {
    let root = Ca::root("root");
    let serial = rcgen::SerialNumber::from(77_u64);
    let sub = root.intermediate_with("sub", |p| p.serial_number = Some(serial.clone()));
    let lists = [root.crl(&[&serial]), sub.crl(&[])];
    assert_eq!(outcome(&root, &[&lists[0], &lists[1]], &sub.issue(AGENT)).await, Err(Refusal::Revoked));
}

#[tokio::test]
async fn of_two_lists_the_newer_one_counts() {
    let ca = Ca::root("ca");
    let agent = ca.issue(AGENT);
    let old = ca.crl(&[]);
    let new = ca.crl_with(&[&agent.serial], |p| p.this_update = date_time_ymd(2026, 11, 1));
    for order in [[&*old, &*new], [&*new, &*old]] {
        assert_eq!(outcome(&ca, &order, &agent).await, Err(Refusal::Revoked));
    }
}

#[test]
fn what_is_no_list_is_an_error() {
    let ca = Ca::root("ca");
    let bundle = ca.pem();
    let parse = |crl: &[u8]| TrustSet::parse([("jitgate.local", bundle.as_bytes())], [crl]);
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(ca.crl(&[]).as_bytes())
        .map(|der: rustls::pki_types::CertificateRevocationListDer<'_>| der.to_vec())
        .unwrap();
    assert!(parse(&der).is_ok(), "DER is as good as PEM");
    for bad in [&b""[..], b"\n", bundle.as_bytes(), &der[..der.len() - 1], b"\x30\x00"] {
        assert!(matches!(parse(bad), Err(TrustError::Crl { position: 1, .. })), "{}", bad.escape_ascii());
    }
}

#[test]
fn what_is_no_bundle_is_an_error() {
    let ca = Ca::root("ca");
    let good = ca.pem();
    let leaf = ca.issue(AGENT).chain_pem();
    let parse = |domain: &str, pem: &str| TrustSet::parse([(domain, pem.as_bytes())], []).map(|_| ());
    assert!(parse("jitgate.local", &good).is_ok());
    assert_eq!(TrustSet::parse([], []).map(|_| ()), Err(TrustError::NoBundle));
    for domain in ["", "Upper", "a/b", "spiffe://a", "a b"] {
        assert!(matches!(parse(domain, &good), Err(TrustError::TrustDomain(_))), "{domain}");
    }
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(parse("d", pem), Err(TrustError::Empty(_))), "{pem}");
    }
    assert!(matches!(parse("d", &(good + &leaf)), Err(TrustError::Anchor { position: 2, .. })));
}

#[tokio::test]
async fn an_accepted_peer_is_checked_again_after_each_change() {
    let ca = Ca::root("ca");
    let agent = ca.issue(AGENT);
    let trust = Trust::new(trusted(&[&ca], &[]), at(now()));
    let listener = listener(trust.clone(), TlsOptions::default());
    let mut accepted = meet(&listener, caller(&agent)).await.0.unwrap();
    let peer = &accepted.peer;
    assert!(!accepted.changes.has_changed().unwrap());
    assert_eq!(trust.recheck(peer, now()), Ok(()));
    let late: Time = "2091-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(trust.recheck(peer, late), Err(Refusal::Expired));

    let other = Ca::root("other");
    for (set, expected) in [
        (trusted(&[&ca, &other], &[]), Ok(())),
        (trusted(&[&ca], &[&ca.crl(&[])]), Ok(())),
        (trusted(&[&ca], &[&ca.crl(&[&agent.serial])]), Err(Refusal::Revoked)),
        (trusted(&[&other], &[]), Err(Refusal::WrongCa)),
        (TrustSet::parse([("else", other.pem().as_bytes())], []).unwrap(), Err(Refusal::ForeignTrustDomain)),
    ] {
        trust.replace(set);
        accepted.changes.changed().await.unwrap();
        assert_eq!(trust.recheck(peer, now()), expected);
    }
    drop((trust, listener));
    assert!(accepted.changes.changed().await.is_err(), "nobody is left who would tell");
}
