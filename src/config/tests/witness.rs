//! `[[proxy.audit.witness]]` and `[[control.witness]]`.

use super::*;

const KEY: &str = "witness.example.internal/w1+d33622c2+BFgyQQ2irG5Ba0lJryiRfX2GjcH531uY91ozSJwAYfkw";
const OTHER: &str = "archive.example/witness+c0a72f18+BCuvs1a0MNRCPaUZ2uxHztvIRHZKrLFCifLQO2/3Wm8h";

#[test]
fn the_witnesses_of_the_examples_are_read() {
    let audit = parse(PROXY).unwrap().proxy.unwrap().audit;
    let [witness] = &audit.witnesses[..] else { panic!("{:?}", audit.witnesses) };
    assert_eq!((witness.name.as_str(), witness.key.to_string().as_str()), ("w1", KEY));
    assert_eq!(witness.url.as_str(), "https://witness.example.internal/w1");
    assert_eq!(
        (witness.timeout, witness.tls.ca.as_deref()),
        (WitnessConfig::TIMEOUT, Some(Path::new("/etc/jitgate/witness-ca.pem")))
    );
    let control = parse(CONTROL).unwrap().control.unwrap();
    assert_eq!(control.witnesses[0].tls.ca.as_deref(), Some(Path::new("/etc/jitgate/ca.pem")));
}

#[test]
fn mistakes_of_witnesses_say_what_to_do() {
    let base = PROXY.split("[[proxy.audit.witness]]").next().unwrap();
    let rest = PROXY.split_once("# What it puts up with").unwrap().1;
    let with = |tables: &str| format!("{base}{tables}\n#{rest}");
    let table = |name: &str, url: &str, key: &str| {
        format!("[[proxy.audit.witness]]\nname = \"{name}\"\nurl = \"{url}\"\nkey = \"{key}\"\n")
    };
    let good = table("a", "https://w.example/", KEY);
    let read = parse(&with(&good)).unwrap().proxy.unwrap().audit.witnesses;
    assert_eq!(read[0].url.as_str(), "https://w.example", "`/add-checkpoint` is put behind it");
    assert!(parse(&with(&table("a", "http://127.0.0.1:7380/x", KEY))).is_ok());
    // The key that checks a log, of the same bytes.
    let log = "witness.example.internal/w1+d33622c2+AVgyQQ2irG5Ba0lJryiRfX2GjcH531uY91ozSJwAYfkw";
    let lattice = "witness.example.internal/w1+d33622c2+BlgyQQ2irG5Ba0lJryiRfX2GjcH531uY91ozSJwAYfkw";
    let twice = good.clone() + &table("a", "https://x.example", OTHER);
    let alike = good.clone() + &table("b", "https://x.example", KEY);
    for (tables, key, says) in [
        (good.replace("name = \"a\"", ""), "0].name", "missing: what it is called"),
        (good.replace("\"a\"", "\"A/b\""), "0].name", "lower-case letters"),
        (good.replace("url =", "# url ="), "0].url", "missing: its submission prefix"),
        (table("a", "http://w.example", KEY), "0].url", "only to this machine"),
        (table("a", "https://w.example/?x=1", KEY), "0].url", "submission prefix alone"),
        (table("a", "https://w.example/add-checkpoint", KEY), "0].url", "submission prefix alone"),
        (good.replace("key =", "# key ="), "0].key", "missing: its verifier key"),
        (table("a", "https://w.example", log), "0].key", "the key of a log"),
        (table("a", "https://w.example", lattice), "0].key", "type 0x06"),
        (table("a", "https://w.example", &KEY.replace("d336", "d337")), "0].key", "no key of a witness"),
        (good.clone() + "kee = 1\n", "0].kee", "key"),
        (twice, "1].name", "a name of its own"),
        (alike, "1].key", "one witness"),
    ] {
        let problems = problems(&with(&tables));
        let [problem] = &problems[..] else { panic!("{tables}: {problems:#?}") };
        let start = format!(" proxy.audit.witness[{key}: ");
        assert!(problem.contains(&start) && problem.contains(says), "{start}{says}: {problem}");
        assert!(!problem.starts_with("0 "), "no line: {problem}");
    }
    let problems = problems(&with(&good.repeat(17)));
    assert!(problems.iter().any(|problem| problem.contains("at most 16 witnesses")), "{problems:?}");
}

#[test]
fn a_trail_on_standard_output_is_no_log_that_can_be_witnessed() {
    let streamed = PROXY.replace("file = \"audit/audit.jsonl\"", "stdout = true");
    let before = streamed.split("[[proxy.audit.export]]").next().unwrap();
    let after = streamed.split_once("[[proxy.audit.witness]]").unwrap().1;
    let text = format!("{before}[[proxy.audit.witness]]{after}")
        .replace("# directory = \"audit/recordings\"", "directory = \"r\"");
    let problems = problems(&text);
    assert!(problems.len() == 1 && problems[0].contains("log that can be witnessed"), "{problems:?}");
}
