//! What external witnesses (C2SP tlog-witness) say of a trail: up to which line each vouches for it, and since when. Their keys come from
//! whoever checks; that a note lies beside the trail is no reason to believe it.

use super::verify::{VerifyError, read};
use crate::audit::verify::Trusted;
use crate::cli::Failure;
use crate::model::{Time, Ttl};
use crate::runtime::clock::wall;
use crate::tlog::{Checkpoint, NoteError, VerifierKey, WitnessKey, note};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// A cosignature's time may be so far ahead of our clock.
const AHEAD: u64 = 3600;

/// What witnesses may have cosigned.
pub(super) struct Note {
    /// What to call it.
    pub(super) name: String,
    /// Its text, or why that cannot be read: which is no fault as long as another note tells what is asked.
    pub(super) text: io::Result<String>,
}

/// Which witnesses are demanded.
#[derive(Debug, clap::Args)]
pub(super) struct Witnesses {
    /// Demand that this external witness vouches for the trail: its verifier key, as text or in a file; may be given several times
    #[arg(long, value_name = "VKEY|FILE")]
    witness: Vec<PathBuf>,
    /// So many of the witnesses are enough [default: all]
    #[arg(long, value_name = "N", requires = "witness")]
    witness_quorum: Option<usize>,
    /// Only what a witness signed so shortly ago counts; a log is vouched for twice an hour, also while it does not grow
    #[arg(long, value_name = "DURATION", requires = "witness")]
    witness_within: Option<Ttl>,
}

/// What one witness says.
struct Voucher {
    key: WitnessKey,
    /// How many lines it vouches for, and when it did; or why it does not.
    says: Result<(Checkpoint, u64), String>,
}

/// What all of them say.
pub(super) struct Vouched {
    all: Vec<Voucher>,
    quorum: usize,
}

impl Witnesses {
    /// Whether there are any.
    pub(super) fn are_demanded(&self) -> bool {
        !self.witness.is_empty()
    }

    /// What those that are demanded say in `notes`; `log` signs for the trail.
    pub(super) fn look(&self, log: &VerifierKey, notes: &[Note]) -> Result<Vouched, Failure> {
        let mut all: Vec<Voucher> = Vec::new();
        for named in &self.witness {
            let key = key(named).map_err(Failure::failed)?;
            if all.iter().any(|known| known.key.is_same_key(&key)) {
                return Err(Failure::usage(VerifyError::Quorum(format!("`{}` is given twice", key.short()))));
            }
            let says = says(&key, log, notes, (wall(), self.witness_within));
            all.push(Voucher { key, says });
        }
        let quorum = self.witness_quorum.unwrap_or(all.len());
        if quorum > all.len() || (quorum == 0 && !all.is_empty()) {
            let bounds = format!("`--witness-quorum` is 1 to {}", all.len());
            return Err(Failure::usage(VerifyError::Quorum(bounds)));
        }
        Ok(Vouched { all, quorum })
    }
}

impl Vouched {
    /// How many lines enough witnesses vouch for; `None` where fewer do at all.
    fn lines(&self) -> Option<u64> {
        let mut sizes: Vec<u64> =
            self.all.iter().filter_map(|voucher| Some(voucher.says.as_ref().ok()?.0.size)).collect();
        sizes.sort_unstable_by(|one, other| other.cmp(one));
        sizes.get(self.quorum.checked_sub(1)?).copied()
    }

    /// How many lines enough of them vouch for; `None` where nobody is demanded.
    pub(super) fn covered(&self) -> Option<u64> {
        (!self.all.is_empty()).then(|| self.lines().unwrap_or(0))
    }

    /// Whether enough of them vouch for every line up to `wanted`; for some line at all if that is `None`.
    pub(super) fn holds(&self, wanted: Option<u64>) -> Result<(), VerifyError> {
        if self.all.is_empty() {
            return Ok(());
        }
        match (self.lines(), wanted) {
            (None, _) => Err(VerifyError::NotVouched { quorum: self.quorum, of: self.all.len() }),
            (Some(lines), Some(wanted)) if lines < wanted => Err(VerifyError::NotCovered { lines, wanted }),
            (Some(_), _) => Ok(()),
        }
    }

    /// The checkpoints that they vouch for: the lines have to lead to these as well.
    pub(super) fn trusted(&self) -> Vec<Trusted> {
        let trusted = |voucher: &Voucher| {
            let (checkpoint, _) = voucher.says.as_ref().ok()?;
            let name = format!("the checkpoint that witness `{}` vouches for", voucher.key.name());
            Some(Trusted { name, checkpoint: checkpoint.clone() })
        };
        self.all.iter().filter_map(trusted).collect()
    }

