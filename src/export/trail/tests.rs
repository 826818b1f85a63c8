//! Reading on over files that are rotated, compressed, damaged and removed.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

const FIRST: &str = "audit-20261122T100000Z-000000000002.jsonl";
const SECOND: &str = "audit-20261122T110000Z-000000000004.jsonl";

fn lines(from: u64, to: u64) -> String {
    let line = |seq| format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:00.000000Z\",\"kind\":\"end\"}}\n");
    (from..=to).map(line).collect()
}

struct Trail {
    dir: tempfile::TempDir,
    source: TrailSource,
    vouched: Arc<AtomicU64>,
}

impl Trail {
    /// Lines 1 to 6 in three files, of which the checkpoint vouches for all.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(dir.path().join(FIRST), lines(1, 2)).unwrap();
        std::fs::write(dir.path().join(SECOND), lines(3, 4)).unwrap();
        std::fs::write(&path, lines(5, 6)).unwrap();
        let vouched = Arc::new(AtomicU64::new(6));
        let told = Arc::clone(&vouched);
        let head: Head = Arc::new(move || told.load(Ordering::Relaxed));
        let source = TrailSource::with(&path, "edge-1", "o/audit".into(), head, CancellationToken::new());
        Self { dir, source, vouched }
    }

    fn vouch(&self, size: u64) {
        self.vouched.store(size, Ordering::Relaxed);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The numbers of the lines after `after`, where reading goes on, and how many are lost.
    async fn read(&mut self, after: u64) -> (Vec<u64>, u64, u64) {
        let batch = self.source.read(after, Form::Fields).await.unwrap();
        (batch.records.iter().map(|record| record.seq).collect(), batch.to, batch.lost)
    }
}

#[tokio::test]
async fn lines_come_in_order_over_all_files_from_any_position() {
    let mut trail = Trail::new();
    assert_eq!(trail.read(0).await, (vec![1, 2, 3, 4, 5, 6], 6, 0));
    for after in 0..=6 {
        assert_eq!(trail.read(after).await, ((after + 1..=6).collect(), 6, 0), "after {after}");
    }
}

#[tokio::test]
async fn nothing_is_read_that_no_checkpoint_vouches_for() {
    let mut trail = Trail::new();
    trail.vouch(5);
    assert_eq!(trail.read(0).await, ((1..=5).collect(), 5, 0));
    assert_eq!(trail.read(5).await, (vec![], 5, 0));
    trail.vouch(6);
    assert_eq!(trail.read(5).await, (vec![6], 6, 0));
    // A line that is not whole yet, and a checkpoint that is ahead of what can be seen.
    std::fs::write(trail.path("audit.jsonl"), lines(5, 6) + "{\"seq\":7,\"ti").unwrap();
    trail.vouch(7);
    assert_eq!(trail.read(6).await, (vec![], 6, 0));
    std::fs::write(trail.path("audit.jsonl"), lines(5, 7)).unwrap();
    assert_eq!(trail.read(6).await, (vec![7], 7, 0));
}

#[tokio::test]
async fn a_file_that_is_rotated_and_compressed_while_it_is_read_goes_on_in_the_next() {
    let mut trail = Trail::new();
    trail.vouch(5);
    assert_eq!(trail.read(0).await.1, 5);
    let rotated = trail.path("audit-20261122T120000Z-000000000006.jsonl");
    std::fs::rename(trail.path("audit.jsonl"), &rotated).unwrap();
    let packed = zstd::encode_all(std::fs::File::open(&rotated).unwrap(), 3).unwrap();
    std::fs::write(rotated.with_extension("jsonl.zst"), packed).unwrap();
    std::fs::remove_file(&rotated).unwrap();
    std::fs::write(trail.path("audit.jsonl"), lines(7, 9)).unwrap();
    trail.vouch(9);
    assert_eq!(trail.read(5).await, (vec![6, 7, 8, 9], 9, 0));
    assert_eq!(trail.read(0).await, ((1..=9).collect(), 9, 0), "from compressed files as well");
}

#[tokio::test]
async fn what_was_removed_is_counted_and_the_oldest_that_is_left_is_next() {
    let mut trail = Trail::new();
    std::fs::remove_file(trail.path(FIRST)).unwrap();
    assert_eq!(trail.read(0).await, (vec![3, 4, 5, 6], 6, 2));
    let mut trail = Trail::new();
    trail.vouch(2);
    assert_eq!(trail.read(0).await, (vec![1, 2], 2, 0));
    std::fs::remove_file(trail.path(SECOND)).unwrap();
    trail.vouch(6);
    assert_eq!(trail.read(2).await, (vec![5, 6], 6, 2));
}

