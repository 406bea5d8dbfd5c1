use super::*;
use crate::chat::sim::{Fault, SimChat, Way};
use crate::clock::ManualClock;
use crate::domain::actor::Surface;
use crate::domain::card::text;

const BOUND: Duration = Duration::from_secs(5);

struct World {
    chat: Arc<SimChat>,
    clock: Arc<ManualClock>,
    outbox: Arc<Outbox>,
    stop: CancellationToken,
}

fn world(capacity: usize) -> World {
    let chat = SimChat::new(Surface::Slack);
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let outbox = Outbox::new(chat.clone(), capacity, clock.clone());
    World { chat, clock, outbox, stop: CancellationToken::new() }
}

impl World {
    fn begin(&self) {
        let (outbox, stop) = (Arc::clone(&self.outbox), self.stop.clone());
        tokio::spawn(async move { outbox.run(stop).await });
    }

    async fn send(&self, position: u64, message: Message) {
        let sent = self.outbox.send(Delivery { position: Position(position), message });
        tokio::time::timeout(BOUND, sent).await.expect("no room").unwrap();
    }

    async fn idle(&self) {
        tokio::time::timeout(BOUND, self.outbox.idle()).await.unwrap_or_else(|_| {
            panic!("{} still wait; the chat reads\n{}", self.outbox.pending(), self.chat.transcript())
        });
    }

    /// Lets time pass in steps until `enough`; returns how much did.
    async fn pass_time(&self, step: Duration, enough: impl Fn(&Self) -> bool) -> Duration {
        for n in 0..10_000 {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            if enough(self) {
                return step * n;
            }
            self.clock.advance(step);
        }
        panic!("never; the chat reads\n{}", self.chat.transcript());
    }

    fn delivered(&self) -> u64 {
        self.outbox.delivered().borrow().0
    }

    fn words(&self) -> Vec<String> {
        self.chat.said().iter().map(|s| format!("{:?} {}", s.way, s.card.plain())).collect()
    }
}

fn thread(key: &str, tone: Tone, words: &str) -> InThread {
    InThread {
        place: Place { surface: Surface::Slack, channel: "C1".into(), thread: None },
        run: RunId::parse("r4").unwrap(),
        key: MessageKey(key.into()),
        card: Card::new(tone, vec![text(words)]),
    }
}

fn post(words: &str) -> Message {
    Message::Post(thread("card", Tone::Busy, words))
}

fn progress(words: &str) -> Message {
    Message::Edit(thread("card", Tone::Busy, words))
}

fn last(words: &str) -> Message {
    Message::Edit(thread("card", Tone::Good, words))
}

fn reply(words: &str) -> Message {
    Message::Reply(thread(words, Tone::Plain, words))
}

#[tokio::test]
async fn all_of_it_goes_out_in_order() {
    let w = world(8);
    w.begin();
    let invocation = w.chat.hear("U1", "C1", "/rollback image api", Timestamp::UNIX_EPOCH);
    let card = Card::new(Tone::Plain, vec![text("accepted")]);
    w.send(4, Message::Answer { invocation, card }).await;
    w.idle().await;
    w.send(5, post("rolling")).await;
    w.idle().await;
    w.send(6, progress("swapping")).await;
    w.idle().await;
    w.send(7, reply("one thing")).await;
    w.send(8, last("done")).await;
    w.idle().await;
    assert_eq!(w.words(), ["Answer accepted", "Post rolling", "Edit swapping", "Reply one thing", "Edit done"]);
    assert_eq!(w.delivered(), 8);
}

