//! What is asked once, however many want to know it, and known for a while then.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::record::store::Fault;

/// `None`: there is no such thing.
type Answer<T> = Result<Option<T>, Fault>;

/// Answers to questions of type `K`. Cheap to clone.
#[derive(Debug)]
pub(super) struct Answers<K, T> {
    /// How many things are known at once, and for how long.
    most: usize,
    fresh: Duration,
    all: Arc<Mutex<All<K, T>>>,
}

#[derive(Debug)]
struct All<K, T> {
    /// As many as questions are let through to the store.
    coming: HashMap<K, watch::Receiver<Option<Answer<T>>>>,
    known: HashMap<K, (Instant, T)>,
    /// What is not there, or could not be told.
    without: HashMap<K, (Instant, Option<Fault>)>,
}

impl<K, T> Answers<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new(most: usize, fresh: Duration) -> Self {
        let all = All {
            coming: HashMap::new(),
            known: HashMap::new(),
            without: HashMap::new(),
        };
        let all = Arc::new(Mutex::new(all));
        Self { most, fresh, all }
    }

    /// What is known of `key`, or what `question` comes to. That goes on when whoever
    /// asked first is gone, and has to end by itself.
    pub(super) async fn ask<F>(&self, key: K, question: impl FnOnce() -> F) -> Answer<T>
    where
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let mut coming = {
            let mut all = lock(&self.all);
            if let Some(answer) = all.known(&key, self.fresh) {
                return answer;
            }
            let asked = all.coming.get(&key);
            // Who panicked says nothing any more.
            match asked.filter(|asked| asked.has_changed().is_ok()) {
                Some(coming) => coming.clone(),
                None => {
                    let (tell, coming) = watch::channel(None);
                    all.coming.insert(key.clone(), coming.clone());
                    let (all, most, fresh) = (Arc::clone(&self.all), self.most, self.fresh);
                    let (question, own) = (question(), coming.clone());
                    tokio::spawn(async move {
                        let answer = question.await;
                        lock(&all).note(key, &answer, &own, (most, fresh));
                        let _ = tell.send(Some(answer));
                    });
                    coming
                }
            }
        };
        let answer = match coming.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        answer.unwrap_or_else(|| Err(Fault::passing("the question was given up")))
    }

    /// What is known of `key`, or being asked, is of the past.
    pub(super) fn forget(&self, key: &K) {
        let mut all = lock(&self.all);
        all.coming.remove(key);
        all.known.remove(key);
        all.without.remove(key);
    }
}

impl<K: Clone + Eq + Hash, T: Clone> All<K, T> {
    fn known(&self, key: &K, fresh: Duration) -> Option<Answer<T>> {
        if let Some((at, known)) = self.known.get(key)
            && at.elapsed() < fresh
        {
            return Some(Ok(Some(known.clone())));
        }
        let (at, fault) = self.without.get(key)?;
        let fresh = at.elapsed() < WITHOUT;
        fresh.then(|| fault.clone().map_or(Ok(None), Err))
    }

    fn note(
        &mut self,
        key: K,
        answer: &Answer<T>,
        own: &watch::Receiver<Option<Answer<T>>>,
        (most, fresh): (usize, Duration),
    ) {
        // Unless it was forgotten meanwhile.
        let asked = self.coming.get(&key);
        if !asked.is_some_and(|asked| asked.same_channel(own)) {
            return;
        }
        self.coming.remove(&key);
        match answer {
            Ok(Some(answer)) => {
                self.without.remove(&key);
                keep(&mut self.known, key, answer.clone(), (most, fresh));
            }
            other => {
                let fault = other.as_ref().err().cloned();
                keep(&mut self.without, key, fault, (MOST_WITHOUT, WITHOUT));
            }
        }
    }
}

/// Adds to what is known, in place of what is known for longest if need be.
fn keep<K: Clone + Eq + Hash, T>(
    known: &mut HashMap<K, (Instant, T)>,
    key: K,
    answer: T,
    (most, fresh): (usize, Duration),
) {
    if most == 0 {
        return;
    }
    if known.len() >= most {
        known.retain(|_, (at, _)| at.elapsed() < fresh);
    }
    if known.len() >= most {
        let oldest = known.iter().min_by_key(|(_, (at, _))| *at);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            known.remove(&oldest);
        }
    }
    known.insert(key, (Instant::now(), answer));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long what is not there is not asked for again, nor a store that failed.
const WITHOUT: Duration = Duration::from_secs(2);

