//! Cosignatures (c2sp.org/tlog-cosignature, version 1, Ed25519): a witness says that at some time this was the largest tree that it knew
//! of a log, and that every smaller one it had seen is a beginning of it.

use super::note::{self, KEY_LEN, Line, NoteError};
use std::fmt;
use std::str::FromStr;

/// The algorithm's number in keys.
const ALGORITHM: u8 = 0x04;
/// That of the key of a log, which is easily mistaken for it.
const LOG: u8 = 0x01;

/// The public key of a witness with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    id: [u8; 4],
    key: [u8; KEY_LEN],
}

/// What a witness has vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosigned<'a> {
    /// When, by its clock: seconds since 1970.
    pub time: u64,
    /// The signature line, without its newline.
    pub line: &'a str,
}

impl WitnessKey {
    /// What the witness is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name and hash.
    #[must_use]
    pub fn short(&self) -> String {
        note::short(&self.name, self.id)
    }

    /// Whether both are one key, whatever names it has: a signature does not hold the name.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// The latest cosignature over `text` among signature lines; `None` if this witness has signed none of them. Those of others, and
    /// what is no signature line, are not looked at.
    ///
    /// # Errors
    /// [`NoteError::Signature`], [`NoteError::Time`]: it is in the name of this witness, and not by it over this text.
    pub fn find<'a>(&self, text: &str, signatures: &'a str) -> Result<Option<Cosigned<'a>>, NoteError> {
        let mut latest: Option<Cosigned<'a>> = None;
        for written in signatures.lines() {
            let Some(line) = Line::take_apart(written) else { continue };
            if line.name != self.name || line.id != self.id {
                continue;
            }
            let wrong = || NoteError::Signature(self.name.clone());
            let (time, signature) = line.signature.split_first_chunk::<8>().ok_or_else(wrong)?;
            let time = u64::from_be_bytes(*time);
            if i64::try_from(time).is_err() {
                return Err(NoteError::Time(self.name.clone()));
            }
            let message = format!("cosignature/v1\ntime {time}\n{text}");
            if !note::verify(&self.key, message.as_bytes(), signature) {
                return Err(wrong());
            }
            if latest.is_none_or(|latest| latest.time <= time) {
                latest = Some(Cosigned { time, line: written });
            }
        }
        Ok(latest)
    }
}

