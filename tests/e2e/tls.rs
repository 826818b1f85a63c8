//! Law 2, identity first: who does not prove a workload identity by the X.509-SVID rules does not get past the handshake; and what is
//! trusted may change while connections go on.

use crate::harness::pki::{Authority, Leaf, uri};
use crate::harness::{Client, Protocol, Setup, World, eventually};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use std::fs;

/// Whether a client gets an answer at all: in TLS 1.3 a refusal shows at the first read after the handshake.
async fn is_let_in(client: &Client) -> bool {
    match client.try_connect().await {
        Ok(mut connection) => {
            let request =
                connection.request("GET", "/v1/orders").body(crate::harness::client::empty()).unwrap();
            connection.try_send(request).await.is_ok()
        }
        Err(_) => false,
    }
}

fn years(params: &mut CertificateParams, from: i32, to: i32) {
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
}

fn bent(ca: &Authority) -> Vec<(&'static str, Leaf)> {
    let id = |text: &str| vec![uri(text)];
    let san = |sans: Vec<rcgen::SanType>| ca.bent("agent/x", move |params| params.subject_alt_names = sans);
    let other = Authority::new("another CA");
    vec![
        ("wrong_ca", other.svid("agent/demo")),
        ("expired", ca.bent("agent/x", |params| years(params, 2020, 2021))),
        ("not_yet_valid", ca.bent("agent/x", |params| years(params, 2090, 2091))),
        ("ca_as_leaf", ca.bent("agent/x", |p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained))),
        ("no_uri_san", san(vec![])),
        ("several_uri_sans", san([id("spiffe://jitgate.local/a"), id("spiffe://jitgate.local/b")].concat())),
        ("malformed_spiffe_id", san(id("https://jitgate.local/agent"))),
        ("malformed_spiffe_id", san(id("spiffe://jitgate.local"))),
        ("malformed_spiffe_id", san(id("spiffe://jitgate.local/"))),
        ("malformed_spiffe_id", san(id("spiffe://jitgate.local/a/../b"))),
        ("malformed_spiffe_id", san(id("spiffe://jitgate.local/a%2fb"))),
        ("malformed_spiffe_id", san(id("spiffe://user@jitgate.local/a"))),
        ("malformed_spiffe_id", san(id("spiffe://jitgate.local:443/a"))),
        ("malformed_spiffe_id", san(id("spiffe://JITGATE.local/a"))),
        ("foreign_trust_domain", san(id("spiffe://elsewhere.local/agent"))),
        (
            "extended_key_usage",
            ca.bent("agent/x", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
        ),
        (
            "key_usage",
            ca.bent("agent/x", |params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        ),
        (
            "key_usage",
            ca.bent("agent/x", |params| {
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            }),
        ),
    ]
}

#[tokio::test]
async fn a_certificate_that_is_no_svid_is_refused_counted_and_audited() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let mut refused = vec![("no_certificate", None)];
    let leaves = bent(&world.ca);
    refused.extend(leaves.iter().map(|(reason, leaf)| (*reason, Some(leaf))));
    for (reason, leaf) in &refused {
        let series = format!("jitgate_tls_handshakes_total{{result=\"{reason}\"}}");
        for protocol in Protocol::BOTH {
            let before = world.metric(&series).await;
            let text = leaf.map_or("", |leaf| &leaf.cert_pem);
            assert!(!is_let_in(&world.client_as(*leaf, protocol)).await, "{reason}:\n{text}");
            eventually(&format!("a count of `{reason}` for\n{text}"), || async {
                (world.metric(&series).await > before).then_some(())
            })
            .await;
        }
    }
    eventually("an audit line for each", || async {
        let lines = world.audit().into_iter().filter(|line| line["kind"] == "handshake").count();
        (lines == 2 * refused.len()).then_some(())
    })
    .await;
    assert!(world.upstream.received().is_empty());
    assert!(is_let_in(&world.client(Protocol::H1)).await, "the control: a right certificate gets in");
}