#[tokio::test]
async fn a_damaged_line_is_counted_and_passed_over() {
    let mut trail = Trail::new();
    std::fs::write(trail.path(SECOND), lines(3, 3) + "{\"seq\":4,\"time\":\n").unwrap();
    assert_eq!(trail.read(2).await, (vec![3, 5, 6], 6, 1));
}

#[tokio::test]
async fn a_line_whose_number_is_beyond_its_file_is_damaged_and_not_waited_for() {
    for number in [5, 6, 1_000_000] {
        let mut trail = Trail::new();
        std::fs::write(trail.path(SECOND), lines(number, number) + &lines(4, 4)).unwrap();
        assert_eq!(trail.read(0).await, (vec![1, 2, 4, 5, 6], 6, 1), "{number}");
        assert_eq!(trail.read(2).await, (vec![4, 5, 6], 6, 1), "{number}");
        std::fs::write(trail.path(SECOND), lines(3, 3) + &lines(number, number)).unwrap();
        assert_eq!(trail.read(2).await, (vec![3, 5, 6], 6, 1), "{number}");
    }
}

#[tokio::test]
async fn a_file_that_stays_unreadable_is_given_up_after_some_tries() {
    let mut trail = Trail::new();
    std::fs::remove_file(trail.path(SECOND)).unwrap();
    std::fs::write(trail.path(SECOND).with_extension("jsonl.zst"), b"no zstd").unwrap();
    for _ in 1..TRIES {
        assert!(trail.source.read(2, Form::Fields).await.is_err());
    }
    assert_eq!(trail.read(2).await, (vec![], 4, 2));
    assert_eq!(trail.read(4).await, (vec![5, 6], 6, 0));
}

#[tokio::test]
async fn a_folder_without_a_trail_is_an_error_that_is_tried_again() {
    let mut trail = Trail::new();
    for name in [FIRST, SECOND, "audit.jsonl"] {
        std::fs::remove_file(trail.path(name)).unwrap();
    }
    assert!(trail.source.read(0, Form::Fields).await.is_err());
    std::fs::write(trail.path("audit.jsonl"), lines(1, 6)).unwrap();
    assert_eq!(trail.read(0).await.1, 6);
}

#[tokio::test]
async fn what_the_system_refuses_for_a_while_is_not_given_up() {
    let mut trail = Trail::new();
    for error in [io::Error::from_raw_os_error(5), io::Error::from_raw_os_error(13)] {
        for _ in 0..3 * TRIES {
            assert!(trail.source.gave_up(&error, 0).is_none(), "{error}");
        }
    }
    let damaged = io::Error::other("no frame");
    let given_up = (0..TRIES).find_map(|_| trail.source.gave_up(&damaged, 0));
    assert_eq!(given_up.map(|batch| (batch.to, batch.lost)), Some((2, 2)));
}

#[tokio::test]
async fn what_stands_before_the_damage_is_read() {
    let mut trail = Trail::new();
    trail.vouch(20_000);
    std::fs::remove_file(trail.path(FIRST)).unwrap();
    std::fs::remove_file(trail.path(SECOND)).unwrap();
    let packed = zstd::encode_all(lines(1, 19_000).as_bytes(), 3).unwrap();
    let name = "audit-20261122T100000Z-000000019000.jsonl.zst";
    std::fs::write(trail.path(name), &packed[..packed.len() * 2 / 3]).unwrap();
    std::fs::write(trail.path("audit.jsonl"), lines(19_001, 20_000)).unwrap();
    let (mut seen, mut after, mut lost) = (Vec::new(), 0, 0);
    while after < 20_000 {
        if let Ok(batch) = trail.source.read(after, Form::Fields).await {
            seen.extend(batch.records.iter().map(|record| record.seq));
            (after, lost) = (batch.to, lost + batch.lost);
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert_eq!(seen.len() as u64 + lost, 20_000);
    let before = seen.iter().filter(|seq| **seq <= 19_000).count() as u64;
    assert!(before > 1_000 && seen[..before as usize].iter().copied().eq(1..=before), "{before}");
}