/// `NAME+HASH+BASE64`.
impl fmt::Display for WitnessKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&note::written(&self.name, self.id, ALGORITHM, &self.key))
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, bytes) = note::parts(text).ok_or(NoteError::WitnessKey)?;
        let (algorithm, key) = bytes.split_first().ok_or(NoteError::WitnessKey)?;
        match *algorithm {
            ALGORITHM => {}
            LOG => return Err(NoteError::LogKey),
            other => return Err(NoteError::Algorithm(other)),
        }
        let key: [u8; KEY_LEN] = key.try_into().map_err(|_| NoteError::WitnessKey)?;
        let found = Self { name: name.to_owned(), id: note::key_id(name, ALGORITHM, &key)?, key };
        // The hash is there so that a name or key that was copied wrongly is noticed.
        if note::short(name, found.id) == format!("{name}+{id}") {
            Ok(found)
        } else {
            Err(NoteError::WitnessKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{Checkpoint, VerifierKey};

    /// Made by another implementation (aics-tlog 0.2.1), with the private key 00 01 02 … 1f.
    const KEY: &str = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const TEXT: &str =
        "jitgate.local/proxy/edge-1/audit\n4711\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n";
    const EARLY: &str = "— witness.example/w1 519lMgAAAABkGFDLT/X4jCyXg5x7nk4m6gy5zDuZ/cgbzFXJ77SYkUxPrcjubmMQGj9uL7IUsW27dCkvaebArV421ZcTYwQcHo0iAw==";
    const LATE: &str = "— witness.example/w1 519lMgAAAABq/YbA7WduekgdmSUOM+rh9qIrck1J+Z1LLhULljgjOFEAKS+hMnBIkmIcporlmJPoCQX6wFEaEbE8YDjyK3Tz7n9hCA==";
    /// The example of c2sp.org/tlog-cosignature, whose keys are not published.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn key() -> WitnessKey {
        KEY.parse().unwrap()
    }

    #[test]
    fn what_another_implementation_signed_is_accepted() {
        assert_eq!(key().to_string(), KEY);
        assert_eq!(
            (key().name(), key().short().as_str()),
            ("witness.example/w1", "witness.example/w1+e75f6532")
        );
        let line = format!("{EARLY}\n");
        let found = key().find(TEXT, &line).unwrap();
        assert_eq!(found, Some(Cosigned { time: 1_679_315_147, line: EARLY }));
        for both in [format!("{EARLY}\n{LATE}\n"), format!("{LATE}\nnoise\n— other AAAA\n{EARLY}\n")] {
            assert_eq!(key().find(TEXT, &both).unwrap().unwrap().time, 1_795_000_000);
        }
    }

    #[test]
    fn it_counts_for_this_text_key_and_time_alone() {
        let lines = format!("{EARLY}\n");
        let grown = TEXT.replace("4711", "4712");
        assert_eq!(key().find(&grown, &lines), Err(NoteError::Signature("witness.example/w1".into())));
        // Another time than was signed.
        let later = EARLY.replacen("AAAABkGFDL", "AAAABkGFDM", 1);
        assert_ne!(later, EARLY);
        assert!(matches!(key().find(TEXT, &later), Err(NoteError::Signature(_))));
        let never = EARLY.replacen("519lMgAAAAB", "519lMv////9", 1);
        assert_eq!(key().find(TEXT, &never), Err(NoteError::Time("witness.example/w1".into())));
        for other in [EARLY.replacen("/w1", "/w2", 1), EARLY.replacen("519l", "619l", 1), String::new()] {
            assert_eq!(key().find(TEXT, &other), Ok(None), "{other}");
        }
        // A good one does not cover a bad one in the same name.
        assert!(key().find(TEXT, &format!("{LATE}\n{later}\n")).is_err());
        let short = "— witness.example/w1 519lMgAAAABkGFDL";
        assert!(key().find(TEXT, short).is_err());
    }

    #[test]
    fn a_signature_over_the_plain_text_is_no_cosignature() {
        use crate::tlog::NoteSigner;
        let signer = NoteSigner::from_pkcs8("witness.example/w1", &NoteSigner::generate().unwrap()).unwrap();
        let note = signer.sign(TEXT);
        let log = signer.verifier().to_string();
        assert_eq!(log.parse::<WitnessKey>(), Err(NoteError::LogKey));
        assert!(KEY.parse::<VerifierKey>().is_err(), "and the key of a witness is none of a log");
        assert_eq!(key().find(TEXT, note::split(&note).unwrap().1), Ok(None));
    }

    #[test]
    fn keys_that_are_none_of_a_witness_say_why() {
        for (text, error) in [
            ("witness", NoteError::WitnessKey),
            ("w+00000000+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", NoteError::WitnessKey),
            ("w+e75f6532+BAOh", NoteError::WitnessKey),
            ("w+e75f6532+", NoteError::WitnessKey),
            ("w+e75f6532+BgOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", NoteError::Algorithm(6)),
            ("+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", NoteError::Name(String::new())),
        ] {
            assert_eq!(text.parse::<WitnessKey>(), Err(error), "{text}");
        }
        assert!(KEY.replace("e75f6532", "E75F6532").parse::<WitnessKey>().is_err(), "each key has one form");
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let (text, signatures) = note::split(EXAMPLE).unwrap();
        assert_eq!(Checkpoint::unverified(EXAMPLE).unwrap().size, 20_852_163);
        let line = note::Line::take_apart(signatures.lines().last().unwrap()).unwrap();
        assert_eq!((line.name, line.id), ("witness.example.com/w1", [0x8d, 0x66, 0xcf, 0x3f]));
        assert_eq!(line.signature.len(), 72);
        assert_eq!(line.signature[..8], 1_679_315_147_u64.to_be_bytes());
        assert_eq!(key().find(text, signatures), Ok(None));
    }
}
