//! The listener: whom it accepts, and by what name each other is refused.

use crate::pki::{self, Ca, Identity};
use crate::support::*;
use jitgate::identity::tls::client_config;
use jitgate::identity::{Acceptor, Refusal, ServerRule, TlsOptions, Trust, TrustSet};
use jitgate::model::Time;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::HandshakeKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_good_svid_is_accepted_and_named() {
    let ca = Ca::root("ca");
    let agent = ca.issue(AGENT);
    let (accepted, caller_end) = meet(&plain(&ca), caller(&agent)).await;
    let accepted = accepted.unwrap();
    assert_eq!(accepted.peer.principal().as_str(), AGENT);
    assert_eq!(accepted.peer.chain(), agent.chain);
    assert_eq!(accepted.peer.not_after(), "2090-01-01T00:00:00Z".parse().unwrap());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &agent.chain[0]);
    assert_eq!(accepted.peer.certificate_sha256().as_slice(), digest.as_ref());
    let connection = accepted.stream.get_ref().1;
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768, "post-quantum by default");
    drop(caller_end);
}

#[tokio::test]
async fn the_end_of_the_whole_chain_counts() {
    let early = |p: &mut CertificateParams| p.not_after = date_time_ymd(2030, 1, 1);
    let expected: Time = "2030-01-01T00:00:00Z".parse().unwrap();
    let root = Ca::root_with("ca", early);
    let accepted = meet(&plain(&root), caller(&root.issue(AGENT))).await.0.unwrap();
    assert_eq!(accepted.peer.not_after(), expected, "of the trust anchor");
    let root = Ca::root("ca");
    let agent = root.intermediate_with("sub", early).issue(AGENT);
    let accepted = meet(&plain(&root), caller(&agent)).await.0.unwrap();
    assert_eq!(accepted.peer.not_after(), expected, "of the intermediate");
}

#[tokio::test]
async fn intermediate_chains_are_accepted() {
    let root = Ca::root("root");
    let agent = root.intermediate("one").intermediate("two").issue(AGENT);
    assert_eq!(agent.chain.len(), 3);
    meet(&plain(&root), caller(&agent)).await.0.unwrap();
}

#[tokio::test]
async fn an_svid_without_extended_key_usage_is_accepted() {
    let ca = Ca::root("ca");
    let agent = ca.issue_with(AGENT, |p| p.extended_key_usages.clear());
    meet(&plain(&ca), caller(&agent)).await.0.unwrap();
}

