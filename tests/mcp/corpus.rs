//! Bodies from a fixed seed: honest requests as clients write them, and requests with one thing wrong.

use std::fmt;

/// One body.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// What was done to it.
    pub(crate) wrong: Option<&'static str>,
    /// Whether that always leaves a body with more than one reading, or none.
    pub(crate) must_be_refused: bool,
}

impl Body {
    pub(crate) fn hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.wrong, String::from_utf8_lossy(&self.bytes))
    }
}

/// xorshift: the same bodies each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const TEXTS: [&str; 14] = [
    "billing",
    "",
    "a b",
    "Hello, 世界",
    "\\u0041",
    "\\ud83d\\ude00",
    "😀",
    "\\n\\t\\/\\\\\\\"",
    "1e400",
    "NaN",
    "\\u202e",
    "\u{2028}",
    "null",
    "\\u001f",
];
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "42",
    "9007199254740991",
    "-9007199254740991",
    "0.1",
    "1.5",
    "-2.25e-3",
    "1e2",
    "1.0",
    "5e-324",
    "1.7976931348623157e308",
    "123456789012345680000.0",
];
const ODD_NUMBERS: [&str; 14] = [
    "-0",
    "-0.0",
    "01",
    "1.",
    ".5",
    "+1",
    "1e400",
    "-1e999",
    "9007199254740993",
    "18446744073709551616",
    "0.1000000000000000055511151231257827",
    "NaN",
    "-Infinity",
    "0x10",
];
const NAMES: [&str; 10] =
    ["service", "server", "n", "x-y", "größe", "Camel", "snake_case", "__proto__", "constructor", ""];

