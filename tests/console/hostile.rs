//! Clients that flood, stall, stammer or come in crowds.

use super::*;

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut bot = Bot::start_at(&folder.path().join("s"), options(), 1);
    let mut wire = bot.attach().await;
    wire.say(1, "/status").await;
    wire.say(2, "/status").await;
    assert_eq!(wire.next().await, Some(FromServer::Heard { id: 1 }));
    assert!(matches!(wire.next().await, Some(FromServer::Busy { id: 2, .. })));
    bot.hear().await;
    wire.say(2, "/status").await;
    assert_eq!(wire.next().await, Some(FromServer::Heard { id: 2 }), "said again it has its chance");
    bot.stop().await;
}

#[tokio::test]
async fn one_client_cannot_flood_the_queue_of_all() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    for id in 0..200 {
        wire.say(id, "/status").await;
    }
    let mut busy = 0;
    for _ in 0..200 {
        busy += usize::from(matches!(wire.next().await, Some(FromServer::Busy { .. })));
    }
    assert!(busy > 0, "all 200 were taken");
    assert_eq!(bot.hear().await.text, "/status");
    bot.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_with_words_and_a_little_of_it_is_forgiven() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    for nonsense in [&b"{\"type\":\"shell\",\"cmd\":\"ls\"}\n"[..], b"\xff\xfe\n", b"[[[[[[\n", b"\n"] {
        wire.raw(nonsense).await;
        let Some(FromServer::Error { id: None, why }) = wire.next().await else { panic!("{nonsense:?}") };
        assert!(why.contains("not understood") || why.contains("hello"), "{why}");
    }
    for blank in ["", "  \t"] {
        wire.say(1, blank).await;
        assert!(matches!(wire.next().await, Some(FromServer::Error { id: Some(1), .. })));
    }
    wire.say(1, &"x".repeat(9000)).await;
    assert!(matches!(wire.next().await, Some(FromServer::Error { id: Some(1), .. })));
    wire.say(2, "/help").await;
    assert_eq!(bot.hear().await.text, "/help", "it can still speak");
    wire.raw(b"once more\n").await;
    assert!(wire.closing().await.contains("no console messages"));
    bot.stop().await;
}

#[tokio::test]
async fn whoever_does_not_greet_well_is_turned_away_with_words() {
    let mut bot = Bot::start(ConsoleOptions {
        limits: Limits { hello: Duration::from_millis(100), ..Limits::default() },
        ..options()
    });
    let says: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\n", "must be a hello"),
        (b"{\"type\":\"say\",\"id\":1,\"text\":\"/status\"}\n", "must be a hello"),
        (b"{\"type\":\"hello\",\"version\":99}\n", "protocol 1"),
        (b"{\"type\":\"hello\",\"version\":1,\"session\":\"../x\"}\n", "a session's name"),
        (b"", "no hello within"),
    ];
    for (first, expected) in says {
        let mut wire = Wire::connect(&bot.path).await;
        wire.raw(first).await;
        let why = wire.closing().await;
        assert!(why.contains(expected), "{first:?}: {why}");
    }
    assert!(bot.heard.try_recv().is_err(), "nothing of it was heard");
    bot.stop().await;
}

#[tokio::test]
async fn a_huge_line_is_refused_and_its_end_is_never_taken_for_a_command() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    let mut huge = vec![b'x'; CLIENT_LINE_LIMIT * 8];
    huge.extend_from_slice(b"\n{\"type\":\"say\",\"id\":1,\"text\":\"/rollback full\"}\n");
    let (closing, ()) = tokio::join!(
        async {
            match wire.lines.next().await {
                Ok(Read::Line(line)) => line,
                other => panic!("{other:?}"),
            }
        },
        async {
            let _ = wire.out.write_all(&huge).await; // broken off by the server
        }
    );
    assert!(closing.contains("closing") && closing.contains("65536"), "{closing}");
    assert!(bot.heard.try_recv().is_err());
    bot.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_what_was_queued() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    wire.say(1, "/status").await;
    wire.out.shutdown().await.unwrap();
    assert_eq!(wire.rest().await, [FromServer::Heard { id: 1 }]);
    assert_eq!(bot.hear().await.text, "/status");
    bot.stop().await;
}

#[tokio::test]
async fn a_thousand_connections_find_a_bounded_number_of_seats_and_words_at_the_door() {
    let mut bot = Bot::start(ConsoleOptions {
        limits: Limits { clients: 30, clients_per_user: 10, ..Limits::default() },
        ..options()
    });
    let mut all = Vec::new();
    for _ in 0..1000 {
        all.push(Wire::connect(&bot.path).await);
    }
    for wire in &mut all[10..] {
        assert!(wire.closing().await.contains("no room"));
    }
    // Those inside are served as if nothing were.
    let inside = &mut all[3];
    inside.hello(None, None).await;
    assert!(matches!(inside.next().await, Some(FromServer::Welcome { .. })));
    inside.say(1, "/status").await;
    assert_eq!(bot.hear().await.text, "/status");
    // And when they leave there is room again.
    drop(all);
    let deadline = tokio::time::Instant::now() + BOUND;
    loop {
        let mut wire = Wire::connect(&bot.path).await;
        wire.hello(None, None).await;
        match wire.next().await {
            Some(FromServer::Welcome { .. }) => break,
            _ => assert!(tokio::time::Instant::now() < deadline, "the seats stay taken"),
        }
    }
    bot.stop().await;
}

#[tokio::test]
async fn a_slow_reader_loses_overtaken_edits_first_and_never_holds_up_the_others() {
    let bot = Bot::start(ConsoleOptions { limits: Limits { waiting_lines: 32, ..Limits::default() }, ..options() });
    let mut slow = bot.attach().await;
    let mut quick = bot.attach().await;
    bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "begins")).await.unwrap();
    let padding = "x".repeat(8000);
    for n in 0..500 {
        let words = format!("{n} {padding}");
        bot.server.edit(&place(), run(4), &key("r4/card"), &card(Tone::Busy, &words)).await.unwrap();
        let Some(FromServer::Message(_)) = quick.next().await else { panic!("the quick one is held up at {n}") };
    }
    bot.server.edit(&place(), run(4), &key("r4/card"), &card(Tone::Good, "done")).await.unwrap();
    let mut seen = 0;
    loop {
        match slow.next().await {
            Some(FromServer::Message(told)) if told.run_ended => break,
            Some(FromServer::Message(_)) => seen += 1,
            other => panic!("after {seen} messages: {other:?}"),
        }
    }
    assert!(seen < 400, "nothing was left out: {seen}");
    bot.stop().await;
}

#[tokio::test]
async fn a_hopeless_reader_is_dropped_with_words() {
    let bot = Bot::start(ConsoleOptions { limits: Limits { waiting_lines: 32, ..Limits::default() }, ..options() });
    let mut slow = bot.attach().await;
    let padding = "x".repeat(8000);
    for n in 0..500 {
        let words = format!("{n} {padding}");
        bot.server.reply(&place(), run(4), &key(&format!("r4/{n}")), &card(Tone::Plain, &words)).await.unwrap();
    }
    assert!(slow.closing().await.contains("too slowly"));
    bot.stop().await;
}
