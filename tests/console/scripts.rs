//! The client fed from a pipe, and a bot that goes away and comes back.

use super::*;

/// What a script's conversation looks like.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

pub(crate) fn client(bot: &Path) -> ClientOptions {
    let quick = BOUND / 2;
    ClientOptions {
        answer_limit: quick,
        runs_limit: quick,
        ..ClientOptions::new(bot.to_owned(), Arc::new(SystemClock))
    }
}

fn spawn_script(
    options: ClientOptions,
    input: &'static str,
) -> (tokio::task::JoinHandle<Result<Ended, ClientError>>, Paper) {
    let paper = Paper::default();
    let mut out = paper.clone();
    let script = async move { run_script(&options, BufReader::new(Cursor::new(input)), &mut out).await };
    (tokio::spawn(script), paper)
}

#[tokio::test]
async fn a_script_says_its_lines_in_turn_and_waits_for_the_runs_it_began() {
    let mut bot = Bot::start(demo());
    let (script, paper) = spawn_script(
        ClientOptions { speaker: Some("carol".into()), ..client(&bot.path) },
        "# first look\n/status\n\n/rollback image api\n",
    );
    let heard = bot.hear().await;
    assert!(bot.heard.try_recv().is_err(), "the second line waits for the first answer");
    bot.server.answer(&heard, &card(Tone::Plain, "all well")).await.unwrap();
    let heard = bot.hear().await;
    let accepted = Card::new(Tone::Plain, vec![code("r4"), text(" accepted")]);
    bot.server.answer(&heard, &accepted).await.unwrap();
    // Somebody else's run ends badly; that is no trouble of this script.
    bot.server.post(&place(), run(3), &key("r3/card"), &card(Tone::Bad, "r3 is stuck")).await.unwrap();
    let rolling = card(Tone::Busy, "Rolling api back").line(vec![text("… swap")]);
    bot.server.post(&place(), run(4), &key("r4/card"), &rolling).await.unwrap();
    let mut done = rolling.clone();
    done.lines = vec![vec![text("✓ swap  0:03")]];
    done.tone = Tone::Good;
    bot.server.edit(&place(), run(4), &key("r4/card"), &done).await.unwrap();
    // The thread's last words come after the card has turned.
    bot.server.reply(&place(), run(4), &key("r4/57"), &card(Tone::Good, "r4 done")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Well);
    insta::assert_snapshot!(paper.text(), @r"
    │ · Sternway console: carol, stack shop
    › /status
    │ · all well
    › /rollback image api
    │ · r4 accepted
    r3 │ ✗ r3 is stuck
    r4 │ … Rolling api back
       │ … swap
    r4 │ ✓ Rolling api back
       │ ✓ swap  0:03
    r4 │ ✓ r4 done
    ");
    bot.stop().await;
}

#[tokio::test]
async fn a_refusal_or_a_run_that_is_put_back_makes_a_script_fail() {
    for bad_answer in [true, false] {
        let mut bot = Bot::start(options());
        let (script, paper) = spawn_script(client(&bot.path), "/rollback image api\n");
        let heard = bot.hear().await;
        if bad_answer {
            bot.server.answer(&heard, &card(Tone::Warn, "not yours to do")).await.unwrap();
        } else {
            bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "rolling")).await.unwrap();
            bot.server.edit(&place(), run(4), &key("r4/card"), &card(Tone::Warn, "put back")).await.unwrap();
        }
        assert_eq!(script.await.unwrap().unwrap(), Ended::Trouble, "{}", paper.text());
        bot.stop().await;
    }
}

#[tokio::test]
async fn a_script_waits_no_longer_than_its_limits_and_says_what_it_left() {
    let mut bot = Bot::start(options());
    let short = Duration::from_millis(100);
    let (script, paper) = spawn_script(
        ClientOptions { answer_limit: short, runs_limit: short, ..client(&bot.path) },
        "/status\n/rollback image api\n",
    );
    bot.hear().await;
    bot.hear().await;
    bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "rolling")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Trouble);
    let said = paper.text();
    assert!(said.contains("no answer within") && said.contains("not ended yet: r4"), "{said}");
    bot.stop().await;
}

#[tokio::test]
async fn a_busy_bot_is_asked_again_by_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let mut bot = Bot::start_at(&folder.path().join("s"), options(), 1);
    let mut filler = bot.attach().await;
    filler.say(1, "/filler").await;
    assert_eq!(filler.next().await, Some(FromServer::Heard { id: 1 }));
    let (script, paper) = spawn_script(client(&bot.path), "/status\n");
    // Refused at least once before there is room: whatever time that takes, it does not change the end.
    let deadline = tokio::time::Instant::now() + BOUND;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !paper.text().contains("/status") {
        tick.tick().await;
        assert!(tokio::time::Instant::now() < deadline, "the script says nothing");
    }
    for _ in 0..20 {
        tick.tick().await;
    }
    assert_eq!(bot.hear().await.text, "/filler");
    let heard = bot.hear().await;
    bot.server.answer(&heard, &card(Tone::Plain, "at last")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Well, "{}", paper.text());
    bot.stop().await;
}

#[tokio::test]
async fn a_client_comes_back_to_a_bot_that_restarted_and_says_again_what_had_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut bot = Bot::start_at(&path, demo(), 8);
    let (script, paper) =
        spawn_script(ClientOptions { speaker: Some("carol".into()), ..client(&path) }, "/rollback image api\n");
    let first = bot.hear().await;
    let server = Arc::clone(&bot.server);
    bot.stop().await;
    drop(server);

    let mut bot = Bot::start_at(&path, demo(), 8);
    let again = bot.hear().await;
    assert_eq!((&again.event, &again.text), (&first.event, &first.text), "one deed, whatever was lost between");
    assert_eq!(again.account.id, "uid:9001", "and still the same speaker");
    bot.server.answer(&again, &card(Tone::Plain, "accepted once")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Well);
    let said = paper.text();
    assert!(said.contains("stopping") && said.contains("back again") && said.contains("accepted once"), "{said}");
    bot.stop().await;
}

#[tokio::test]
async fn a_client_without_a_bot_says_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let error = run_script(&client(&path), Cursor::new(""), &mut Paper::default()).await.unwrap_err().to_string();
    assert!(error.contains("no bot listens") && error.contains("sternway console"), "{error}");

    let bot = Bot::start(options());
    let as_carol = ClientOptions { speaker: Some("carol".into()), ..client(&bot.path) };
    let error = run_script(&as_carol, Cursor::new(""), &mut Paper::default()).await.unwrap_err().to_string();
    assert!(error.contains("sternway demo"), "{error}");
    bot.stop().await;
}
