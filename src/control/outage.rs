//! Tells outages: once when requests begin to fail, at growing intervals while they do, and once when it is over.
//!
//! An outage is one cause at one endpoint, or at a service where no endpoint is at fault. Workers count
//! (`upstream/trouble.rs`), and this looks at the counts each second.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::snapshot::{Address, Snapshot};
use crate::upstream::trouble::Troubles;

/// How long after it was first told an outage that goes on is told again.
const AGAIN: Duration = Duration::from_mins(1);
/// By how much that grows each time, and how far.
const AGAIN_FACTOR: u32 = 5;
const AGAIN_MAX: Duration = Duration::from_hours(1);
/// How long nothing may have failed before an outage is over.
const QUIET: Duration = Duration::from_secs(10);
/// Outages that are told at a look; the rest is counted.
const LINES_MAX: usize = 20;

/// Where something fails: a service, and an endpoint of it unless none is at fault.
type Whereabouts = (Arc<str>, Option<Address>);

/// What is known of outages.
#[derive(Default)]
pub(super) struct Outages(HashMap<Whereabouts, Vec<(Failure, Story)>>);

/// One cause at one place.
#[derive(Clone, Copy, Debug)]
struct Story {
    /// The count at the last look.
    counted: u64,
    /// The count when the outage began.
    counted_before: u64,
    /// When it began; `None` where there is none now.
    since: Option<Instant>,
    /// When the count grew last.
    grew: Instant,
    /// It was told that it began.
    is_told: bool,
    /// Nothing is told of it sooner than this.
    quiet_until: Instant,
    again: Duration,
}

/// What is to be told of one cause at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It fails, for so long and so often.
    Fails(Duration, u64),
    /// It was over after so long and so many failures.
    Over(Duration, u64),
}

impl Story {
    fn new(now: Instant) -> Self {
        Self { counted: 0, counted_before: 0, since: None, grew: now, is_told: false, quiet_until: now, again: AGAIN }
    }

    /// Looks at the count; `has_succeeded` tells whether requests succeeded since the last failure.
    fn look(&mut self, count: u64, has_succeeded: bool, now: Instant) -> Option<News> {
        let has_grown = count > self.counted;
        if has_grown {
            self.grew = now;
            if self.since.is_none() {
                if self.is_past(now) {
                    self.again = AGAIN;
                }
                (self.since, self.counted_before, self.is_told) = (Some(now), self.counted, false);
            }
            self.counted = count;
        }
        let since = self.since?;
        let (lasts, failed) = (now.duration_since(since), self.counted - self.counted_before);
        if has_grown && now >= self.quiet_until {
            self.is_told = true;
            self.quiet_until = now + self.again;
            self.again = (self.again * AGAIN_FACTOR).min(AGAIN_MAX);
            return Some(News::Fails(lasts, failed));
        }
        if !has_grown && has_succeeded && now.duration_since(self.grew) >= QUIET {
            self.since = None;
            return self.is_told.then_some(News::Over(self.grew.duration_since(since), failed));
        }
        None
    }

    /// True where it is over, and has been for so long that another outage has nothing to do with it.
    fn is_past(&self, now: Instant) -> bool {
        self.since.is_none() && now >= self.quiet_until + self.again
    }
}

impl Outages {
    /// Looks at every endpoint and service, and tells what is new.
    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Instant) {
        let mut lines = 0;
        let mut before = std::mem::take(&mut self.0);
        for service in &snapshot.services {
            let endpoints = service
                .endpoints
                .iter()
                .map(|endpoint| (Some((&*endpoint.name, &endpoint.address)), &endpoint.state.troubles));
            for (endpoint, troubles) in endpoints.chain([(None, &service.counts.troubles)]) {
                if !troubles.is_open() {
                    continue;
                }
                let place = (Arc::clone(&service.name), endpoint.map(|(_, address)| address.clone()));
                // The same address twice in a service is one endpoint.
                let Entry::Vacant(entry) = self.0.entry(place) else { continue };
                let mut stories = before.remove(entry.key()).unwrap_or_default();
                let news = look(&mut stories, troubles, now);
                entry.insert(stories);
                for (failure, news) in news {
                    lines += 1;
                    if lines <= LINES_MAX {
                        tell(&service.name, endpoint, failure, news);
                    }
                }
            }
        }
        // What is over is remembered for a while, so that what comes and goes is not told each time.
        before.retain(|_, stories| stories.iter().all(|(_, story)| story.since.is_none() && !story.is_past(now)));
        self.0.extend(before);
        if lines > LINES_MAX {
            let more = lines - LINES_MAX;
            tracing::warn!(more, "more endpoints began to fail, or work again; `/api/endpoints` has all of them");
        }
    }
}

