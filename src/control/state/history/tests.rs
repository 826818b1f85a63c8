//! Histories against a model that forgets nothing and converts each time.

use super::*;
use crate::model::{GrantId, Recording, Revision, Scope};
use proptest::prelude::*;
use proptest::sample::select;

const WINDOW: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone)]
enum Step {
    Asked,
    Counted,
    Refused,
    Granted { service: &'static str, minutes: u64, ahead: u64 },
    EndedLast,
}

#[derive(Default)]
struct Slow {
    asked: Vec<Time>,
    counted: Vec<Time>,
    refused: Vec<Time>,
    granted: Vec<(Grant, Time)>,
}

fn grant(service: &str, minutes: u64, start: Time) -> Grant {
    Grant {
        id: GrantId::from_bits(1),
        principal: who(0),
        task: "T-1".parse().unwrap(),
        scope: Scope::parse_all(&[&format!("{service}:GET:/x")]).unwrap(),
        not_before: start,
        expires_at: start.plus(Duration::from_secs(minutes * 60)),
        conditions: crate::model::grant::Conditions::default(),
        limits: crate::model::grant::Limits::default(),
        recording: Recording::default(),
        lineage: None,
        revision: Revision(1),
    }
}

fn who(n: usize) -> SpiffeId {
    format!("spiffe://d/agent/{n}").parse().unwrap()
}

impl Slow {
    fn access(&self, service: &ServiceName, since: Time) -> Duration {
        let counts = |grant: &&(Grant, Time)| {
            services_of(&grant.0.scope).contains(service) && slice(grant.0.not_before) >= slice(since)
        };
        self.granted.iter().filter(counts).map(|(grant, end)| end.since(grant.not_before)).sum()
    }

    fn facts(&self, now: Time, zone: &TimeZone) -> History {
        let mut days: BTreeMap<u8, BTreeSet<jiff::civil::Date>> = BTreeMap::new();
        for at in self.asked.iter().filter(|at| **at >= now.minus(REACH)) {
            let local = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap().to_zoned(zone.clone());
            days.entry(u8::try_from(local.hour()).unwrap()).or_default().insert(local.date());
        }
        let services: BTreeSet<ServiceName> =
            self.granted.iter().flat_map(|(grant, _)| services_of(&grant.scope)).collect();
        let most = services.iter().map(|service| self.access(service, now.minus(WINDOW))).max();
        History {
            tools: BTreeSet::new(),
            usual_hours: days.into_iter().filter(|(_, days)| days.len() >= 3).map(|(hour, _)| hour).collect(),
            refusals_last_hour: self.refused.iter().filter(|at| **at > now.minus(HOUR)).count() as u32,
            privileged_minutes: most.unwrap_or_default().as_secs() / 60,
            services,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Asked),
        1 => Just(Step::Counted),
        1 => Just(Step::Refused),
        1 => Just(Step::EndedLast),
        2 => (select(vec!["orders", "stock"]), 1_u64..600, 0_u64..10_000)
            .prop_map(|(service, minutes, ahead)| Step::Granted { service, minutes, ahead }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is forgotten decides nothing, however long it lasts.
    #[test]
    fn what_is_forgotten_made_no_difference(
        steps in prop::collection::vec((0_usize..3, step(), prop_oneof![8 => 0_u64..30_000, 1 => 0_u64..4_000_000]), 1..200),
        zone in select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let mut histories = Histories::default();
        let mut slow = [Slow::default(), Slow::default(), Slow::default()];
        let mut now: Time = "2026-09-25T10:00:00Z".parse().unwrap();
        for (n, step, seconds) in steps {
            now = now.plus(Duration::from_secs(seconds));
            let id = who(n);
            match step {
                Step::Asked => {
                    histories.asked(&id, now, 1);
                    slow[n].asked.push(now);
                    slow[n].counted.push(now);
                }
                Step::Counted => {
                    histories.counted(&id, now, 1);
                    slow[n].counted.push(now);
                }
                Step::Refused => {
                    histories.refused(&id, now);
                    slow[n].refused.push(now);
                }
                Step::Granted { service, minutes, ahead } => {
                    let grant = grant(service, minutes, now.plus(Duration::from_secs(ahead)));
                    histories.granted(&id, &grant, now);
                    let end = grant.expires_at;
                    slow[n].granted.push((grant, end));
                }
                Step::EndedLast => {
                    // Whatever ends within its window does so within the reach.
                    if let Some((grant, end)) = slow[n].granted.last_mut().filter(|(grant, end)| now < *end && *end == grant.expires_at) {
                        histories.ended(&id, grant, now);
                        *end = now.max(grant.not_before);
                    }
                }
            }
            for (n, slow) in slow.iter().enumerate() {
                let id = who(n);
                prop_assert_eq!(histories.facts(&id, now, WINDOW, &zone), slow.facts(now, &zone));
                let lately = slow.counted.iter().filter(|at| hour(**at) == hour(now)).count();
                prop_assert_eq!(histories.asked_lately(&id, now) as usize, lately);
                for service in ["orders", "stock"] {
                    let service: ServiceName = service.parse().unwrap();
                    let since = now.minus(WINDOW);
                    prop_assert_eq!(histories.access(&id, &service, since), slow.access(&service, since));
                }
            }
        }
    }
}

#[test]
fn whoever_has_gone_takes_up_no_room() {
    let mut histories = Histories::default();
    let mut now: Time = "2026-09-25T10:00:00Z".parse().unwrap();
    for n in 0..100 {
        histories.asked(&who(n), now, 1);
        histories.refused(&who(n), now);
    }
    histories.granted(&who(7), &grant("orders", 5, now), now);
    for _ in 0..200 {
        now = now.plus(Duration::from_secs(86_400));
        histories.asked(&who(1_000), now, 1);
    }
    assert_eq!(histories.records.len(), 2, "those who ask, and who was granted something, ever");
    assert_eq!(histories.due.len(), 1);
    let kept = &histories.records[&who(7)];
    assert_eq!((kept.asked.capacity(), kept.refused.capacity(), kept.access.len()), (0, 0, 0));
    assert!(histories.facts(&who(7), now, WINDOW, &TimeZone::UTC).services.contains("orders"));
    assert!(histories.records[&who(1_000)].asked.len() <= 31);
}

#[test]
fn who_called_in_this_hour_is_still_counted_when_everything_before_is_forgotten() {
    let mut histories = Histories::default();
    let start: Time = "2026-09-25T10:30:00Z".parse().unwrap();
    histories.refused(&who(1), start);
    let later = start.plus(REACH);
    histories.counted(&who(1), later.minus(Duration::from_secs(60)), 1);
    histories.asked(&who(2), later, 1);
    assert_eq!(histories.asked_lately(&who(1), later), 1);
}
