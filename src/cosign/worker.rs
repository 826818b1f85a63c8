//! Asks one witness: about the newest checkpoint, from what it is known to have; learns from its answer, and waits.

use super::answer::{Asked, Dispute, Next};
use super::ask::{Line, SetupError};
use super::notes::Notes;
use crate::config::WitnessConfig;
use crate::model::{Time, WitnessName};
use crate::notary::Latest;
use crate::runtime::backoff::Backoff;
use crate::runtime::clock::wall;
use crate::runtime::metrics::WitnessMetrics;
use crate::tlog::{Checkpoint, Hash, WitnessKey, note};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// No witness is asked more often.
const EVERY: Duration = Duration::from_secs(1);
/// Where somebody has to do something first.
const SLOW: Duration = Duration::from_secs(60);
/// A log that does not grow is vouched for anew, so that its cosignature does not look old: also if the first attempt fails, no
/// cosignature is older than an hour.
const FRESH: Duration = Duration::from_secs(30 * 60);
/// A witness's clock may be so far from ours.
const CLOCKS: Duration = Duration::from_secs(3600);

/// The log's writer may replace tiles while they are read.
const TRIES: usize = 3;

/// Is told when a witness knows another log than ours.
pub type Alarm = Arc<dyn Fn(&WitnessName, &str) + Send + Sync>;

/// See the head of this file.
pub struct Asker {
    name: WitnessName,
    key: WitnessKey,
    line: Line,
    latest: Arc<Latest>,
    checkpoints: watch::Receiver<Arc<str>>,
    notes: Arc<Notes>,
    metrics: WitnessMetrics,
    alarm: Alarm,
    /// From which size on it is asked.
    old: u64,
    /// The size that it vouched for in this process.
    vouched: Option<u64>,
    /// For the lag: the same, or what is in its file.
    told: Arc<AtomicU64>,
    backoff: Backoff,
    /// It answered the last time that it has another size than it was asked from.
    moved: bool,
    /// What was last logged: begin and end are, between them the metrics tell.
    trouble: Option<Trouble>,
}

/// What is wrong with a witness, or with the log as it sees it.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// It does not answer.
    Away,
    /// What it had signed it does not know any more.
    Forgetful,
    /// Somebody has to do something.
    Stuck(String),
    /// It knows another log. Only a cosignature ends that.
    Disputed,
}

impl Asker {
    /// Goes on from what is kept.
    pub(super) fn new(
        witness: &WitnessConfig,
        latest: Arc<Latest>,
        notes: Arc<Notes>,
        metrics: WitnessMetrics,
        alarm: Alarm,
    ) -> Result<Self, SetupError> {
        let mut asker = Self {
            name: witness.name.clone(),
            key: witness.key.clone(),
            line: Line::new(witness)?,
            checkpoints: latest.notes(),
            notes,
            metrics,
            alarm,
            old: 0,
            vouched: None,
            told: Arc::default(),
            backoff: Backoff::default(),
            moved: false,
            trouble: None,
            latest,
        };
        let kept = asker.kept().unwrap_or(0);
        asker.told.store(kept, Ordering::Relaxed);
        // It cannot be asked from more than there is; it says itself that it has more.
        asker.old = if kept > asker.latest.size() { 0 } else { kept };
        Ok(asker)
    }

    /// The size that its file says, if that is by this witness over a checkpoint of this log.
    fn kept(&self) -> Option<u64> {
        let note = self.notes.of(&self.name)?;
        let (text, signatures) = note::split(&note).ok()?;
        self.key.find(text, signatures).ok()??;
        Some(Checkpoint::open(&note, self.latest.key()).ok()?.size)
    }

    /// How many lines it has not vouched for.
    pub(super) fn lag(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let (latest, told) = (Arc::clone(&self.latest), Arc::clone(&self.told));
        move || latest.size().saturating_sub(told.load(Ordering::Relaxed))
    }