/// What is new of a place.
fn look(stories: &mut Vec<(Failure, Story)>, troubles: &Troubles, now: Instant) -> Vec<(Failure, News)> {
    let has_succeeded = troubles.has_succeeded_since();
    let mut news = Vec::new();
    for (failure, count) in troubles.counts() {
        let at = stories.iter().position(|(known, _)| *known == failure).unwrap_or_else(|| {
            stories.push((failure, Story::new(now)));
            stories.len() - 1
        });
        if let Some((_, story)) = stories.get_mut(at) {
            news.extend(story.look(count, has_succeeded, now).map(|news| (failure, news)));
        }
    }
    if stories.iter().all(|(_, story)| story.since.is_none()) {
        troubles.close();
    }
    news
}

fn tell(service: &str, endpoint: Option<(&str, &Address)>, failure: Failure, news: News) {
    let name = endpoint.map(|(name, _)| name);
    // Where the name is an address it is not said twice.
    let address = endpoint.map(|(_, address)| address.to_string()).filter(|address| name != Some(address));
    let row = failure.row();
    match news {
        News::Fails(lasts, failed) => tracing::warn!(
            service,
            endpoint = name,
            address,
            cause = %failure,
            failed,
            for_s = lasts.as_secs(),
            remedy = failure.remedy(),
            "requests fail: {}",
            row.meaning
        ),
        News::Over(lasted, failed) => tracing::info!(
            service,
            endpoint = name,
            address,
            cause = %failure,
            failed,
            lasted_s = lasted.as_secs(),
            "requests succeed again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// What is told in so many seconds of a cause whose count and success each second are given.
    fn told(seconds: u64, at: impl Fn(u64) -> (u64, bool)) -> Vec<(u64, News)> {
        let start = start();
        let mut story = Story::new(start);
        (0..seconds)
            .filter_map(|second| {
                let (count, has_succeeded) = at(second);
                Some((second, story.look(count, has_succeeded, start + Duration::from_secs(second))?))
            })
            .collect()
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_is_told_at_once_then_ever_less_often_and_when_it_is_over() {
        // 10 failures a second from the third second to the 2,000th; then all is well.
        let all = told(3_000, |second| (10 * second.saturating_sub(2).min(1_998), second > 2_001));
        let expected = [
            (3, News::Fails(s(0), 10)),
            (63, News::Fails(s(60), 610)),
            (363, News::Fails(s(360), 3_610)),
            (1_863, News::Fails(s(1_860), 18_610)),
            (2_010, News::Over(s(1_997), 19_980)),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn without_a_success_it_is_not_over() {
        assert_eq!(told(3_600, |second| (second.min(5), false)).last().unwrap().0, 1);
        assert_eq!(told(100, |_| (0, true)), []);
    }

    #[test]
    fn what_comes_and_goes_is_not_told_each_time() {
        // A failure every 15 seconds, successes between them.
        let all = told(3_600, |second| (second / 15, second % 15 > 0));
        assert!(all.len() < 10, "{all:?}");
        assert_eq!(all[0], (15, News::Fails(s(0), 1)));
        assert!(all.iter().any(|(_, news)| matches!(news, News::Over(..))));
    }

    #[test]
    fn what_was_counted_before_is_not_counted_again() {
        let (troubles, mut stories) = (Troubles::default(), Vec::new());
        let start = start();
        troubles.note_failure(Failure::ConnectRefused, 5);
        let mut looked = |seconds| look(&mut stories, &troubles, start + s(seconds));
        assert_eq!(looked(0), [(Failure::ConnectRefused, News::Fails(s(0), 1))]);
        troubles.note_success();
        assert_eq!((looked(9), troubles.is_open()), (Vec::new(), true));
        assert_eq!(looked(10), [(Failure::ConnectRefused, News::Over(s(0), 1))]);
        assert!(!troubles.is_open());
        troubles.note_failure(Failure::ConnectRefused, 7);
        assert_eq!(looked(100), [(Failure::ConnectRefused, News::Fails(s(0), 1))]);
    }
}
