//! What is typed: every verb explains itself with an example, and what makes no sense is refused with exit code 2.

use super::*;

fn verbs(command: &clap::Command, path: &str, each: &mut impl FnMut(&str, &clap::Command)) {
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name());
        each(&path, verb);
        verbs(verb, &path, each);
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_a_summary_and_an_example_that_starts_with_it() {
    let mut names = Vec::new();
    verbs(&Cli::command(), "jitgate", &mut |path, verb| {
        names.push(path.to_owned());
        assert!(verb.get_about().is_some(), "`{path}` has no summary");
        if verb.get_subcommands().next().is_some()
            && !["jitgate grants", "jitgate requests", "jitgate reviews"].contains(&path)
        {
            return;
        }
        let help = verb.clone().render_long_help().to_string();
        assert!(help.contains("Example"), "`{path}` has no example");
        assert!(
            help.contains(&format!("\n  {path}")) || help.contains(&format!("&& {path}")),
            "the example of `{path}`: {help}"
        );
    });
    for verb in "up proxy control check request requests approve deny cancel grant grants extend delegate revoke task reviews cooldown run connect explain status audit certs completions".split(' ')
    {
        assert!(names.contains(&format!("jitgate {verb}")), "{verb}");
    }
    for verb in [
        "grants show",
        "requests show",
        "task done",
        "task failed",
        "task show",
        "reviews close",
        "cooldown lift",
        "audit tail",
        "certs init",
        "certs issue",
    ] {
        assert!(names.contains(&format!("jitgate {verb}")), "{verb}");
    }
}

/// The examples in the help are command lines that parse.
#[test]
fn the_examples_parse() {
    let mut seen = 0;
    verbs(&Cli::command(), "jitgate", &mut |_, verb| {
        let Some(help) = verb.get_after_help() else { return };
        let text = help.to_string().replace("\\\n", " ");
        for line in text.lines().filter_map(|line| line.strip_prefix("  jitgate ")) {
            for line in line.split(" && jitgate ") {
                let line = line.split([']', '>', '|']).next().unwrap();
                let arguments = std::iter::once("jitgate".to_owned()).chain(words(line));
                if let Err(error) = Cli::try_parse_from(arguments) {
                    panic!("{line}: {error}");
                }
                seen += 1;
            }
        }
    });
    assert!(seen > 20, "{seen}");
}

/// As a shell would, as far as the examples go.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("jitgate".to_owned()).chain(words(line)))
}

#[test]
fn command_lines_that_make_no_sense_are_refused() {
    for line in [
        "",
        "frobnicate",
        "revoke --reason r",
        "revoke --all --task t --reason r",
        "revoke --all",
        "revoke gr_1 --reason r",
        "grant --principal demo --task t --scope a:GET:/ --ttl 1m --reason r",
        "grant --principal spiffe://d/a --task t --scope a:GET:/ --ttl 0s --reason r",
        "grant --principal spiffe://d/a --task t --ttl 1m --reason r",
        "grant --file f --principal spiffe://d/a",
        "grant --file f --max-uses 1",
        "certs issue",
        "certs issue --agent a --operator b --role viewer",
        "certs issue --operator b",
        "certs issue --operator b --role proxy",
        "certs issue --agent a --role viewer",
        "up --service orders",
        "up --service orders=mcp+http://a",
        "up --listen 8443",
        "grants --output yaml",
        "grants --cert c.pem",
        "request --task t --ttl 1m --reason r",
        "request --task t --scope a:GET:/ --role x --ttl 1m --reason r",
        "approve rq_01k2abcdefghjkmnpqrstvwxyz",
        "deny gr_01k2abcdefghjkmnpqrstvwxyz --reason r",
        "requests --state live",
        "run --task t --scope a:GET:/ --ttl 1m",
        "run --task t --scope a:GET:/ --ttl 1m true",
        "run --task t --ttl 1m -- true",
        "cooldown lift demo --reason r",
        "cooldown lift spiffe://d/a",
        "audit",
        "proxy",
        "control",
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("`{line}` is accepted"));
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn waiting_has_a_default_and_takes_a_length_only_after_an_equals_sign() {
    let wait = |line: &str| {
        let Verb::Revoke(verb) = parse(line).unwrap().verb else { panic!("`{line}` is another verb") };
        verb.wait_limit().map(|ttl| ttl.to_string())
    };
    assert_eq!(wait("revoke --all --reason r"), None);
    assert_eq!(wait("revoke --all --reason r --wait"), Some("1m30s".to_owned()));
    assert_eq!(wait("revoke --all --wait=5s --reason r"), Some("5s".to_owned()));
    let grant = "gr_01k2abcdefghjkmnpqrstvwxyz";
    assert_eq!(wait(&format!("revoke --reason r --wait {grant}")), Some("1m30s".to_owned()));
}

#[test]
fn whose_certificate_is_shown_is_said_once() {
    let shown = |flags: &str| {
        let cli = parse(&format!("task show T --control https://control.example:8444 {flags}")).unwrap();
        cli.connection.agent_target().map(|target| target.identity.certificate)
    };
    assert_eq!(shown("--cert c.pem --key k.pem").unwrap(), std::path::Path::new("c.pem"));
    assert_eq!(shown("--as folder").unwrap(), std::path::Path::new("folder/cert.pem"));
    let both = shown("--as operator --cert c.pem --key k.pem").unwrap_err();
    assert!(both.text().contains("leave out one of them"), "{}", both.text());
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "jitgate", &mut script);
        let script = String::from_utf8(script).unwrap();
        for verb in [
            "revoke", "request", "approve", "deny", "cancel", "extend", "delegate", "reviews", "cooldown",
            "run",
        ] {
            assert!(script.contains(verb), "{verb} in {shell}");
        }
    }
}