    /// Asks until it is stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        loop {
            let note = Arc::clone(&self.checkpoints.borrow_and_update());
            let size = Checkpoint::unverified(&note).map_or(0, |checkpoint| checkpoint.size);
            if self.is_due(size) {
                let pause = self.turn(&note, size).await;
                tokio::time::sleep(pause.max(EVERY)).await;
                continue;
            }
            self.rest().await;
        }
    }

    /// Whether it has to be asked for a checkpoint of this size.
    pub(super) fn is_due(&self, size: u64) -> bool {
        size > 0 && self.vouched != Some(size)
    }

    /// Waits for the next checkpoint, or until the last has to be vouched for anew.
    pub(super) async fn rest(&mut self) {
        // It cannot end without one: whoever sends them is in `latest`.
        let changed = tokio::time::timeout(FRESH, self.checkpoints.changed()).await;
        if changed.is_err() {
            // Nothing was added; that this is still all that there is has to be said again.
            self.vouched = None;
        }
    }

    /// Asks once. How long to wait before the next time.
    async fn turn(&mut self, note: &Arc<str>, size: u64) -> Duration {
        let asked = Asked { old: self.old.min(size), size };
        let proof = match prove(Arc::clone(&self.latest), note, asked).await {
            Ok(proof) => proof,
            Err(error) => return self.stuck(format!("the log cannot be proved to it: {error}")),
        };
        let answer = self.line.ask(asked, &proof, note).await;
        let next = answer.next(asked, self.latest.size());
        if !matches!(next, Next::From(_)) {
            self.moved = false;
        }
        match next {
            Next::Check(lines) => self.check(note, size, &lines, wall()).await,
            Next::From(has) => self.goes_on_from(has),
            Next::Dispute(dispute) => self.dispute(&dispute),
            Next::Wait { why, after } => self.wait(&why, after),
            Next::Stuck(why) => self.stuck(why),
        }
    }

    /// Keeps what it has signed, if it is what it was asked for.
    pub(super) async fn check(&mut self, note: &Arc<str>, size: u64, lines: &str, now: Time) -> Duration {
        let Ok((text, _)) = note::split(note) else { return SLOW };
        let line = match self.key.find(text, lines) {
            Ok(Some(cosigned)) if is_near(cosigned.time, now) => cosigned.line.to_owned(),
            Ok(Some(_)) => {
                return self.stuck("its cosignature is more than an hour away from our clock".to_owned());
            }
            Ok(None) => return self.stuck(format!("it signed with another key than `{}`", self.key.short())),
            Err(error) => return self.stuck(format!("it signed something else: {error}")),
        };
        let (notes, name, kept) = (Arc::clone(&self.notes), self.name.clone(), Arc::clone(note));
        let written = tokio::task::spawn_blocking(move || notes.keep(&name, &kept, &line)).await;
        self.old = size;
        if let Err(error) = written.map_err(io::Error::other).and_then(|done| done.map_err(io::Error::other))
        {
            return self.stuck(format!("what it vouched for cannot be written: {error}"));
        }
        self.vouched = Some(size);
        self.told.store(size, Ordering::Relaxed);
        self.backoff.reset();
        if self.trouble.take().is_some() {
            tracing::info!(witness = %self.name, log = self.latest.key().name(), size, "a witness vouches for this log again");
        }
        EVERY
    }

    /// It is asked from there the next time. Once that is how it is learned; one that says another size each time is asked slowly.
    pub(super) fn goes_on_from(&mut self, has: u64) -> Duration {
        let again = std::mem::replace(&mut self.moved, true);
        let forgot = has < self.old;
        if forgot && self.enters(Trouble::Forgetful) {
            tracing::error!(witness = %self.name, log = self.latest.key().name(), had = self.old, has, "a witness has forgotten what it had signed for this log: ask whoever runs it why; it is shown the log anew");
        }
        self.old = has;
        if again || forgot { self.wait("it says each time that it has another size", None) } else { EVERY }
    }

    /// Whether this is to be logged: it is not what is wrong already, nor hidden behind a dispute.
    fn enters(&mut self, trouble: Trouble) -> bool {
        let news = self.trouble != Some(Trouble::Disputed) && self.trouble.as_ref() != Some(&trouble);
        if news {
            self.trouble = Some(trouble);
        }
        news
    }

    pub(super) fn dispute(&mut self, dispute: &Dispute) -> Duration {
        self.metrics.failures.inc();
        let why = dispute.to_string();
        // A log that goes on growing is disputed in other numbers each time.
        if self.enters(Trouble::Disputed) {
            self.metrics.disputes.inc();
            tracing::error!(witness = %self.name, log = self.latest.key().name(), why, "a witness knows another log than ours: see docs/audit-proof.md");
            self.latest.dispute();
            (self.alarm)(&self.name, &why);
        }
        SLOW
    }

    pub(super) fn stuck(&mut self, why: String) -> Duration {
        self.metrics.failures.inc();
        if self.enters(Trouble::Stuck(why.clone())) {
            tracing::error!(witness = %self.name, log = self.latest.key().name(), why, "a witness does not vouch for this log; it is asked again each minute");
        }
        SLOW
    }

    pub(super) fn wait(&mut self, why: &str, asked: Option<Duration>) -> Duration {
        self.metrics.failures.inc();
        if self.trouble.is_none() {
            tracing::warn!(witness = %self.name, log = self.latest.key().name(), why, "a witness does not answer as it should; nothing is lost, it is asked again and again");
            self.trouble = Some(Trouble::Away);
        }
        let mut jitter = [0; 4];
        // Without random numbers all wait the longest.
        let jitter = getrandom::fill(&mut jitter).map_or(u32::MAX, |()| u32::from_ne_bytes(jitter));
        self.backoff.next(jitter, asked)
    }
}

/// A time in seconds that may have been now.
pub(super) fn is_near(seconds: u64, now: Time) -> bool {
    (now.as_millis() / 1000).abs_diff(seconds) <= CLOCKS.as_secs()
}

/// The proof, which was checked before anybody is told that another log is wrong. Reads a few small files.
async fn prove(latest: Arc<Latest>, note: &Arc<str>, asked: Asked) -> io::Result<Vec<Hash>> {
    let note = Arc::clone(note);
    let prove = move || {
        let mut proof = latest.proved(asked.old, &note);
        for _ in 1..TRIES {
            if proof.is_ok() {
                break;
            }
            proof = latest.proved(asked.old, &note);
        }
        proof
    };
    tokio::task::spawn_blocking(prove).await.map_err(io::Error::other)?
}