#[tokio::test]
async fn progress_that_was_overtaken_while_waiting_is_left_out() {
    let w = world(8);
    w.chat.fail_next([Fault::Later(1000)]);
    w.begin();
    w.send(5, post("0")).await;
    w.pass_time(Duration::from_millis(1), |w| w.chat.calls() == 1).await;
    for n in 1..=20 {
        w.send(5 + n, progress(&n.to_string())).await;
    }
    assert_eq!(w.outbox.pending(), 2, "the post that was tried, and one edit");
    w.send(26, reply("in between")).await;
    w.send(27, last("21")).await;
    w.pass_time(Duration::from_millis(100), |w| w.outbox.pending() == 0).await;
    assert_eq!(w.words(), ["Post 0", "Edit 21", "Reply in between"]);
    assert_eq!(w.delivered(), 27);
}

#[tokio::test]
async fn a_post_nobody_has_seen_is_said_as_it_reads_now() {
    let w = world(8);
    w.send(5, post("old")).await;
    w.send(6, last("new")).await;
    w.begin();
    w.idle().await;
    assert_eq!(w.words(), ["Post new"]);
    assert_eq!(w.delivered(), 6);
}

#[tokio::test]
async fn a_position_is_not_reported_while_an_earlier_one_waits() {
    let w = world(8);
    w.chat.fail_next([Fault::Later(1000), Fault::Nothing, Fault::Nothing, Fault::Later(1000)]);
    w.begin();
    w.send(5, post("p")).await;
    w.pass_time(Duration::from_millis(1), |w| w.chat.calls() == 1).await;
    w.send(6, progress("a")).await;
    w.send(7, reply("b")).await;
    w.send(9, progress("c")).await; // takes the place of 6, before 7
    w.pass_time(Duration::from_millis(100), |w| w.chat.said().len() == 2).await;
    assert_eq!(w.words(), ["Post p", "Edit c"]);
    assert!(w.delivered() < 7, "7 still waits: {}", w.delivered());
    w.pass_time(Duration::from_millis(100), |w| w.outbox.pending() == 0).await;
    assert_eq!(w.delivered(), 9);
}

#[tokio::test]
async fn what_one_record_gives_rise_to_is_reported_when_all_of_it_is_there() {
    let w = world(8);
    w.chat.fail_next([Fault::LostAnswer]);
    let batch = [post("card"), reply("r")].map(|message| Delivery { position: Position(5), message });
    w.outbox.send_all(batch.to_vec()).await.unwrap();
    w.begin();
    w.pass_time(Duration::from_millis(1), |w| w.chat.said().len() == 1).await;
    assert!(w.delivered() < 5, "the reply still waits: {}", w.delivered());
    w.pass_time(Duration::from_millis(100), |w| w.outbox.pending() == 0).await;
    assert_eq!((w.words(), w.delivered()), (vec!["Post card".into(), "Reply r".into()], 5));
}

#[tokio::test]
async fn a_lost_answer_does_not_say_things_twice() {
    let w = world(8);
    w.chat.fail_next([Fault::LostAnswer, Fault::Down, Fault::LostAnswer]);
    w.begin();
    w.send(5, post("p")).await;
    w.pass_time(Duration::from_millis(100), |w| w.outbox.pending() == 0).await;
    w.send(6, reply("r")).await;
    w.pass_time(Duration::from_millis(100), |w| w.outbox.pending() == 0).await;
    assert_eq!(w.words(), ["Post p", "Reply r"]);
}

#[tokio::test]
async fn while_the_platform_is_down_what_matters_waits_and_progress_does_not() {
    let w = world(3);
    w.begin();
    w.send(5, post("p")).await;
    w.idle().await;
    w.chat.set_down(true);
    w.send(6, reply("a")).await;
    w.send(7, progress("x")).await;
    w.send(8, reply("b")).await;
    w.send(9, reply("c")).await; // makes room by leaving out the progress
    w.send(10, Message::Edit(thread("other", Tone::Busy, "left out at once"))).await;
    let mut full = Box::pin(w.outbox.send(Delivery { position: Position(11), message: last("done") }));
    let blocked = tokio::select! { biased; _ = &mut full => false, () = tokio::task::yield_now() => true };
    assert!(blocked && w.outbox.pending() == 3, "what must arrive waits for room");
    // Six hours: tries go on, but at most one in a minute.
    let before = w.chat.calls();
    let end = w.clock.now().checked_add(SignedDuration::from_hours(6)).unwrap();
    w.pass_time(Duration::from_secs(30), |w| w.clock.now() >= end).await;
    let tries = w.chat.calls() - before;
    assert!((100..=400).contains(&tries), "{tries} tries in six hours");
    w.chat.set_down(false);
    let caught_up = w.pass_time(Duration::from_secs(1), |w| w.words().len() == 4).await;
    assert!(caught_up <= LONGEST_PAUSE + Duration::from_secs(2), "{caught_up:?}");
    tokio::time::timeout(BOUND, full).await.unwrap().unwrap();
    w.idle().await;
    assert_eq!(w.words(), ["Post p", "Reply a", "Reply b", "Reply c", "Edit done"]);
    assert_eq!(w.delivered(), 11);
}