/// A value, `depth` levels deep at most.
fn value(random: &mut Random, depth: usize) -> String {
    match random.below(if depth == 0 { 4 } else { 6 }) {
        0 => format!("\"{}\"", random.pick(&TEXTS)),
        1 => random.pick(&NUMBERS).to_owned(),
        2 => random.pick(&["true", "false", "null"]).to_owned(),
        3 => random.below(100_000).to_string(),
        4 => {
            let items: Vec<String> = (0..random.below(4)).map(|_| value(random, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => object(random, depth - 1),
    }
}

/// An object; no two of its names are twins.
fn object(random: &mut Random, depth: usize) -> String {
    let start = random.below(NAMES.len());
    let count = random.below(5);
    let names = NAMES.iter().cycle().skip(start).take(count);
    let members: Vec<String> = names.map(|name| format!("\"{name}\":{}", value(random, depth))).collect();
    let space = random.pick(&["", " ", "\n\t"]);
    format!("{{{space}{}{space}}}", members.join(random.pick(&[",", ", ", " ,\r\n"])))
}

/// A request; its members in any order.
fn honest(random: &mut Random) -> Vec<String> {
    let (method, mut params) = match random.below(4) {
        0 => (
            "tools/call",
            vec![format!("\"name\":\"{}\"", random.pick(&["restart", "tool.x", "wérkzeug", "a\\u0062c"]))],
        ),
        1 => ("resources/read", vec!["\"uri\":\"file:///a/b?c=..%2f\"".to_owned()]),
        2 => ("tools/list", vec![]),
        _ => ("x/unknown", vec!["\"other\":[{}]".to_owned()]),
    };
    if method == "tools/call" || random.below(3) == 0 {
        params.push(format!("\"arguments\":{}", object(random, 4)));
    }
    if random.below(2) == 0 {
        params.push(
            "\"_meta\":{\"progressToken\":7,\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}"
                .to_owned(),
        );
    }
    let turn = random.below(params.len().max(1)).min(params.len());
    params.rotate_left(turn);
    let id = random.pick(&["1", "0", "-5", "\"a\"", "\"server-discover-probe-1\"", "9007199254740991"]);
    let mut members = vec![
        "\"jsonrpc\":\"2.0\"".to_owned(),
        format!("\"id\":{id}"),
        format!("\"method\":\"{method}\""),
        format!("\"params\":{{{}}}", params.join(",")),
    ];
    members.rotate_left(random.below(4));
    members
}

fn written(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

/// One thing wrong that no reader may be left alone with.
fn wrong(random: &mut Random, members: &mut Vec<String>) -> (&'static str, Vec<u8>) {
    let at = random.below(members.len());
    let text = match random.below(9) {
        0 => {
            members.push(
                random
                    .pick(&["\"id\":2", "\"method\":\"tools/call\"", "\"params\":{}", "\"\\u0069d\":3"])
                    .to_owned(),
            );
            return ("a member twice", written(members).into_bytes());
        }
        1 => {
            members.push(
                random
                    .pick(&[
                        "\"ID\":2",
                        "\"Method\":\"x\"",
                        "\"paramſ\":{}",
                        "\"ｉd\":1",
                        "\"me\\u200bthod\":\"x\"",
                    ])
                    .to_owned(),
            );
            return ("a twin", written(members).into_bytes());
        }
        2 => {
            members.push(random.pick(&["\"extra\":1", "\"result\":{}", "\"error\":{}", "\"\":0"]).to_owned());
            return ("a member that JSON-RPC does not have", written(members).into_bytes());
        }
        3 => {
            members.retain(|member| !member.starts_with("\"params\""));
            members.push(format!(
                "\"params\":{{\"name\":\"t\",\"arguments\":{{\"n\":[{}]}}}}",
                random.pick(&ODD_NUMBERS)
            ));
            return ("a number", written(members).into_bytes());
        }
        4 => {
            members.retain(|member| !member.starts_with("\"params\""));
            let arguments = random.pick(&[
                "{\"a\":1,\"a\":1}",
                "[{\"a\":1}]",
                "{\"a\":{\"b\":0,\"\\u0062\":1}}",
                "{\"key\":1,\"KEY\":2}",
                "{\"s\":\"\\ud800\"}",
                "{\"s\":\"\\u0000\"}",
                "{\"\\u0000\":1}",
            ]);
            members.push(format!("\"params\":{{\"name\":\"t\",\"arguments\":{arguments}}}"));
            return ("arguments", written(members).into_bytes());
        }
        5 => {
            let body = written(members);
            let around =
                random.pick(&["\u{feff}{}", "{}{}", "{},", "{}\0", "({})", "//\n{}", "{}\u{a0}", "\u{c}{}"]);
            return ("something around it", around.replace("{}", &body).into_bytes());
        }
        6 => {
            members[at] = members[at].replacen(':', random.pick(&["=", " ", "::", ""]), 1);
            written(members)
        }
        7 => {
            let mut bytes = written(members).into_bytes();
            let at = bytes.iter().position(|byte| *byte == b'"').unwrap() + 1;
            bytes.insert(at, [0xff, 0xc0, 0x80, 0xed, 0x00, 0x1f][random.below(6)]);
            return ("a byte", bytes);
        }
        _ => {
            let text = written(members);
            let cut = (1..text.len())
                .rev()
                .filter(|at| text.is_char_boundary(*at))
                .nth(random.below(text.len() / 2))
                .unwrap_or(1);
            text[..cut].to_owned()
        }
    };
    ("broken", text.into_bytes())
}

/// So many bodies, always the same: two of five honest, two with one thing wrong, one with bytes exchanged at random.
pub(crate) fn bodies(count: usize) -> Vec<Body> {
    let mut random = Random(0x5eed_cafe_f00d_d00d);
    let body = |at: usize| {
        let mut members = honest(&mut random);
        match at % 5 {
            0 | 1 => Body { bytes: written(&members).into_bytes(), wrong: None, must_be_refused: false },
            2 | 3 => {
                let (wrong, bytes) = wrong(&mut random, &mut members);
                Body { bytes, wrong: Some(wrong), must_be_refused: true }
            }
            _ => {
                let mut bytes = written(&members).into_bytes();
                for _ in 0..=random.below(2) {
                    let at = random.below(bytes.len());
                    bytes[at] = *random.pick(&[
                        &b'"', &b'\\', &b'0', &b'e', &b'N', &b' ', &b'{', &b'}', &b',', &b'A', &0x80, &0xc3,
                    ]);
                }
                Body { bytes, wrong: Some("bytes exchanged"), must_be_refused: false }
            }
        }
    };
    (0..count).map(body).collect()
}
