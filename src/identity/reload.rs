//! Certificate, key, bundles and CRLs from their files, followed as they change.
//!
//! Invariants: everything is read and parsed before anything is replaced; what cannot be used whole changes nothing and raises
//! an alarm, once for each change; open connections go on, and are re-checked by their owners ([`Trust::changes`]).

use super::crl::CrlError;
use super::keyfile::{self, FileError, Secrecy};
use super::own::{OwnError, OwnIdentity, OwnPair};
use super::trust::{TimeSource, Trust, TrustError, TrustSet};
use crate::config::{IdentityFiles, TrustFiles};
use crate::model::Time;
use aws_lc_rs::digest::{self, Digest, SHA256};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A file that was changed less than this before it was read may change again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Our certificate or key.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bundle.
    #[error(transparent)]
    Trust(TrustError),
    /// A revocation list.
    #[error("`{}` {source}", path.display())]
    Crl {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: CrlError,
    },
}

/// What a look at the files led to.
#[derive(Debug)]
pub enum Change {
    /// The files are in use: when each thing runs out (`certificate`, `bundle:<trust domain>`, `crl`).
    InUse(Vec<(String, Time)>),
    /// The files cannot be used; what was in use before still is.
    Kept(ReloadError),
}

/// Hears of every [`Change`]: for metrics. Must not block.
pub type Observer = Box<dyn Fn(&Change) + Send + Sync>;

/// The files of one half of the program, and what is in use of them.
pub struct Reloader {
    identity: IdentityFiles,
    trust_files: TrustFiles,
    own: Arc<OwnIdentity>,
    trust: Arc<Trust>,
    observer: Observer,
    in_use: Digests,
    stamps: Stamps,
    failing: Option<Failing>,
}

/// A failure that was seen. The first look at it raises no alarm: certificate and key are two files, and cannot be replaced in
/// one step.
struct Failing {
    what: (Option<Digests>, String),
    alarmed: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Digests {
    own: Box<[u8]>,
    trust: Box<[u8]>,
}

/// What the file system tells about each file; `None` where nothing can be told, or not for certain.
type Stamps = Option<Vec<(u64, u64, u64, i64, i64)>>;

struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    bundles: Vec<(String, Vec<u8>)>,
    crls: Vec<Vec<u8>>,
}

impl Reloader {
    /// Loads everything for the first time.
    ///
    /// # Errors
    /// [`ReloadError`] for the first file that cannot be used.
    pub fn load(
        identity: IdentityFiles,
        trust_files: TrustFiles,
        now: TimeSource,
        observer: Observer,
    ) -> Result<Self, ReloadError> {
        let stamps = stamps(&identity, &trust_files, now());
        let contents = Contents::read(&identity, &trust_files)?;
        let pair = OwnPair::parse(&identity, &contents.certificate, &contents.key, now())?;
        let set = contents.trust(&trust_files)?;
        let reloader = Self {
            identity,
            trust_files,
            own: OwnIdentity::new(pair),
            trust: Trust::new(set, now),
            observer,
            in_use: contents.digests(),
            stamps,
            failing: None,
        };
        (reloader.observer)(&reloader.in_use());
        Ok(reloader)
    }

    /// What listeners and clients show; follows the files while [`Reloader::run`] runs.
    #[must_use]
    pub fn own(&self) -> Arc<OwnIdentity> {
        self.own.clone()
    }

