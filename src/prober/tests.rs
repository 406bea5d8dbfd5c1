use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// How long a test waits for something that must happen.
const BOUND: Duration = Duration::from_secs(20);

fn seen(length: u64, probes: &[(u64, u64, bool)]) -> Probes {
    let probes = probes.iter().map(|&(start, latency, ok)| Probe { start: ms(start), latency: ms(latency), ok });
    Probes { started: Instant::now(), length: ms(length), probes: probes.collect(), cut_short: false }
}

/// A page that gives one answer to everybody, or holds everybody while there is none.
struct Page {
    url: String,
    answer: watch::Sender<Option<&'static str>>,
    asked: Arc<AtomicUsize>,
    told: Arc<AtomicUsize>,
    moved: Arc<Notify>,
}

impl Page {
    async fn that_answers(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/api/health?x=1", listener.local_addr().unwrap());
        let (sender, receiver) = watch::channel(answer);
        let page = Self { url, answer: sender, asked: Arc::default(), told: Arc::default(), moved: Arc::default() };
        let (asked, told, moved) = (page.asked.clone(), page.told.clone(), page.moved.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                moved.notify_one();
                let (mut receiver, told, moved) = (receiver.clone(), told.clone(), moved.clone());
                tokio::spawn(async move {
                    let mut head = [0; 512];
                    let length = stream.read(&mut head).await.unwrap();
                    assert!(head[..length].starts_with(b"GET /api/health?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
                    let Ok(answer) = receiver.wait_for(Option::is_some).await.map(|answer| answer.unwrap()) else {
                        return;
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    told.fetch_add(1, Ordering::SeqCst);
                    moved.notify_one();
                });
            }
        });
        page
    }

    async fn until(&self, what: &str, counter: &AtomicUsize, at_least: usize) {
        let reached = async {
            while counter.load(Ordering::SeqCst) < at_least {
                self.moved.notified().await;
            }
        };
        let reached = tokio::time::timeout(BOUND, reached).await;
        assert!(reached.is_ok(), "{what}: {} of {at_least} within {BOUND:?}", counter.load(Ordering::SeqCst));
    }

    async fn probed_until_it_answered(&self, times: usize) -> Probes {
        let prober = Prober::start(&self.url, ms(2)).unwrap();
        self.until("answers", &self.told, times).await;
        let good_so_far = prober.good_so_far();
        let probes = prober.stop().await;
        assert!(good_so_far <= probes.count() - probes.failures());
        probes
    }
}

#[tokio::test]
async fn good_answers_are_counted_as_good() {
    let page = Page::that_answers(Some(GOOD)).await;
    let probes = page.probed_until_it_answered(10).await;
    assert!(probes.count() - probes.failures() >= 10, "{probes:?}");
    assert!(probes.first_ok_after(probes.started).is_some());
    assert!(probes.latency_percentile(0.5) <= probes.latency_percentile(0.99));
    assert!(!probes.is_cut_short());
}

#[tokio::test]
async fn good_answers_can_be_waited_for() {
    let page = Page::that_answers(Some(GOOD)).await;
    let prober = Prober::start(&page.url, ms(2)).unwrap();
    let grown = async {
        let mut look = tokio::time::interval(ms(5));
        while prober.good_so_far() < 10 {
            look.tick().await;
        }
    };
    tokio::time::timeout(BOUND, grown).await.expect("ten good answers");
    let probes = prober.stop().await;
    assert!(probes.count() - probes.failures() >= 10);
}

#[tokio::test]
async fn errors_and_half_answers_are_failures() {
    for answer in [
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nkilled here",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "hello",
    ] {
        let page = Page::that_answers(Some(answer)).await;
        let probes = page.probed_until_it_answered(3).await;
        assert_eq!(probes.failures(), probes.count(), "counted as good: {answer:?}");
        assert_eq!(probes.first_ok_after(probes.started), None);
        assert_eq!(probes.latency_percentile(0.5), None);
    }
}

#[tokio::test]
async fn nobody_listening_is_a_failure() {
    let page = Page::that_answers(Some(GOOD)).await;
    let prober = Prober::start("http://127.0.0.1:1", ms(2)).unwrap();
    page.probed_until_it_answered(1).await;
    let probes = prober.stop().await;
    assert_eq!(probes.failures(), probes.count());
}

#[tokio::test]
async fn requests_leave_on_schedule_while_nobody_answers() {
    let page = Page::that_answers(None).await;
    let prober = Prober::start(&page.url, ms(2)).unwrap();
    page.until("requests without any answer", &page.asked, 20).await;
    page.answer.send_replace(Some(GOOD));
    let probes = prober.stop().await;
    assert!(probes.count() >= 20, "{}", probes.count());
    assert!(
        probes.all().windows(2).all(|two| two[1].start - two[0].start == ms(2)),
        "the schedule slipped: {probes:?}"
    );
}

#[tokio::test]
async fn a_dropped_prober_stops_asking() {
    let page = Page::that_answers(Some(GOOD)).await;
    drop(Prober::start(&page.url, ms(2)).unwrap());
    let told = page.told.load(Ordering::SeqCst);
    // Another prober's forty requests are the time in which the dropped one would have sent as many.
    let probes = page.probed_until_it_answered(told + 40).await;
    let (sent, got) = (probes.count(), page.asked.load(Ordering::SeqCst) - told);
    assert!(got <= sent + 10, "{got} requests arrived, {sent} were ours");
}

#[test]
fn what_is_not_plain_http_to_an_address_is_refused() {
    for url in
        ["https://127.0.0.1/", "http://localhost:80/", "http://127.0.0.1", "http://127.0.0.1:80/a b", "ftp://x", ""]
    {
        let error = Prober::start(url, ms(2)).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:PORT/PATH"), "{url}: {error}");
    }
    assert!(Target::parse("http://127.0.0.1:80").unwrap().request.starts_with(b"GET / HTTP/1.1\r\n"));
}

#[test]
fn the_longest_gap_lies_between_neighbouring_good_ends() {
    let probes = seen(100, &[(0, 2, true), (10, 1, true), (20, 30, false), (30, 40, true), (80, 2, true)]);
    assert_eq!(probes.longest_gap(), ms(59), "from 11 to 70: an answer held back counts from when it came");
    assert_eq!((probes.count(), probes.failures()), (5, 1));
}

#[test]
fn a_service_that_never_comes_back_is_gone_until_the_end() {
    assert_eq!(seen(500, &[(0, 1, true), (10, 1, false), (20, 1, false)]).longest_gap(), ms(499));
    assert_eq!(seen(500, &[]).longest_gap(), ms(500));
    assert_eq!(seen(500, &[(300, 10, true), (490, 1, true)]).longest_gap(), ms(310), "nor was it there before");
}

#[test]
fn a_window_sees_only_itself() {
    let probes = seen(100, &[(0, 1, true), (49, 1, true), (60, 1, true), (90, 2, true)]);
    let at = |offset| probes.started + ms(offset);
    assert_eq!(probes.longest_gap_in(at(50), at(70)), ms(11));
    assert_eq!(probes.longest_gap_in(at(95), at(900)), ms(5), "ends with the probing");
    assert_eq!(probes.longest_gap_in(at(70), at(60)), Duration::ZERO);
}

#[test]
fn the_first_answer_after_an_instant_is_to_a_request_from_after_it() {
    let probes = seen(100, &[(0, 60, true), (20, 1, false), (40, 30, true), (50, 5, true)]);
    assert_eq!(probes.first_ok_after(probes.started + ms(10)), Some(ms(45)));
    assert_eq!(probes.first_ok_after(probes.started + ms(60)), None);
}

#[test]
fn percentiles_are_of_good_answers_by_nearest_rank() {
    let mut all: Vec<_> = (1..=100).rev().map(|latency| (latency, latency, true)).collect();
    all.push((200, 999, false));
    let probes = seen(1300, &all);
    assert_eq!(probes.latency_percentile(0.5), Some(ms(50)));
    assert_eq!(probes.latency_percentile(0.99), Some(ms(99)));
    assert_eq!(probes.latency_percentile(1.0), Some(ms(100)));
    assert_eq!(probes.latency_percentile(0.0), Some(ms(1)));
}