/// Things that are not there: what is kept of each is a key.
const MOST_WITHOUT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use tokio::time::advance;

    use super::*;

    struct Asked {
        answers: Arc<Answers<u32, u32>>,
        /// How many questions came through.
        count: Arc<AtomicUsize>,
        /// Each has to be let on.
        gate: Arc<Semaphore>,
    }

    impl Asked {
        fn new(most: usize, open: bool) -> Self {
            Self {
                answers: Arc::new(Answers::new(most, Duration::from_secs(5))),
                count: Arc::default(),
                gate: Arc::new(Semaphore::new(if open { 1000 } else { 0 })),
            }
        }

        fn ask(
            &self,
            key: u32,
            answer: Answer<u32>,
        ) -> impl Future<Output = Answer<u32>> + Send + use<> {
            let (count, gate) = (Arc::clone(&self.count), Arc::clone(&self.gate));
            let answers = Arc::clone(&self.answers);
            async move {
                let question = || async move {
                    count.fetch_add(1, Ordering::Relaxed);
                    gate.acquire().await.unwrap().forget();
                    answer
                };
                answers.ask(key, question).await
            }
        }

        fn count(&self) -> usize {
            self.count.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_ask_the_same_are_one_question() {
        for answer in [Ok(Some(7)), Ok(None), Err(Fault::passing("away"))] {
            let asked = Asked::new(4, false);
            let all: Vec<_> = (0..1000)
                .map(|_| tokio::spawn(asked.ask(1, answer.clone())))
                .collect();
            tokio::task::yield_now().await;
            asked.gate.add_permits(1);
            for one in all {
                assert_eq!(one.await.unwrap(), answer);
            }
            // Nor is it asked soon after.
            assert_eq!(asked.ask(1, Ok(Some(8))).await, answer);
            assert_eq!(asked.count(), 1);
            asked.gate.add_permits(1);
            advance(Duration::from_secs(6)).await;
            assert_eq!(asked.ask(1, Ok(Some(8))).await, Ok(Some(8)));
            assert_eq!(asked.count(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_first_may_leave() {
        let asked = Asked::new(4, false);
        let first = tokio::spawn(asked.ask(1, Ok(Some(7))));
        tokio::task::yield_now().await;
        let second = tokio::spawn(asked.ask(1, Ok(Some(8))));
        tokio::task::yield_now().await;
        first.abort();
        asked.gate.add_permits(1);
        assert_eq!(second.await.unwrap(), Ok(Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_while_it_comes_is_not_kept() {
        let asked = Asked::new(4, false);
        let before = tokio::spawn(asked.ask(1, Ok(Some(7))));
        tokio::task::yield_now().await;
        asked.answers.forget(&1);
        asked.gate.add_permits(2);
        assert_eq!(asked.ask(1, Ok(Some(8))).await, Ok(Some(8)));
        assert_eq!(before.await.unwrap(), Ok(Some(7)));
        assert_eq!(asked.ask(1, Ok(Some(9))).await, Ok(Some(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_keys_push_nothing_out_and_are_not_kept_for_ever() {
        let asked = Asked::new(4, true);
        asked.gate.add_permits(2 * MOST_WITHOUT);
        assert_eq!(asked.ask(0, Ok(Some(7))).await, Ok(Some(7)));
        for key in 1..=MOST_WITHOUT as u32 + 9 {
            assert_eq!(asked.ask(key, Ok(None)).await, Ok(None));
        }
        let count = asked.count();
        assert_eq!(asked.ask(0, Ok(Some(8))).await, Ok(Some(7)));
        assert_eq!(asked.count(), count);
        assert_eq!(lock(&asked.answers.all).without.len(), MOST_WITHOUT);
        assert!(lock(&asked.answers.all).coming.is_empty());
        // What is there makes way for what is newer.
        for key in 0..9 {
            let key = u32::MAX - key;
            assert_eq!(asked.ask(key, Ok(Some(key))).await, Ok(Some(key)));
            advance(Duration::from_millis(1)).await;
        }
        assert_eq!(lock(&asked.answers.all).known.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_panics_is_asked_anew() {
        let answers: Answers<u32, u32> = Answers::new(4, Duration::from_secs(5));
        let panics = answers.ask(1, || async { panic!("on purpose") }).await;
        assert!(panics.is_err());
        let answer = answers.ask(1, || async { Ok(Some(7)) }).await;
        assert_eq!(answer, Ok(Some(7)));
    }
}