#[tokio::test]
async fn tls_1_2_is_refused_unless_configured() {
    for (line, permitted) in [("", false), ("[proxy.tls]\ntls12 = true\n", true)] {
        let world = Setup::new().tables(line).start().await;
        let output = std::process::Command::new("openssl")
            .args(["s_client", "-tls1_2", "-connect", &world.listener().to_string()])
            .arg("-cert")
            .arg(world.path("agent/cert.pem"))
            .arg("-key")
            .arg(world.path("agent/key.pem"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            text.contains("Protocol  : TLSv1.2") && text.contains("Cipher    : ECDHE"),
            permitted,
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_without_dropping_connections() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let mut old = world.client(Protocol::H2).connect().await;
    assert_eq!(old.get("/v1/orders").await.status, 200);
    let series = "jitgate_certificate_not_after_seconds{name=\"certificate\"}";
    let before = world.metric(series).await;
    world
        .ca
        .bent("proxy/edge-1", |params| {
            params.subject_alt_names.push(rcgen::SanType::DnsName("localhost".try_into().unwrap()));
            years(params, 2020, 2050);
        })
        .write(&world.path("proxy"));
    eventually("the new certificate", || async {
        let after = world.metric(series).await;
        (before > 0.0 && after > 0.0 && after != before).then_some(())
    })
    .await;
    assert_eq!(old.get("/v1/orders").await.status, 200);
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
}

#[tokio::test]
async fn a_broken_certificate_file_keeps_the_old_one() {
    let mut world = World::start().await;
    world.grant("orders:GET:/**").await;
    fs::write(world.path("proxy/cert.pem"), "no certificate").unwrap();
    fs::write(world.path("ca.pem"), "").unwrap();
    eventually("an alarm in the log", || async {
        let log = world.path("proxy.log");
        fs::read_to_string(log).unwrap().contains("ERROR").then_some(())
    })
    .await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
    assert!(world.proxy().log().contains("cert.pem") || world.proxy().log().contains("ca.pem"));
}

#[tokio::test]
async fn a_connection_ends_when_its_ca_leaves_the_bundle() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let second = Authority::new("a second CA");
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut events = connection.open("/sse").await.into_body();
    http_body_util::BodyExt::frame(&mut events).await.unwrap().unwrap();
    fs::write(world.path("ca.pem"), second.pem()).unwrap();
    crate::harness::within("the end of the stream", async {
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut events).await {}
    })
    .await;
    assert!(!is_let_in(&world.client(Protocol::H1)).await);
    world.upstream.running(0).await;
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires() {
    let world = World::start().await;
    let soon = world.ca.bent("agent/demo", |params| {
        params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(4)).into();
    });
    world.grant("orders:GET:/**").await;
    let mut events =
        world.client_as(Some(&soon), Protocol::H2).connect().await.open("/sse").await.into_body();
    crate::harness::within("the end of the stream", async {
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut events).await {}
    })
    .await;
    assert!(!is_let_in(&world.client_as(Some(&soon), Protocol::H2)).await);
}

#[tokio::test]
async fn a_certificate_on_a_revocation_list_loses_its_connection_and_gets_no_other() {
    let mut world = Setup::new().trust("crls = [\"list.pem\"]\n").prepare().await;
    let replace = |world: &World, text: String| {
        fs::write(world.path("list.new"), text).unwrap();
        fs::rename(world.path("list.new"), world.path("list.pem")).unwrap();
    };
    replace(&world, world.ca.crl(1, &[], 2090));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    let [mallory, alice] = [4711_u64, 4712].map(|serial| {
        world.ca.bent("agent/demo", |params| params.serial_number = Some(rcgen::SerialNumber::from(serial)))
    });
    let mut connection = world.client_as(Some(&mallory), Protocol::H2).connect().await;
    let mut events = connection.open("/sse").await.into_body();
    http_body_util::BodyExt::frame(&mut events).await.unwrap().unwrap();

    replace(&world, world.ca.crl(2, &[4711], 2090));
    crate::harness::within("the end of the stream", async {
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut events).await {}
    })
    .await;
    world.upstream.running(0).await;
    assert!(!is_let_in(&world.client_as(Some(&mallory), Protocol::H1)).await);
    assert!(is_let_in(&world.client_as(Some(&alice), Protocol::H1)).await);

    // A list that is out of date tells nothing: nobody gets in.
    replace(&world, world.ca.crl(3, &[], 2021));
    eventually("refusal for want of a current list", || async {
        (!is_let_in(&world.client_as(Some(&alice), Protocol::H1)).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_when_its_issuers_revocation_list_runs_out() {
    let mut world = Setup::new().trust("crls = [\"list.pem\"]\n").prepare().await;
    fs::write(world.path("list.pem"), world.ca.crl(1, &[], 2090)).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut events = connection.open("/sse").await.into_body();
    let end = std::time::SystemTime::now() + std::time::Duration::from_secs(8);
    let list = world.ca.bent_crl(2, &[], |params| params.next_update = end.into());
    fs::write(world.path("list.new"), list).unwrap();
    fs::rename(world.path("list.new"), world.path("list.pem")).unwrap();
    crate::harness::within("the end of the stream", async {
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut events).await {}
    })
    .await;
    // Certificates know seconds alone.
    let cut = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    assert!(cut >= end, "it was cut before its list had run out");
    let line = &world.ends("/sse").await[0];
    assert_eq!((&line["end"], &line["cause"]), (&"cut".into(), &"identity".into()), "{line}");
}