#[tokio::test]
async fn each_bad_leaf_is_refused_by_its_name() {
    let ca = Ca::root("ca");
    let listener = plain(&ca);
    type Fault = fn(&mut CertificateParams);
    let faults: &[(Refusal, Fault)] = &[
        (Refusal::Expired, |p| p.not_after = date_time_ymd(2026, 11, 22)),
        (Refusal::NotYetValid, |p| p.not_before = date_time_ymd(2026, 11, 23)),
        (Refusal::CaAsLeaf, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        (Refusal::NoUriSan, |p| drop(p.subject_alt_names.remove(0))),
        (Refusal::NoUriSan, |p| p.subject_alt_names.clear()),
        (Refusal::SeveralUriSans, |p| p.subject_alt_names.push(pki::uri(PROXY))),
        (Refusal::SeveralUriSans, |p| p.subject_alt_names.push(pki::uri("https://example.org/"))),
        (Refusal::SeveralUriSans, |p| p.subject_alt_names.push(pki::uri(AGENT))),
        (Refusal::ExtendedKeyUsage, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        (Refusal::ExtendedKeyUsage, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        (Refusal::KeyUsage, |p| p.key_usages.clear()),
        (Refusal::KeyUsage, |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        (Refusal::KeyUsage, |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        (Refusal::KeyUsage, |p| p.key_usages.push(KeyUsagePurpose::CrlSign)),
        (Refusal::KeyUsage, |p| {
            p.key_usages.clear();
            p.custom_extensions.push(pki::key_usage(0x80, false));
        }),
        (Refusal::CriticalExtension, |p| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        }),
        (Refusal::CriticalExtension, |p| {
            // Name constraints mean nothing on a leaf, though path building knows them.
            let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![0x30, 0]);
            constraints.set_criticality(true);
            p.custom_extensions.push(constraints);
        }),
        (Refusal::MalformedCertificate, |p| p.custom_extensions.push(pki::key_usage(0x80, true))),
    ];
    for (position, (expected, fault)) in faults.iter().enumerate() {
        let agent = ca.issue_with(AGENT, fault);
        assert_eq!(refusal(&listener, caller(&agent)).await, *expected, "fault {position}");
    }
}

#[tokio::test]
async fn what_is_no_workload_of_a_known_trust_domain_is_refused() {
    let ca = Ca::root("ca");
    let listener = plain(&ca);
    for (id, expected) in [
        ("spiffe://jitgate.local", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local/", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local/agent/", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local//demo", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local/agent/../demo", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local/agent/%64emo", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local/agent/demo?x", Refusal::MalformedSpiffeId),
        ("spiffe://jitgate.local:443/agent/demo", Refusal::MalformedSpiffeId),
        ("spiffe://JITGATE.local/agent/demo", Refusal::MalformedSpiffeId),
        ("SPIFFE://jitgate.local/agent/demo", Refusal::MalformedSpiffeId),
        ("https://jitgate.local/agent/demo", Refusal::MalformedSpiffeId),
        ("", Refusal::MalformedSpiffeId),
        ("spiffe://other.local/agent/demo", Refusal::ForeignTrustDomain),
        ("spiffe://jitgate.local.evil/agent/demo", Refusal::ForeignTrustDomain),
    ] {
        assert_eq!(refusal(&listener, caller(&ca.issue(id))).await, expected, "{id}");
    }
}

#[tokio::test]
async fn a_ca_speaks_only_for_its_own_trust_domain() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let bundles = [("jitgate.local", ours.pem()), ("partner.example", theirs.pem())];
    let set = TrustSet::parse(bundles.iter().map(|(domain, pem)| (*domain, pem.as_bytes())), []).unwrap();
    let listener = listener(Trust::new(set, at(now())), TlsOptions::default());
    let partner = "spiffe://partner.example/agent/x";
    meet(&listener, caller(&theirs.issue(partner))).await.0.unwrap();
    meet(&listener, caller(&ours.issue(AGENT))).await.0.unwrap();
    assert_eq!(refusal(&listener, caller(&theirs.issue(AGENT))).await, Refusal::WrongCa);
    assert_eq!(refusal(&listener, caller(&ours.issue(partner))).await, Refusal::WrongCa);
}

#[tokio::test]
async fn no_certificate_and_wrong_cas() {
    let ca = Ca::root("ca");
    let listener = plain(&ca);
    assert_eq!(refusal(&listener, anonymous()).await, Refusal::NoCertificate);
    assert_eq!(refusal(&listener, caller(&Ca::root("other").issue(AGENT))).await, Refusal::WrongCa);
    assert_eq!(refusal(&listener, caller(&Ca::root("ca").issue(AGENT))).await, Refusal::WrongCa, "same name");
    assert_eq!(refusal(&listener, caller(&ca.as_leaf())).await, Refusal::CaAsLeaf);
    let orphan =
        Identity { chain: ca.intermediate("sub").issue(AGENT).chain[..1].to_vec(), ..ca.issue(AGENT) };
    assert_eq!(refusal(&listener, caller(&orphan)).await, Refusal::WrongCa, "intermediate not presented");
}

#[tokio::test]
async fn the_key_must_be_proved() {
    let ca = Ca::root("ca");
    let stolen = Identity { chain: ca.issue(AGENT).chain, ..ca.issue(AGENT) };
    assert_eq!(refusal(&plain(&ca), caller(&stolen)).await, Refusal::BadProof);
}

#[tokio::test]
async fn each_bad_intermediate_is_refused() {
    let root = Ca::root("root");
    let listener = plain(&root);
    type Fault = fn(&mut CertificateParams);
    let faults: &[(Refusal, Fault)] = &[
        (Refusal::Expired, |p| p.not_after = date_time_ymd(2026, 11, 22)),
        (Refusal::NotYetValid, |p| p.not_before = date_time_ymd(2026, 11, 23)),
        (Refusal::Chain, |p| p.is_ca = IsCa::ExplicitNoCa),
        (Refusal::Chain, |p| p.is_ca = IsCa::NoCa),
        (Refusal::KeyUsage, |p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        (Refusal::ExtendedKeyUsage, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
    ];
    for (position, (expected, fault)) in faults.iter().enumerate() {
        let agent = root.intermediate_with("sub", fault).issue(AGENT);
        assert_eq!(refusal(&listener, caller(&agent)).await, *expected, "fault {position}");
    }
    let short = root.intermediate_with("short", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    meet(&listener, caller(&short.issue(AGENT))).await.0.unwrap();
    assert_eq!(refusal(&listener, caller(&short.intermediate("sub").issue(AGENT))).await, Refusal::Chain);
    let mut long = Ca::root("long");
    let listener = plain(&long);
    for depth in 0..8 {
        long = long.intermediate(&format!("ca {depth}"));
    }
    assert_eq!(refusal(&listener, caller(&long.issue(AGENT))).await, Refusal::Chain);
}

#[tokio::test]
async fn an_expired_root_is_no_trust() {
    let root = Ca::root_with("root", |p| p.not_after = date_time_ymd(2026, 1, 1));
    assert_eq!(refusal(&plain(&root), caller(&root.issue(AGENT))).await, Refusal::Expired);
    let root = Ca::root_with("root", |p| p.not_before = date_time_ymd(2027, 1, 1));
    assert_eq!(refusal(&plain(&root), caller(&root.issue(AGENT))).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn name_constraints_hold() {
    let root = Ca::root("root");
    let sub = |permitted: GeneralSubtree| {
        root.intermediate_with("sub", |p| {
            p.name_constraints =
                Some(NameConstraints { permitted_subtrees: vec![permitted], excluded_subtrees: vec![] });
        })
    };
    let listener = plain(&root);
    let allowed = sub(GeneralSubtree::DnsName("localhost".into())).issue(AGENT);
    meet(&listener, caller(&allowed)).await.0.unwrap();
    for forbidding in [
        GeneralSubtree::DnsName("example.org".into()),
        GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0])),
    ] {
        assert_eq!(refusal(&listener, caller(&sub(forbidding).issue(AGENT))).await, Refusal::NameConstraints);
    }
}

#[tokio::test]
async fn only_tls13_unless_configured() {
    let ca = Ca::root("ca");
    let agent = ca.issue(AGENT);
    let old = || caller_speaking(&agent, &rustls::version::TLS12);
    assert_eq!(refusal(&plain(&ca), old()).await, Refusal::Incompatible);
    let trust = Trust::new(trusted(&[&ca], &[]), at(now()));
    let both = listener(trust, TlsOptions { tls12: true, ..TlsOptions::default() });
    let accepted = meet(&both, old()).await.0.unwrap();
    assert_eq!(accepted.peer.principal().as_str(), AGENT);
    assert_eq!(accepted.stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

/// Two handshakes with one client configuration, which remembers sessions; the kind of the second.
async fn second_handshake(listener: &Acceptor, caller: &Arc<rustls::ClientConfig>) -> Option<HandshakeKind> {
    let mut kind = None;
    for _ in 0..2 {
        let (accepted, caller_end) = meet(listener, caller.clone()).await;
        let (mut accepted, mut caller_end) = (accepted.unwrap(), caller_end.unwrap());
        assert_eq!(accepted.peer.principal().as_str(), AGENT);
        // Tickets follow the handshake: the caller sees them when it reads.
        accepted.stream.write_all(b"x").await.unwrap();
        caller_end.read_exact(&mut [0]).await.unwrap();
        kind = accepted.stream.get_ref().1.handshake_kind();
        assert_eq!(kind, caller_end.get_ref().1.handshake_kind());
    }
    kind
}

#[tokio::test]
async fn no_session_is_resumed_by_default() {
    let ca = Ca::root("ca");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let caller = Arc::new(caller_speaking(&ca.issue(AGENT), version));
        let trust = Trust::new(trusted(&[&ca], &[]), at(now()));
        let listener = listener(trust, TlsOptions { tls12: true, ..TlsOptions::default() });
        assert_eq!(second_handshake(&listener, &caller).await, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_resumed_session_is_verified_anew() {
    let ca = Ca::root("ca");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let agent = ca.issue(AGENT);
        let caller = Arc::new(caller_speaking(&agent, version));
        let trust = Trust::new(trusted(&[&ca], &[]), at(now()));
        let options = TlsOptions { tls12: true, resumption: true, ..TlsOptions::default() };
        let listener = listener(trust.clone(), options);
        assert_eq!(second_handshake(&listener, &caller).await, Some(HandshakeKind::Resumed));
        trust.replace(trusted(&[&ca], &[&ca.crl(&[&agent.serial])]));
        assert_eq!(refusal(&listener, caller).await, Refusal::Revoked);
    }
}

#[tokio::test]
async fn early_data_is_never_accepted() {
    let ca = Ca::root("ca");
    let mut caller = caller(&ca.issue(AGENT));
    caller.enable_early_data = true;
    let caller = Arc::new(caller);
    let trust = Trust::new(trusted(&[&ca], &[]), at(now()));
    let listener = listener(trust, TlsOptions { resumption: true, ..TlsOptions::default() });
    assert_eq!(second_handshake(&listener, &caller).await, Some(HandshakeKind::Resumed));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut next = rustls::ClientConnection::new(caller, name).unwrap();
    assert!(next.early_data().is_none(), "the ticket allows none");
}

#[tokio::test]
async fn what_is_not_tls_is_told_apart() {
    let ca = Ca::root("ca");
    let listener = plain(&ca);
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let garbage = async {
        theirs.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        theirs
    };
    let (refused, _theirs) = tokio::join!(listener.accept(ours), garbage);
    assert_eq!(refused.unwrap_err().reason, Refusal::Protocol);

    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    assert_eq!(listener.accept(ours).await.unwrap_err().reason, Refusal::Reset);

    let mut other = caller(&ca.issue(AGENT));
    other.alpn_protocols = vec![b"smtp".to_vec()];
    assert_eq!(refusal(&listener, other).await, Refusal::Incompatible);
}

#[tokio::test]
async fn a_caller_that_refuses_us_is_an_alert() {
    let ca = Ca::root("ca");
    let trust = Trust::new(trusted(&[&ca], &[]), at(now()));
    let suspicious = client_config(own(&ca.issue(AGENT)), trust, ServerRule::Name, &[b"h2"]).unwrap();
    assert_eq!(refusal(&plain(&ca), suspicious).await, Refusal::Alert);
}

#[tokio::test]
async fn a_refusal_tells_which_certificate_was_shown() {
    let ca = Ca::root("ca");
    let expired = ca.issue_with(AGENT, |p| p.not_after = date_time_ymd(2026, 1, 1));
    let refused = meet(&plain(&ca), caller(&expired)).await.0.unwrap_err();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &expired.chain[0]);
    assert_eq!(refused.certificate_sha256.as_ref().map(|shown| &shown[..]), Some(digest.as_ref()));
    assert_eq!(meet(&plain(&ca), anonymous()).await.0.unwrap_err().certificate_sha256, None);
}
