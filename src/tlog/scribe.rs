//! For tests: a witness as the specification says, which shares no code with what checks it. The end to end tests take it by its path.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// See the head of this file.
pub(crate) struct Scribe {
    name: &'static str,
    pair: Ed25519KeyPair,
}

impl Scribe {
    /// With a new key.
    pub(crate) fn new(name: &'static str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        Self { name, pair: Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap() }
    }

    fn id(&self) -> Vec<u8> {
        let hashed = [self.name.as_bytes(), b"\n\x04", self.pair.public_key().as_ref()].concat();
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &hashed).as_ref()[..4].to_vec()
    }

    /// Its verifier key.
    pub(crate) fn key(&self) -> String {
        let id: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let key = [b"\x04", self.pair.public_key().as_ref()].concat();
        format!("{}+{id}+{}", self.name, STANDARD.encode(key))
    }

    /// Its signature line over `text`.
    pub(crate) fn line(&self, text: &str, time: u64) -> String {
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        let signature = self.pair.sign(message.as_bytes());
        let all = [&self.id()[..], &time.to_be_bytes(), signature.as_ref()].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(all))
    }
}
