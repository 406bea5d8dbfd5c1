//! The program inside the images that tests build: one static file, told by its arguments what to do.
//!
//! `serve AFTER FOR`  refuses connections for AFTER ms, answers 200 for FOR ms (`-` = for ever), then 503
//! `mute`             runs and listens nowhere
//! `exit CODE`        ends at once
//! `check`            exits 0 when the server in the same container answers 200, else 1
//!
//! As process 1 of a container it has no handler for SIGTERM, so the kernel drops that signal: the program that
//! ends politely gets `STOPSIGNAL SIGKILL` in its image instead.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const ADDRESS: &str = "0.0.0.0:8080";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", after, well] => serve(after.parse().unwrap_or(0), well.parse().ok()),
        ["mute"] => loop {
            std::thread::park();
        },
        ["exit", code] => std::process::exit(code.parse().unwrap_or(1)),
        ["check"] => std::process::exit(i32::from(check().is_none())),
        other => {
            eprintln!("unknown arguments {other:?}");
            std::process::exit(2);
        }
    }
}

fn serve(after_ms: u64, well_ms: Option<u64>) {
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(after_ms));
    let listener = TcpListener::bind(ADDRESS).expect("the port is free in a container of its own");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let well = well_ms.is_none_or(|ms| began.elapsed() < Duration::from_millis(ms));
        let status = if well { "200 OK" } else { "503 Service Unavailable" };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 1024]);
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

fn check() -> Option<()> {
    let mut stream = TcpStream::connect("127.0.0.1:8080").ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    (&head == b"HTTP/1.1 200").then_some(())
}
