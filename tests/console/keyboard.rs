//! The client at a keyboard: by hand, and at a pseudo-terminal that presses the keys.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::*;

/// Somebody who sits at a console of [`by_hand`] and sees what the terminal is sent.
struct Sitting {
    keys: File,
    seen: Arc<Mutex<Vec<u8>>>,
    child: std::process::Child,
}

impl Sitting {
    fn down() -> Self {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        tcsetwinsize(&pty, Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["keyboard::by_hand", "--exact", "--ignored", "--nocapture"])
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap();
        let keys = File::from(pty);
        let mut screen = keys.try_clone().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                log.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self { keys, seen, child }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    async fn sees(&mut self, words: &str) {
        let deadline = tokio::time::Instant::now() + BOUND;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !self.text().contains(words) {
            tick.tick().await;
            assert!(tokio::time::Instant::now() < deadline, "no “{words}” on the screen:\n{}", self.text());
        }
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already when the test went well
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn at_a_keyboard_names_are_completed_pasted_lines_are_said_and_progress_comes_by_itself() {
    let mut at = Sitting::down();
    at.sees("carol ›").await;
    at.press("/sta\t");
    at.sees("/status ").await;
    at.press("\r");
    at.sees("all services answer").await;
    at.press("/rollback image api rel\t");
    at.sees("rel17  known here").await;
    at.press("\u{3}");
    at.sees("nothing was said").await;
    // Arriving in one go, as pasted text does.
    at.press("/nonsense\r");
    at.sees("There is no command").await;
    at.press("/evil\r");
    at.sees("⟨U+001B⟩[2J").await;
    assert!(!at.text().contains("\u{1b}[2J"), "the terminal was steered: {:?}", at.text());
    at.press("/rollback image api\r");
    at.sees("[Approve]").await;
    at.press("half a line");
    at.sees("prove health for 30 s  ").await;
    at.press("\u{15}/as dave\r");
    at.sees("dave ›").await;
    at.press("\u{4}");
    at.sees("ended: Ok(Well)").await;
}

/// A bot to talk to by hand: `cargo test --test console by_hand -- --ignored --nocapture` in a terminal.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs somebody at a keyboard"]
async fn by_hand() {
    let mut bot = Bot::start(demo());
    let server = Arc::clone(&bot.server);
    let talk = tokio::spawn(async move {
        let mut n = 40;
        while let Some(heard) = bot.heard.recv().await {
            n += 2;
            by_hand_answer(&server, &heard, n).await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let options = ClientOptions {
        speaker: Some("carol".into()),
        colour: true,
        history: Some(folder.path().join("deep/history")),
        ..scripts::client(&bot.path)
    };
    let ended = run_client(options).await;
    talk.abort();
    println!("ended: {ended:?}");
}

async fn by_hand_answer(server: &Arc<ConsoleServer>, heard: &Invocation, n: u64) {
    let said = |words: &str| Card::new(Tone::Plain, vec![text(words)]);
    match heard.text.as_str() {
        "/status" => {
            let card = Card::new(Tone::Good, vec![text("Stack "), code("shop"), text(": all services answer")])
                .line(vec![code("api"), text("  rel19  since 02:10, proven")])
                .line(vec![code("mongodb"), text("  rel3  since Monday, proven")])
                .detail(vec![text("last rollback "), code("r31"), text(" by carol, 12 days ago")]);
            server.answer(heard, &card).await.unwrap();
        }
        "/arabic" => {
            let card = Card::new(Tone::Bad, vec![text("خدمة "), code("api"), text(" لا تستجيب منذ النشر الأخير")])
                .line(vec![text("بطء شديد في الواجهة بعد النشر "), code("rel19"), text(" هذا الصباح")])
                .button("Rollback", "/rollback image api".into());
            server.answer(heard, &card).await.unwrap();
        }
        "/evil" => {
            let card = Card::new(Tone::Warn, vec![text("name: \u{1b}[2J\u{1b}[31mapi\u{202e}ipa\u{7}")]);
            server.answer(heard, &card).await.unwrap();
        }
        "/rollback image api" => {
            let run = run(n);
            let (place, card_key) = (place(), key(&format!("{run}/card")));
            let ask =
                Card::new(Tone::Ask, vec![text("Roll "), code("api"), text(" back to "), code("rel17"), text("?")])
                    .line(vec![text("stack "), code("shop"), text(", asked by carol because checkout fails")])
                    .line(vec![
                        text("now "),
                        code("rel19"),
                        text(", since 02:10; then "),
                        code("rel17"),
                        text(", ran 9 days"),
                    ])
                    .line(vec![text("gap of about 4 s; undo: "), code("rel19"), text(" again")])
                    .detail(vec![code("sha256:0f3a9c5b2d7e8f10a1b2c3d4e5f60718293a4b5c6d7e8f90")])
                    .button("Approve", "/approve a45".into())
                    .button("Deny", "/deny a45".into());
            server.post(&place, run, &card_key, &ask).await.unwrap();
            let server = Arc::clone(server);
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(300));
                tick.tick().await;
                let steps = ["pull image", "stop old container", "start new container", "prove health for 30 s"];
                for done in 0..=steps.len() {
                    tick.tick().await;
                    let mut card = Card::new(
                        if done == steps.len() { Tone::Good } else { Tone::Busy },
                        vec![
                            text(if done == steps.len() { "Rolled " } else { "Rolling " }),
                            code("api"),
                            text(" back to "),
                            code("rel17"),
                        ],
                    );
                    for (at, step) in steps.iter().enumerate().take(done + 1) {
                        let line = if at < done { format!("✓ {step}  0:0{at}") } else { format!("… {step}") };
                        card.lines.push(vec![text(line)]);
                    }
                    server.edit(&place, run, &card_key, &card).await.unwrap();
                }
            });
        }
        "/stop" => {
            server.reply(&place(), run(n), &key(&format!("x{n}")), &said("one more thing in the thread")).await.unwrap()
        }
        other => server
            .answer(heard, &Card::new(Tone::Warn, vec![text("There is no command "), code(other), text(". Try /help")]))
            .await
            .unwrap(),
    }
}