    /// Whom they believe; follows the files while [`Reloader::run`] runs.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.clone()
    }

    /// Looks at the files each second until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reloader = self;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let look = tokio::task::spawn_blocking(move || {
                reloader.poll();
                reloader
            });
            match look.await {
                Ok(returned) => reloader = returned,
                Err(error) => {
                    tracing::error!(%error, "certificates and revocation lists are no longer followed");
                    return;
                }
            }
        }
    }

    /// Looks at the files once (blocking).
    pub fn poll(&mut self) {
        let now = self.trust.now();
        let stamps = stamps(&self.identity, &self.trust_files, now);
        if stamps.is_some() && stamps == self.stamps && self.failing.is_none() {
            return;
        }
        self.stamps = stamps;
        let contents = match Contents::read(&self.identity, &self.trust_files) {
            Ok(contents) => contents,
            Err(error) => return self.fail(None, error.into()),
        };
        let digests = contents.digests();
        if digests == self.in_use {
            self.failing = None;
            return;
        }
        match self.replace(&contents, &digests, now) {
            Ok(()) => {
                self.in_use = digests;
                self.failing = None;
                tracing::info!("certificates, trust bundles and revocation lists were reloaded");
                (self.observer)(&self.in_use());
            }
            Err(error) => self.fail(Some(digests), error),
        }
    }

    fn replace(&self, contents: &Contents, digests: &Digests, now: Time) -> Result<(), ReloadError> {
        let pair = OwnPair::parse(&self.identity, &contents.certificate, &contents.key, now)?;
        let set = contents.trust(&self.trust_files)?;
        self.own.replace(pair);
        // Not for a new certificate of ours alone: each replacement has every connection checked again.
        if digests.trust != self.in_use.trust {
            self.trust.replace(set);
        }
        Ok(())
    }

    fn fail(&mut self, digests: Option<Digests>, error: ReloadError) {
        let what = (digests, error.to_string());
        match &mut self.failing {
            Some(failing) if failing.what == what => {
                if !failing.alarmed {
                    failing.alarmed = true;
                    tracing::error!(error = %Chain(&error), "a reload of certificates failed, the old ones stay in use");
                    (self.observer)(&Change::Kept(error));
                }
            }
            failing => *failing = Some(Failing { what, alarmed: false }),
        }
    }

    fn in_use(&self) -> Change {
        let own = ("certificate".to_owned(), self.own.current().not_after());
        Change::InUse(std::iter::once(own).chain(self.trust.current().ends()).collect())
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// An error with its sources, for one log line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

impl Contents {
    fn read(identity: &IdentityFiles, trust: &TrustFiles) -> Result<Self, FileError> {
        let public = |path: &PathBuf| keyfile::read(path, Secrecy::Public);
        Ok(Self {
            certificate: public(&identity.certificate)?,
            key: keyfile::read(&identity.key, Secrecy::Private)?,
            bundles: trust
                .bundles
                .iter()
                .map(|(domain, path)| Ok((domain.clone(), public(path)?)))
                .collect::<Result<_, FileError>>()?,
            crls: trust.crls.iter().map(public).collect::<Result<_, _>>()?,
        })
    }

    fn trust(&self, files: &TrustFiles) -> Result<TrustSet, ReloadError> {
        let bundles = self.bundles.iter().map(|(domain, pem)| (domain.as_str(), pem.as_slice()));
        TrustSet::parse(bundles, self.crls.iter().map(Vec::as_slice)).map_err(|error| {
            if let TrustError::Crl { position, source } = error {
                let path = files.crls.get(position.saturating_sub(1)).cloned().unwrap_or_default();
                ReloadError::Crl { path, source }
            } else {
                ReloadError::Trust(error)
            }
        })
    }

    fn digests(&self) -> Digests {
        let trust = self.bundles.iter().map(|(_, pem)| pem).chain(&self.crls);
        Digests { own: hash([&self.certificate, &self.key]), trust: hash(trust) }
    }
}

/// Each file by its length and content, so that no two lists of files are the same.
fn hash<'a>(files: impl IntoIterator<Item = &'a Vec<u8>>) -> Box<[u8]> {
    let mut context = digest::Context::new(&SHA256);
    for file in files {
        context.update(&(file.len() as u64).to_be_bytes());
        context.update(file);
    }
    let digest: Digest = context.finish();
    digest.as_ref().into()
}

fn stamps(identity: &IdentityFiles, trust: &TrustFiles, now: Time) -> Stamps {
    let own = [&identity.certificate, &identity.key];
    let paths = own.into_iter().chain(trust.bundles.values()).chain(&trust.crls);
    paths.map(|path| stamp(path, now)).collect()
}

fn stamp(path: &Path, now: Time) -> Option<(u64, u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = Time::from_micros(metadata.ctime().saturating_mul(1_000_000));
    if now < changed.plus(SETTLED) {
        return None;
    }
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        nanos(metadata.mtime(), metadata.mtime_nsec()),
        nanos(metadata.ctime(), metadata.ctime_nsec()),
    ))
}