#[tokio::test]
async fn a_refused_message_is_dropped_and_the_next_goes_out() {
    let w = world(8);
    w.chat.fail_next([Fault::Refused("channel_not_found".into())]);
    w.send(5, reply("a")).await;
    w.send(6, reply("b")).await;
    w.begin();
    w.idle().await;
    assert_eq!((w.words(), w.delivered()), (vec!["Reply b".into()], 6));
}

#[tokio::test]
async fn what_is_too_old_to_matter_is_given_up() {
    let w = world(8);
    w.chat.set_down(true);
    let invocation = w.chat.hear("U1", "C1", "/status", Timestamp::UNIX_EPOCH);
    let card = Card::new(Tone::Plain, vec![text("all well")]);
    w.send(5, Message::Answer { invocation, card }).await;
    w.send(6, reply("b")).await;
    w.begin();
    let answer = w.pass_time(Duration::from_secs(10), |w| w.outbox.pending() == 1).await;
    assert!(answer >= Duration::from_secs(15 * 60) && answer < Duration::from_secs(20 * 60), "{answer:?}");
    assert_eq!(w.delivered(), 5);
    let message = w.pass_time(Duration::from_secs(60), |w| w.outbox.pending() == 0).await;
    assert!(message >= Duration::from_secs(23 * 3600), "{message:?}");
    assert!(w.chat.said().iter().all(|said| said.way != Way::Answer));
}

#[tokio::test]
async fn a_platform_that_asks_to_wait_is_left_alone_that_long() {
    let w = world(8);
    w.chat.fail_next([Fault::Later(30_000)]);
    w.begin();
    w.send(5, reply("a")).await;
    let waited = w.pass_time(Duration::from_secs(1), |w| w.outbox.pending() == 0).await;
    assert_eq!((w.chat.calls(), waited), (2, Duration::from_secs(30)));
}

#[tokio::test]
async fn when_stopped_it_takes_nothing_more_and_reports_nothing_that_did_not_arrive() {
    let w = world(1);
    w.chat.set_down(true);
    w.begin();
    w.send(5, reply("a")).await;
    let outbox = Arc::clone(&w.outbox);
    let waiting =
        tokio::spawn(async move { outbox.send(Delivery { position: Position(6), message: reply("b") }).await });
    w.pass_time(Duration::from_millis(1), |w| w.chat.calls() >= 1).await;
    w.stop.cancel();
    let refused = tokio::time::timeout(BOUND, waiting).await.expect("the sender hangs").unwrap();
    assert_eq!((refused, w.delivered()), (Err(Stopped), 0));
}

#[tokio::test]
async fn what_gave_rise_to_nothing_counts_as_delivered_once_all_before_it_is() {
    let w = world(8);
    w.outbox.passed(Position(3));
    assert_eq!(w.delivered(), 3, "nothing was to be said");
    w.send(4, post("a")).await;
    w.send(7, reply("b")).await;
    w.outbox.passed(Position(9));
    assert_eq!(w.delivered(), 3, "two messages wait");
    w.begin();
    w.idle().await;
    assert_eq!(w.delivered(), 9);
}
