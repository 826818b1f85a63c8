//! `[[proxy.audit.export]]`.

use super::*;
use crate::config::{ExportTarget, IdentityFiles, ReceiverTls};

#[test]
fn the_exports_of_the_example_are_read() {
    let exports = parse(PROXY).unwrap().proxy.unwrap().audit.exports;
    let [syslog, otel, siem] = &exports[..] else { panic!("{exports:?}") };
    let ExportTarget::Syslog(to) = &syslog.target else { panic!("{syslog:?}") };
    assert_eq!((to.url.to_string().as_str(), to.close_notify), ("tls://logs.example.internal:6514", true));
    let client = IdentityFiles {
        certificate: "/etc/jitgate/proxy/cert.pem".into(),
        key: "/etc/jitgate/proxy/key.pem".into(),
    };
    assert_eq!(to.tls, ReceiverTls { ca: Some("/etc/jitgate/logs-ca.pem".into()), client: Some(client) });
    let ExportTarget::Otlp(to) = &otel.target else { panic!("{otel:?}") };
    assert_eq!(to.header, Some(("authorization".into(), "/etc/jitgate/otel.secret".into())));
    assert_eq!((otel.timeout, &to.tls), (ExportConfig::TIMEOUT, &ReceiverTls::default()));
    assert_eq!(siem.target, ExportTarget::OcsfFile("/etc/jitgate/siem/events.jsonl".into()));
}

#[test]
fn the_control_plane_exports_its_log_with_the_same_keys() {
    let exports = parse(CONTROL).unwrap().control.unwrap().exports;
    let [siem] = &exports[..] else { panic!("{exports:?}") };
    let ExportTarget::OcsfHttp(to) = &siem.target else { panic!("{siem:?}") };
    assert_eq!(to.url.as_str(), "https://siem.example.internal/ocsf");
    let wrong = problems(&CONTROL.replace("kind = \"ocsf\"", "kind = \"otlp\"\nclose_notify = true"));
    assert!(wrong.len() == 1 && wrong[0].contains(" control.export[0].close_notify: "), "{wrong:?}");
}

#[test]
fn mistakes_of_exports_say_what_to_do() {
    let base = PROXY.split("[[proxy.audit.export]]").next().unwrap();
    let rest = PROXY.split_once("# What it puts up with").unwrap().1;
    let with = |table: &str| format!("{base}[[proxy.audit.export]]\n{table}\n\n#{rest}");
    let http = "name = \"a\"\nkind = \"otlp\"\nurl = \"https://c:4318/v1/logs\"";
    let syslog = "name = \"a\"\nkind = \"syslog\"\nurl = \"tls://c\"";
    let file = "name = \"a\"\nkind = \"ocsf\"\nfile = \"e.jsonl\"";
    for good in [
        http,
        syslog,
        file,
        &http.replace("https://c", "http://127.0.0.1"),
        &syslog.replace("tls://c", "tcp://[::1]:514"),
    ] {
        assert_eq!(parse(&with(good)).unwrap().proxy.unwrap().audit.exports.len(), 1, "{good}");
    }
    for (table, key, says) in [
        (http.replace("name = \"a\"", ""), "name", "missing: what it is called"),
        (http.replace("\"a\"", "\"A b\""), "name", "lower-case letters"),
        (http.replace("kind = \"otlp\"", ""), "kind", "`ocsf`, `otlp` or `syslog`"),
        (http.replace("\"otlp\"", "\"splunk\""), "kind", "expected one of"),
        (
            "name = \"a\"\nkind = \"otlp\"".to_owned(),
            "url",
            "missing: where it is, for instance `https://otel",
        ),
        (http.replace("https://c:4318", "http://c:4318"), "url", "only to this machine"),
        (http.replace("https://c:4318", "ftp://c"), "url", "expected `https://HOST"),
        (http.replace("/v1/logs", ""), "url", "the whole URL for logs"),
        (http.replace("https://c", "https://u:p@c"), "url", "credentials"),
        (format!("{http}\nheader = \"x-key\""), "header", "needs `secret_file`"),
        (format!("{http}\ncertificate = \"c.pem\""), "key", "missing: the PEM file of the key"),
        (format!("{http}\nkey = \"k.pem\""), "certificate", "missing: the PEM file of the certificate"),
        (format!("{http}\nclose_notify = false"), "close_notify", "for `kind = \"syslog\"` alone"),
        (format!("{http}\nfile = \"x\""), "file", "only `kind = \"ocsf\"`"),
        (format!("{http}\nca_file = \"x\""), "ca_file", "ca"),
        (syslog.replace("tls://c", "https://c"), "url", "expected `tls://HOST"),
        (syslog.replace("tls://c", "tcp://logs:514"), "url", "only to this machine"),
        (format!("{syslog}\nsecret_file = \"x\""), "secret_file", "`certificate` and `key`"),
        (format!("{file}\nca = \"x\""), "ca", "choose `url` or `file`"),
        (file.replace("e.jsonl", "audit/audit.jsonl"), "file", "a file of its own"),
    ] {
        let problems = problems(&with(&table));
        let [problem] = &problems[..] else { panic!("{table}: {problems:#?}") };
        let start = format!(" proxy.audit.export[0].{key}: ");
        assert!(problem.contains(&start) && problem.contains(says), "{start}{says}: {problem}");
    }
    let twice = problems(&with(&format!("{file}\n[[proxy.audit.export]]\n{syslog}")));
    assert!(twice.len() == 1 && twice[0].contains("each export has a name of its own"), "{twice:?}");
    let streamed = with(file).replace("file = \"audit/audit.jsonl\"", "stdout = true");
    let streamed = problems(&streamed.replace("# directory = \"audit/recordings\"", "directory = \"r\""));
    assert!(streamed.len() == 2 && streamed[0].contains("read from the files of the trail"), "{streamed:?}");
}
