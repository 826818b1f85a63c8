//! Callers of a control plane: which server they accept.

use crate::pki::{self, Ca};
use crate::support::*;
use jitgate::identity::tls::{client_config, upstream_config};
use jitgate::identity::{Acceptor, Refusal, ServerRule, TlsOptions, Trust};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::ServerName;

const CONTROL: &str = "spiffe://jitgate.local/control/local";

/// How a proxy fares that follows `rule` and calls a server whose certificate has one fault.
async fn call(ca: &Ca, rule: &ServerRule, fault: impl FnOnce(&mut CertificateParams)) -> Result<(), Refusal> {
    let trust = || Trust::new(trusted(&[ca], &[]), at(now()));
    let server = own_loaded(&ca.issue_with(CONTROL, fault), "2025-01-01T00:00:00Z".parse().unwrap());
    let listener = Acceptor::new(server, trust(), TlsOptions::default()).unwrap();
    let config = client_config(own(&ca.issue(PROXY)), trust(), rule.clone(), &[b"h2"]).unwrap();
    match meet(&listener, config).await {
        (Ok(accepted), Ok(_)) => {
            assert_eq!(accepted.peer.principal().as_str(), PROXY);
            Ok(())
        }
        (_, Err(error)) => Err(Refusal::from_io(&error)),
        (Err(refused), Ok(_)) => Err(refused.reason),
    }
}

#[tokio::test]
async fn exactly_the_expected_workload() {
    let ca = Ca::root("ca");
    let rule = ServerRule::Identity(CONTROL.parse().unwrap());
    assert_eq!(call(&ca, &rule, |_| {}).await, Ok(()));
    type Fault = fn(&mut CertificateParams);
    let faults: &[(Refusal, Fault)] = &[
        (Refusal::WrongIdentity, |p| p.subject_alt_names[0] = pki::uri("spiffe://jitgate.local/agent/demo")),
        (Refusal::WrongIdentity, |p| {
            p.subject_alt_names[0] = pki::uri("spiffe://jitgate.local/control/local2")
        }),
        (Refusal::ForeignTrustDomain, |p| p.subject_alt_names[0] = pki::uri("spiffe://other/control/local")),
        (Refusal::NoUriSan, |p| drop(p.subject_alt_names.remove(0))),
        (Refusal::SeveralUriSans, |p| p.subject_alt_names.push(pki::uri(AGENT))),
        (Refusal::ExtendedKeyUsage, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        (Refusal::KeyUsage, |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        (Refusal::Expired, |p| p.not_after = date_time_ymd(2026, 1, 1)),
    ];
    for (position, (expected, fault)) in faults.iter().enumerate() {
        assert_eq!(call(&ca, &rule, fault).await, Err(*expected), "fault {position}");
    }
    // The name that was dialled does not matter.
    assert_eq!(call(&ca, &rule, |p| p.subject_alt_names.truncate(1)).await, Ok(()));
}

#[tokio::test]
async fn by_name_within_the_bundles() {
    let ca = Ca::root("ca");
    let rule = ServerRule::Name;
    assert_eq!(call(&ca, &rule, |_| {}).await, Ok(()));
    type Fault = fn(&mut CertificateParams);
    let faults: &[(Refusal, Fault)] = &[
        (Refusal::WrongName, |p| p.subject_alt_names.truncate(1)),
        (Refusal::ExtendedKeyUsage, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        (Refusal::Expired, |p| p.not_after = date_time_ymd(2026, 1, 1)),
    ];
    for (position, (expected, fault)) in faults.iter().enumerate() {
        assert_eq!(call(&ca, &rule, fault).await, Err(*expected), "fault {position}");
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let caller_trust = Trust::new(trusted(&[&ours], &[]), at(now()));
    let server_trust = Trust::new(trusted(&[&ours], &[]), at(now()));
    let listener = Acceptor::new(own(&theirs.issue(CONTROL)), server_trust, TlsOptions::default()).unwrap();
    for rule in [ServerRule::Identity(CONTROL.parse().unwrap()), ServerRule::Name] {
        let config = client_config(own(&ours.issue(PROXY)), caller_trust.clone(), rule, &[b"h2"]).unwrap();
        let (_, caller) = meet(&listener, config).await;
        assert_eq!(Refusal::from_io(&caller.unwrap_err()), Refusal::WrongCa);
    }
}

#[tokio::test]
async fn upstreams_are_verified_by_name_under_the_given_roots() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    assert!(upstream_config(b"no certificate here", &[]).is_err());
    for (roots, name, good) in
        [(&ca, "localhost", true), (&ca, "example.org", false), (&other, "localhost", false)]
    {
        let server =
            rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(own(&ca.issue(CONTROL)));
        let config = upstream_config(roots.pem().as_bytes(), &[b"h2"]).unwrap();
        let (server_end, client_end) = tokio::io::duplex(1 << 16);
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(server));
        let connector = tokio_rustls::TlsConnector::from(config);
        let (_, connected) = tokio::join!(
            acceptor.accept(server_end),
            connector.connect(ServerName::try_from(name).unwrap(), client_end)
        );
        assert_eq!(connected.is_ok(), good, "{name}");
    }
}