    /// For a table, a row each.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let row = |voucher: &Voucher| {
            let says = match &voucher.says {
                Ok((checkpoint, time)) => format!("vouches for {} lines, at {}", checkpoint.size, at(*time)),
                Err(why) => format!("does not vouch: {why}"),
            };
            ("witness", format!("{} {says}", voucher.key.short()))
        };
        self.all.iter().map(row).collect()
    }

    /// For JSON.
    pub(super) fn json(&self) -> Value {
        let one = |voucher: &Voucher| {
            let (name, key) = (voucher.key.name(), voucher.key.to_string());
            match &voucher.says {
                Ok((checkpoint, time)) => {
                    json!({"name": name, "key": key, "vouches": true, "lines": checkpoint.size, "time": at(*time)})
                }
                Err(why) => json!({"name": name, "key": key, "vouches": false, "detail": why}),
            }
        };
        self.all.iter().map(one).collect()
    }
}

/// The key that is named, by itself or by its file.
fn key(named: &Path) -> Result<WitnessKey, VerifyError> {
    let text = named.to_string_lossy();
    let parsed = match text.parse::<WitnessKey>() {
        Ok(key) => return Ok(key),
        // A key, and none of a witness; a file is hardly called so.
        Err(error) if !named.exists() => Err(error),
        Err(_) => read(named)?.trim().parse(),
    };
    parsed.map_err(|error: NoteError| VerifyError::Key { key: text.into_owned(), reason: error.to_string() })
}

/// The largest checkpoint of the log that this witness vouches for.
fn says(
    key: &WitnessKey,
    log: &VerifierKey,
    notes: &[Note],
    (now, within): (Time, Option<Ttl>),
) -> Result<(Checkpoint, u64), String> {
    let mut found: Option<(Checkpoint, u64)> = None;
    let mut refused = None;
    for Note { name, text } in notes {
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                refused = Some(format!("`{name}` cannot be read: {error}"));
                continue;
            }
        };
        match opened(key, log, text, now) {
            Ok(Some((checkpoint, _))) if checkpoint.size == 0 => {
                refused = Some(format!("`{name}` vouches for no line"));
            }
            Ok(Some((checkpoint, time))) => {
                let known = found.as_ref().map(|(known, at)| (known.size, *at));
                if known < Some((checkpoint.size, time)) {
                    found = Some((checkpoint, time));
                }
            }
            Ok(None) => {}
            Err(why) => refused = Some(format!("`{name}` is refused: {why}")),
        }
    }
    if let (Some((_, time)), Some(within)) = (&found, within)
        && now.as_millis() / 1000 > time.saturating_add(within.get().as_secs())
    {
        return Err(format!(
            "its last cosignature is of {}: ask it whether it has signed for more since, or why the proxy does not reach it",
            at(*time)
        ));
    }
    let nothing = "none of the checkpoints is cosigned with this key; give the one that was (`--checkpoint`), or check the key and `[[proxy.audit.witness]]`";
    found.ok_or_else(|| refused.unwrap_or_else(|| nothing.to_owned()))
}

/// What is vouched for and when; `None` if this witness has signed something else alone.
fn opened(
    key: &WitnessKey,
    log: &VerifierKey,
    text: &str,
    now: Time,
) -> Result<Option<(Checkpoint, u64)>, String> {
    let (body, signatures) = note::split(text).map_err(|error| error.to_string())?;
    let Some(cosigned) = key.find(body, signatures).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    if cosigned.time > now.as_millis() / 1000 + AHEAD {
        return Err(format!("its cosignature is of {}, which is still to come", at(cosigned.time)));
    }
    let checkpoint = Checkpoint::open(text, log).map_err(|error| error.to_string())?;
    Ok(Some((checkpoint, cosigned.time)))
}

fn at(seconds: u64) -> String {
    let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    micros.map_or_else(|| format!("{seconds} s after 1970"), |micros| Time::from_micros(micros).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::scribe::Scribe;
    use crate::tlog::{Hash, NoteSigner};

    struct Log(NoteSigner);

    impl Log {
        fn new() -> Self {
            let der = NoteSigner::generate().unwrap();
            Self(NoteSigner::from_pkcs8("jitgate.local/proxy/edge-1/audit", &der).unwrap())
        }

        fn note(&self, size: u64) -> String {
            let origin = self.0.verifier().name().to_owned();
            Checkpoint { origin, size, root: Hash::leaf(&size.to_be_bytes()) }.sign(&self.0)
        }

        /// With the cosignatures of these, of so many seconds ago.
        fn cosigned(&self, size: u64, by: &[(&Scribe, u64)]) -> Note {
            let note = self.note(size);
            let text = note::split(&note).unwrap().0;
            let lines = by.iter().map(|(scribe, ago)| scribe.line(text, now() - ago)).collect::<String>();
            kept(format!("{note}{lines}"))
        }
    }

    fn kept(text: String) -> Note {
        Note { name: "kept".to_owned(), text: Ok(text) }
    }

    fn now() -> u64 {
        wall().as_millis() / 1000
    }

    fn look(log: &Log, by: &[&Scribe], more: (Option<usize>, Option<&str>), notes: &[Note]) -> Vouched {
        let witness = by.iter().map(|scribe| scribe.key().into()).collect();
        let (witness_quorum, within) = more;
        let witness_within = within.map(|within| within.parse().unwrap());
        Witnesses { witness, witness_quorum, witness_within }.look(log.0.verifier(), notes).unwrap()
    }

    #[test]
    fn as_many_lines_are_vouched_for_as_the_quorum_does() {
        let (log, one, two, three) =
            (Log::new(), Scribe::new("one"), Scribe::new("two"), Scribe::new("three"));
        let notes = [log.cosigned(10, &[(&one, 9), (&two, 9)]), log.cosigned(20, &[(&one, 1)])];
        let lines = |by: &[&Scribe], quorum| look(&log, by, (quorum, None), &notes).lines();
        assert_eq!(lines(&[&one], None), Some(20));
        assert_eq!(lines(&[&one, &two], None), Some(10));
        assert_eq!(lines(&[&one, &two], Some(1)), Some(20));
        assert_eq!(lines(&[&one, &two, &three], None), None);
        assert_eq!(lines(&[&one, &two, &three], Some(2)), Some(10));
        let both = look(&log, &[&one, &two], (None, None), &notes);
        assert!(both.holds(None).is_ok() && both.holds(Some(10)).is_ok());
        assert!(matches!(both.holds(Some(11)), Err(VerifyError::NotCovered { lines: 10, wanted: 11 })));
        let third = look(&log, &[&three], (None, None), &notes);
        assert!(matches!(third.holds(None), Err(VerifyError::NotVouched { quorum: 1, of: 1 })));
        let nobody = look(&log, &[], (None, None), &notes);
        assert!(nobody.holds(Some(1_000)).is_ok(), "nothing was demanded");
        assert_eq!((both.covered(), third.covered(), nobody.covered()), (Some(10), Some(0), None));
    }

    #[test]
    fn a_note_that_cannot_be_read_spoils_no_other_and_one_over_nothing_does_not_count() {
        let (log, one) = (Log::new(), Scribe::new("one"));
        let unread = || Note { name: "odd".to_owned(), text: Err(io::Error::other("no text")) };
        let good = look(&log, &[&one], (None, None), &[unread(), log.cosigned(10, &[(&one, 9)]), unread()]);
        assert_eq!(good.lines(), Some(10));
        for (notes, why) in [
            (vec![unread()], "`odd` cannot be read: no text"),
            (vec![log.cosigned(0, &[(&one, 9)])], "vouches for no line"),
        ] {
            let none = look(&log, &[&one], (None, None), &notes);
            assert!(none.holds(None).is_err() && none.rows()[0].1.contains(why), "{:?}", none.rows());
        }
    }

    #[test]
    fn demands_without_a_meaning_are_refused() {
        let (log, one) = (Log::new(), Scribe::new("one"));
        let demand = |witness: Vec<PathBuf>, witness_quorum| {
            Witnesses { witness, witness_quorum, witness_within: None }.look(log.0.verifier(), &[]).is_err()
        };
        let key = || PathBuf::from(one.key());
        assert!(demand(vec![key(), key()], None), "one witness is not two");
        assert!(demand(vec![key()], Some(0)) && demand(vec![key()], Some(2)));
        assert!(demand(vec![log.0.verifier().to_string().into()], None), "the key of a log");
        assert!(!demand(vec![key()], Some(1)));
    }

    #[test]
    fn what_is_forged_of_another_log_or_of_another_time_does_not_count() {
        let (log, other, one) = (Log::new(), Log::new(), Scribe::new("one"));
        let holds = |within, note: Note| look(&log, &[&one], (None, within), &[note]).holds(None).is_ok();
        assert!(holds(None, log.cosigned(10, &[(&one, 7_000)])));
        assert!(holds(Some("2h"), log.cosigned(10, &[(&one, 7_000)])));
        assert!(!holds(Some("1h"), log.cosigned(10, &[(&one, 7_000)])));
        assert!(!holds(None, other.cosigned(10, &[(&one, 7)])), "another key signs for that log");
        assert!(!holds(None, log.cosigned(10, &[(&Scribe::new("one"), 7)])));
        let note = log.cosigned(10, &[(&one, 7)]).text.unwrap();
        assert!(!holds(None, kept(note.replacen("\n10\n", "\n11\n", 1))));
        let (text, ahead) = (log.note(10), now() + 7_200);
        let line = one.line(note::split(&text).unwrap().0, ahead);
        assert!(!holds(None, kept(format!("{text}{line}"))));
    }
}
